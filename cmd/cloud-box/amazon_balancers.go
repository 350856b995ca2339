//go:build linux

package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

// rebalance lets balancers know of machines that have come or gone.
func (a *amazon) rebalance() {
	a.mu.Lock()
	var regions []string
	for r := range a.regions {
		regions = append(regions, r)
	}
	a.mu.Unlock()
	for _, r := range regions {
		if err := a.balance(context.Background(), r); err != nil {
			a.say("balancers in %s: %v", r, err)
		}
	}
}

// balance makes the rack's balancers what the API has.
func (a *amazon) balance(ctx context.Context, region string) error {
	a.balancing.Lock()
	defer a.balancing.Unlock()
	_, e := a.clients(region)
	out, err := e.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	if err != nil {
		return err
	}
	byNetwork := map[string][]rack.Front{}
	for _, b := range out.LoadBalancers {
		vpc := aws.ToString(b.VpcId)
		if err := a.network(ctx, region, vpc); err != nil {
			return err
		}
		f, err := front(ctx, e, b)
		if err != nil {
			return err
		}
		byNetwork[vpc] = append(byNetwork[vpc], f)
	}
	for _, n := range a.rack.Networks() {
		at, err := a.rack.SetFronts(ctx, n, byNetwork[n])
		if err != nil {
			return err
		}
		a.mu.Lock()
		for name, address := range at {
			a.fronts[name] = address
		}
		a.mu.Unlock()
	}
	return nil
}

// front is what the API says of one balancer. All its ports lead to the machines of all its target groups.
func front(ctx context.Context, e *elb.Client, b elbtypes.LoadBalancer) (rack.Front, error) {
	f := rack.Front{Name: aws.ToString(b.LoadBalancerName), Network: aws.ToString(b.VpcId)}
	listeners, err := e.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: b.LoadBalancerArn})
	if err != nil {
		return f, err
	}
	for _, l := range listeners.Listeners {
		for _, action := range l.DefaultActions {
			groups, err := e.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{aws.ToString(action.TargetGroupArn)}})
			if err != nil {
				return f, err
			}
			for _, g := range groups.TargetGroups {
				for _, protocol := range strings.Split(strings.ToLower(string(l.Protocol)), "_") {
					f.Ports = append(f.Ports, port(l, g, protocol))
				}
			}
			health, err := e.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: action.TargetGroupArn})
			if err != nil {
				return f, err
			}
			for _, t := range health.TargetHealthDescriptions {
				f.Targets = append(f.Targets, aws.ToString(t.Target.Id))
			}
		}
	}
	slices.Sort(f.Targets)
	f.Targets = slices.Compact(f.Targets)
	return f, nil
}

// port is a listener that leads to a target group.
func port(l elbtypes.Listener, g elbtypes.TargetGroup, protocol string) providers.BalancerPort {
	p := providers.BalancerPort{Protocol: protocol, Port: int(aws.ToInt32(l.Port)), TargetPort: int(aws.ToInt32(g.Port))}
	p.HealthPort, _ = strconv.Atoi(aws.ToString(g.HealthCheckPort)) // else it is traffic-port
	if web(g) {
		p.HealthPath = aws.ToString(g.HealthCheckPath)
	}
	return p
}

func web(g elbtypes.TargetGroup) bool {
	return g.HealthCheckProtocol == elbtypes.ProtocolEnumHttp || g.HealthCheckProtocol == elbtypes.ProtocolEnumHttps
}

// health makes an answer about targets say how they are: looked at now, by the group's own protocol.
func (a *amazon) health(ctx context.Context, r *awstest.Request, out *awstest.Answer) *awstest.Answer {
	if out.Code != "" {
		return out
	}
	_, e := a.clients(r.Region)
	groups, err := e.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{r.Form.Get("TargetGroupArn")}})
	if err != nil || len(groups.TargetGroups) == 0 {
		return out
	}
	g := groups.TargetGroups[0]
	check := rack.Check{Scheme: strings.ToLower(string(g.HealthCheckProtocol)), Path: aws.ToString(g.HealthCheckPath)}
	if check.Port, err = strconv.Atoi(aws.ToString(g.HealthCheckPort)); err != nil {
		check.Port = int(aws.ToInt32(g.Port))
	}
	out.Tree.Each(func(t awstest.Tree) {
		id := t.Get("Target", "Id")
		if id == "" || t.Get("TargetHealth", "State") == "" {
			return
		}
		if err := a.rack.Probe(ctx, id, check); err != nil {
			t.Set("unhealthy", "TargetHealth", "State")
			t.Set("Target.FailedHealthChecks", "TargetHealth", "Reason")
			t.Set(err.Error(), "TargetHealth", "Description")
		} else {
			t.Set("healthy", "TargetHealth", "State")
		}
	})
	return out
}
