//go:build e2e

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestE2EBoxAWS makes examples/aws-ha at AWS in a box, as its reader would: from nothing to Ready nodes that bear AWS's provider
// IDs, a second apply that changes nothing, and back to nothing. What is there in between, awscli says.
func TestE2EBoxAWS(t *testing.T) {
	boxed(t, "aws", "aws-ha", func(b *boxRig) {
		a := &awsRig{b}
		begun := time.Now()
		t.Logf("%s", b.run(4*time.Minute, "apply", b.file, "--auto-approve", "--timings"))
		t.Logf("apply %.1f s", time.Since(begun).Seconds())
		first := b.requests(0)
		a.made()
		a.frugal(first)
		a.still()
		begun = time.Now()
		b.run(2*time.Minute, "destroy", b.file, "--auto-approve")
		t.Logf("destroy %.1f s", time.Since(begun).Seconds())
		if left := a.left(); len(left) > 0 {
			b.t.Errorf("awscli still shows after destroy: %v", left)
		}
	})
}

// An awsRig is a cluster at AWS in a box.
type awsRig struct{ *boxRig }

// aws asks AWS's own command line.
func (a *awsRig) aws(into any, args ...string) {
	a.t.Helper()
	a.reader(into, "aws", append([]string{"--region", "eu-west-1", "--output", "json"}, args...)...)
}

// An awsInstance is one that is not gone.
type awsInstance struct {
	InstanceId, PrivateIpAddress, PublicIpAddress, VpcId string
	Placement                                            struct{ AvailabilityZone string }
	State                                                struct{ Name string }
	Tags                                                 []struct{ Key, Value string }
}

func (a *awsRig) instances() (all []awsInstance) {
	a.t.Helper()
	var out struct {
		Reservations []struct{ Instances []awsInstance }
	}
	a.aws(&out, "ec2", "describe-instances")
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if i.State.Name != "terminated" {
				all = append(all, i)
			}
		}
	}
	return all
}

// made compares what AWS has, as awscli sees it, with what Kubernetes has.
func (a *awsRig) made() {
	a.t.Helper()
	want := map[string]string{}
	zones := map[string]int{}
	for _, i := range a.instances() {
		want["aws:///"+i.Placement.AvailabilityZone+"/"+i.InstanceId] = i.State.Name
		zones[i.Placement.AvailabilityZone]++
		owned := false
		for _, tag := range i.Tags {
			owned = owned || tag.Key == "provision.sh/owner" && tag.Value == "aws-ha"
		}
		if !owned || i.State.Name != "running" || i.PublicIpAddress == "" {
			a.t.Errorf("instance %+v: it should run, have an address and bear its owner", i)
		}
	}
	if !maps.Equal(zones, map[string]int{"eu-west-1a": 2, "eu-west-1b": 2, "eu-west-1c": 1}) {
		a.t.Errorf("machines in zones: %v", zones)
	}
	nodes := a.nodes()
	for _, n := range nodes {
		if _, ok := want[n.Spec.ProviderID]; !ok || !n.ready() {
			a.t.Errorf("node %s: provider ID %q, ready %v; AWS has %v", n.Metadata.Name, n.Spec.ProviderID, n.ready(), want)
		}
		delete(want, n.Spec.ProviderID)
	}
	if len(nodes) != 5 || len(want) != 0 {
		a.t.Errorf("%d nodes; no node for %v", len(nodes), want)
	}
	a.network()
	a.balancer()
}

// network looks at the VPC and its subnets.
func (a *awsRig) network() {
	a.t.Helper()
	var vpcs struct {
		Vpcs []struct{ VpcId, CidrBlock string }
	}
	a.aws(&vpcs, "ec2", "describe-vpcs", "--filters", "Name=tag:provision.sh/owner,Values=aws-ha")
	if len(vpcs.Vpcs) != 1 || vpcs.Vpcs[0].CidrBlock != "10.20.0.0/16" {
		a.t.Fatalf("VPCs: %+v", vpcs)
	}
	var subnets struct{ Subnets []struct{ SubnetId string } }
	a.aws(&subnets, "ec2", "describe-subnets", "--filters", "Name=vpc-id,Values="+vpcs.Vpcs[0].VpcId)
	if len(subnets.Subnets) != 6 {
		a.t.Errorf("%d subnets, want a public and a private one in each of three zones", len(subnets.Subnets))
	}
}

// balancer looks at the load balancer, asks the API through it, and at what AWS thinks of its targets.
func (a *awsRig) balancer() {
	a.t.Helper()
	var out struct {
		LoadBalancers []struct{ LoadBalancerArn, DNSName, Type string }
	}
	a.aws(&out, "elbv2", "describe-load-balancers")
	if len(out.LoadBalancers) != 1 || out.LoadBalancers[0].Type != "network" {
		a.t.Fatalf("load balancers: %+v", out)
	}
	lb := out.LoadBalancers[0]
	var tags struct {
		TagDescriptions []struct{ Tags []struct{ Key, Value string } }
	}
	a.aws(&tags, "elbv2", "describe-tags", "--resource-arns", lb.LoadBalancerArn)
	if !strings.Contains(fmt.Sprint(tags), "{provision.sh/owner aws-ha}") {
		a.t.Errorf("the balancer's tags: %v", tags)
	}
	if out := a.kubectl("--server", "https://"+lb.DNSName+":6443", "get", "--raw", "/readyz"); !strings.Contains(out, "ok") {
		a.t.Errorf("the API by the balancer says %q", out)
	}
	var groups struct {
		TargetGroups []struct{ TargetGroupArn string }
	}
	a.aws(&groups, "elbv2", "describe-target-groups")
	if len(groups.TargetGroups) != 1 {
		a.t.Fatalf("target groups: %+v", groups)
	}
	var health struct {
		TargetHealthDescriptions []struct {
			Target       struct{ Id string }
			TargetHealth struct{ State, Description string }
		}
	}
	a.aws(&health, "elbv2", "describe-target-health", "--target-group-arn", groups.TargetGroups[0].TargetGroupArn)
	for _, h := range health.TargetHealthDescriptions {
		if h.TargetHealth.State != "healthy" {
			a.t.Errorf("target %s is %s: %s", h.Target.Id, h.TargetHealth.State, h.TargetHealth.Description)
		}
	}
	if len(health.TargetHealthDescriptions) != 3 {
		a.t.Errorf("%d targets, want the 3 machines of the control plane", len(health.TargetHealthDescriptions))
	}
}

// least is how few requests of each kind can make the example: every thing that AWS makes by a call of its own is one. Per network:
// VPC, gateway and its tie, the public route table and its route, two subnets in each of three zones, the public ones' ties to
// their table, two groups and what each lets in. Per machine: its instance, and its host key's tag once the console has said it. The
// balancer: group, what that lets in, what the nodes let in from it, target group, targets, balancer, listener.
func least() map[string]int {
	return map[string]int{
		"CreateVpc": 1, "CreateInternetGateway": 1, "AttachInternetGateway": 1, "CreateRouteTable": 1, "CreateRoute": 1, "CreateSubnet": 6, "AssociateRouteTable": 3,
		"CreateSecurityGroup": 2 + 1, "AuthorizeSecurityGroupIngress": 2 + 2, "RunInstances": 5, "CreateTags": 5,
		"CreateTargetGroup": 1, "RegisterTargets": 1, "CreateLoadBalancer": 1, "CreateListener": 1,
	}
}

// frugal prints what the first apply asked for and compares it with the least.
func (a *awsRig) frugal(first []boxRequest) {
	a.t.Helper()
	made, read := map[string]int{}, map[string]int{}
	for _, r := range first {
		if r.Mutating {
			made[r.Action]++
		} else {
			read[r.Action]++
		}
	}
	sum := func(m map[string]int) (n int) {
		for _, v := range m {
			n += v
		}
		return n
	}
	for _, m := range []map[string]int{made, read} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			a.t.Logf("%4d %-34s least %d", m[k], k, least()[k])
		}
	}
	a.t.Logf("%d requests that change something, %d at least; %d that read", sum(made), sum(least()), sum(read))
	if 2*sum(made) > 3*sum(least()) {
		a.t.Errorf("%d requests that change something are more than 1.5 times the least, %d", sum(made), sum(least()))
	}
}

// left is what awscli sees of the cluster after all.
func (a *awsRig) left() (all []string) {
	a.t.Helper()
	for _, i := range a.instances() {
		all = append(all, i.InstanceId)
	}
	for _, q := range []struct{ list, id, service, verb string }{
		{"Vpcs", "VpcId", "ec2", "describe-vpcs"}, {"Subnets", "SubnetId", "ec2", "describe-subnets"}, {"RouteTables", "RouteTableId", "ec2", "describe-route-tables"},
		{"InternetGateways", "InternetGatewayId", "ec2", "describe-internet-gateways"}, {"SecurityGroups", "GroupId", "ec2", "describe-security-groups"},
		{"Volumes", "VolumeId", "ec2", "describe-volumes"}, {"NetworkInterfaces", "NetworkInterfaceId", "ec2", "describe-network-interfaces"},
		{"LoadBalancers", "LoadBalancerArn", "elbv2", "describe-load-balancers"}, {"TargetGroups", "TargetGroupArn", "elbv2", "describe-target-groups"},
	} {
		args := []string{q.service, q.verb}
		if q.service == "ec2" { // AWS has a default VPC of its own, with all its parts
			args = append(args, "--filters", "Name=tag:provision.sh/owner,Values=aws-ha")
		}
		var out map[string][]map[string]any
		a.aws(&out, args...)
		for _, o := range out[q.list] {
			all = append(all, fmt.Sprint(o[q.id]))
		}
	}
	return all
}
