package aws

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/provisionhq/provision/providers"
)

// A balancer is what there is of one.
type balancer struct {
	group     types.SecurityGroup
	tags      map[string]string
	lb        *elbtypes.LoadBalancer // nil: not made yet, or gone
	listeners []listener
	pools     []elbtypes.TargetGroup
	targets   map[string][]string // by target group's ARN: machines
}

// A listener is one with its tags.
type listener struct {
	elbtypes.Listener
	tags map[string]string
}

func (b *balancer) id() string { return aws.ToString(b.group.GroupId) }

// name is that of the load balancer, and begins those of its target groups.
func (b *balancer) name() string { return "pv-" + strings.TrimPrefix(b.id(), "sg-") }

func (b *balancer) pool(arn string) *elbtypes.TargetGroup {
	for i, g := range b.pools {
		if aws.ToString(g.TargetGroupArn) == arn {
			return &b.pools[i]
		}
	}
	return nil
}

// object is the balancer as the contract has it.
func (b *balancer) object() providers.LoadBalancer {
	o := providers.LoadBalancer{Meta: meta(b.id(), b.tags), Network: providers.ID(b.tags[networkTag]), Internal: b.tags[sideTag] == "true", Sources: b.sources()}
	if b.lb != nil {
		o.Hostname = aws.ToString(b.lb.DNSName)
	}
	byIndex := map[int]providers.BalancerPort{}
	for i, l := range b.listeners {
		b.ports(l, 1000*(i+1), byIndex)
	}
	for _, i := range sortedKeys(byIndex) {
		o.Ports = append(o.Ports, byIndex[i])
	}
	for _, ts := range b.targets {
		for _, t := range ts {
			o.Targets = append(o.Targets, providers.ID(t))
		}
	}
	slices.Sort(o.Targets)
	o.Targets = slices.Compact(o.Targets)
	want, err := strconv.Atoi(b.tags[listenersTag])
	o.Partial = b.lb == nil || b.lb.State == nil || b.lb.State.Code == elbtypes.LoadBalancerStateEnumProvisioning || err != nil || len(b.listeners) < want
	return o
}

func sortedKeys[V any](m map[int]V) (all []int) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// all of a balancer that is there: every source.
const everybody = "provision everybody"

// sources are who may connect, in the order in which they were asked for; none: everybody.
func (b *balancer) sources() (all []netip.Prefix) {
	by := map[int]netip.Prefix{}
	next := 1000
	for _, p := range b.group.IpPermissions {
		for _, r := range p.IpRanges {
			c, err := netip.ParsePrefix(aws.ToString(r.CidrIp))
			words := aws.ToString(r.Description)
			if err != nil || words == everybody {
				continue
			}
			i, err := strconv.Atoi(strings.TrimPrefix(words, "provision "))
			if err != nil {
				if slices.Contains(mapValues(by), c) {
					continue
				}
				i, next = next, next+1
			}
			by[i] = c
		}
	}
	for _, i := range sortedKeys(by) {
		all = append(all, by[i])
	}
	return all
}

func mapValues[V any](m map[int]V) (all []V) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// look completes a balancer of which the group is known.
func (w balancers) look(ctx context.Context, b *balancer) error {
	b.tags = read(b.group.Tags)
	out, err := w.p.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{b.name()}})
	if err != nil && !gone(err) {
		return err
	}
	b.lb, b.listeners, b.targets = nil, nil, map[string][]string{}
	if err == nil && len(out.LoadBalancers) > 0 {
		b.lb = &out.LoadBalancers[0]
		if err := w.listen(ctx, b); err != nil {
			return err
		}
	}
	all, err := collect(ctx, elb.NewDescribeTargetGroupsPaginator(w.p.elb, &elb.DescribeTargetGroupsInput{}),
		func(o *elb.DescribeTargetGroupsOutput) []elbtypes.TargetGroup { return o.TargetGroups })
	if err != nil {
		return err
	}
	b.pools = slices.DeleteFunc(all, func(g elbtypes.TargetGroup) bool {
		return !strings.HasPrefix(aws.ToString(g.TargetGroupName), b.name()+"-")
	})
	for _, g := range b.pools {
		ts, err := w.registered(ctx, aws.ToString(g.TargetGroupArn))
		if err != nil {
			return err
		}
		b.targets[aws.ToString(g.TargetGroupArn)] = ts
	}
	return nil
}

// listen looks the listeners and their tags up.
func (w balancers) listen(ctx context.Context, b *balancer) error {
	all, err := collect(ctx, elb.NewDescribeListenersPaginator(w.p.elb, &elb.DescribeListenersInput{LoadBalancerArn: b.lb.LoadBalancerArn}),
		func(o *elb.DescribeListenersOutput) []elbtypes.Listener { return o.Listeners })
	if err != nil {
		return ignoring(err)
	}
	for chunk := range slices.Chunk(all, 20) { // as many as DescribeTags takes
		in := &elb.DescribeTagsInput{}
		for _, l := range chunk {
			in.ResourceArns = append(in.ResourceArns, aws.ToString(l.ListenerArn))
		}
		out, err := w.p.elb.DescribeTags(ctx, in)
		if err != nil {
			return ignoring(err)
		}
		for _, l := range chunk {
			tags := map[string]string{}
			for _, d := range out.TagDescriptions {
				for _, t := range d.Tags {
					if aws.ToString(d.ResourceArn) == aws.ToString(l.ListenerArn) {
						tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
					}
				}
			}
			b.listeners = append(b.listeners, listener{l, tags})
		}
	}
	return nil
}

// registered returns the machines of a target group, without those on their way out.
func (w balancers) registered(ctx context.Context, arn string) (all []string, err error) {
	out, err := w.p.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &arn})
	if err != nil {
		return nil, ignoring(err)
	}
	for _, t := range out.TargetHealthDescriptions {
		if t.Target != nil && (t.TargetHealth == nil || t.TargetHealth.State != elbtypes.TargetHealthStateEnumDraining) {
			all = append(all, aws.ToString(t.Target.Id))
		}
	}
	return all, nil
}

// balancer returns all there is of the one of that ID; NotFound if there is none.
func (w balancers) balancer(ctx context.Context, id providers.ID) (*balancer, error) {
	if !isID(string(id), "sg") {
		return nil, fail(providers.NotFound, "%q is not the ID of a balancer's security group", id)
	}
	out, err := w.p.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{string(id)}})
	if err != nil {
		return nil, err
	}
	if len(out.SecurityGroups) == 0 || read(out.SecurityGroups[0].Tags)[sideTag] == "" {
		return nil, fail(providers.NotFound, "balancer %s", id)
	}
	b := &balancer{group: out.SecurityGroups[0]}
	return b, w.look(ctx, b)
}

// groups returns the security groups of an owner's balancers.
func (w balancers) groups(ctx context.Context, k providers.Key) ([]types.SecurityGroup, error) {
	return collect(ctx, ec2.NewDescribeSecurityGroupsPaginator(w.p.ec2, &ec2.DescribeSecurityGroupsInput{Filters: owned(providers.BalancerNoun, k)}),
		func(o *ec2.DescribeSecurityGroupsOutput) []types.SecurityGroup { return o.SecurityGroups })
}
