package aws

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

// TestCloudAgentPolicy does what a cloud agent does, as somebody who may do what the policy of its role says and no more; and then
// what it may not: change what is another cluster's or nobody's, make things for another cluster, or take what is not its own by
// tagging it. awstest looks at actions, resources and conditions.
func TestCloudAgentPolicy(t *testing.T) {
	t.Parallel()
	c := own(t, awstest.Options{})
	if _, err := c.Enforce(t.Context(), everything); err != nil {
		t.Fatal(err)
	}
	enter := func(name, policy string) *Provider {
		key, err := c.As(t.Context(), name, policy)
		if err != nil {
			t.Fatal(err)
		}
		p := at(t, c, oneZone)
		p.use(key)
		return p
	}
	person, agent := enter("person", everything), enter("agent", AgentPolicy("demo", "eu-west-1"))
	own, theirs := furnished(t, person, "demo"), furnished(t, person, "other")

	c.Forget()
	if err := own.served(t.Context(), agent); err != nil {
		t.Fatalf("the agent may not do what it has to: %v", err)
	}
	report(t, c)
	used := map[string]bool{}
	for _, r := range c.Requests() {
		used[r.Service+":"+r.Action] = true
	}
	for _, a := range policy(t, CloudAgentPolicy).actions() {
		// What only mends what was left half done or strangers did, and what is asked of a network with NAT gateways.
		rare := []string{"ec2:StartInstances", "ec2:DescribeNatGateways", "ec2:UpdateSecurityGroupRuleDescriptionsIngress"}
		if !used[a] && !slices.Contains(rare, a) {
			t.Errorf("nothing needs %s", a)
		}
	}

	c.Forget()
	tried := theirs.tampered(t, agent)
	for what, err := range tried {
		if providers.KindOf(kinded(err)) != providers.Denied {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := c.Writes(); n > 0 {
		t.Errorf("%d requests had an effect", n)
	}
	t.Logf("%d things that are not the agent's to do", len(tried))
}

const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// An estate is what there is of a cluster when its agent begins.
type estate struct {
	owner    providers.Owner
	network  providers.Network
	machine  providers.Machine
	volume   providers.Volume
	balancer providers.LoadBalancer
}

var tcp80 = []providers.BalancerPort{{Name: "http", Protocol: "tcp", Port: 80, TargetPort: 30080}}

func furnished(t *testing.T, p *Provider, o providers.Owner) (e estate) {
	t.Helper()
	e.owner = o
	var err error
	must := func(next error) {
		t.Helper()
		if next != nil {
			t.Fatal(next)
		}
	}
	e.network, err = p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: o, Name: "main"})
	must(err)
	e.machine, err = p.Machines().Create(t.Context(), providers.MachineSpec{Owner: o, Name: "a-0", Network: e.network.ID, Type: "t3.small", CloudAgent: true})
	must(err)
	e.volume, err = p.Volumes().Create(t.Context(), providers.VolumeSpec{Owner: o, Name: "first", SizeGiB: 1, Zone: e.machine.Zone})
	must(err)
	e.balancer, err = p.LoadBalancers().Create(t.Context(), providers.LoadBalancerSpec{Owner: o, Name: "first", Network: e.network.ID, Ports: tcp80})
	must(err)
	return e
}

// served is the work of an agent: nodes, balancers, volumes and their copies, machines.
func (e estate) served(ctx context.Context, p *Provider) error {
	if _, err := p.Machines().List(ctx, e.owner); err != nil {
		return err
	}
	if _, err := p.Machines().Types(ctx); err != nil {
		return err
	}
	spec := providers.MachineSpec{Owner: e.owner, Name: "a-1", Network: e.network.ID, Type: "t3.small"}
	m, err := p.Machines().Create(ctx, spec)
	if err != nil {
		return err
	}
	if err := errors.Join(e.forwarded(ctx, p, m.ID), stored(ctx, p, m), restored(ctx, p, e), p.Machines().Delete(ctx, m.ID)); err != nil {
		return err
	}
	_, err = p.Networks().List(ctx, e.owner)
	return err
}

// forwarded is the life of a balancer.
func (e estate) forwarded(ctx context.Context, p *Provider, to providers.ID) error {
	lb := providers.LoadBalancerSpec{Owner: e.owner, Name: "service", Network: e.network.ID, Ports: tcp80, Targets: []providers.ID{to}, Tags: map[string]string{"x": "y"}}
	b, err := p.LoadBalancers().Create(ctx, lb)
	if err != nil {
		return err
	}
	for _, change := range []func(){
		func() {
			lb.Ports = []providers.BalancerPort{{Name: "a", Protocol: "tcp", Port: 80, TargetPort: 30081, IdleSeconds: 60}}
		},
		func() { lb.Ports[0].Name, lb.Tags = "b", nil },
		func() {
			lb.Ports = append(lb.Ports, providers.BalancerPort{Name: "c", Protocol: "tcp", Port: 81, TargetPort: 30082, ProxyProtocol: true})
			lb.Targets = nil
		},
		func() { lb.Ports, lb.Targets = lb.Ports[:1], []providers.ID{to} },
	} {
		change()
		if _, err := p.LoadBalancers().Update(ctx, b.ID, lb); err != nil {
			return err
		}
	}
	if _, err := p.LoadBalancers().List(ctx, e.owner); err != nil {
		return err
	}
	return p.LoadBalancers().Delete(ctx, b.ID)
}

// restored makes a volume of a copy.
func restored(ctx context.Context, p *Provider, e estate) error {
	s, err := p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: e.owner, Name: "second", Volume: e.volume.ID})
	if err != nil {
		return err
	}
	v, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: e.owner, Name: "second", SizeGiB: 1, Zone: e.volume.Zone, Snapshot: s.ID})
	if err != nil {
		return err
	}
	return errors.Join(p.Volumes().Delete(ctx, v.ID), p.Volumes().Snapshots().Delete(ctx, s.ID))
}

// tampered is what an agent of another cluster tries with the estate. Whole calls end at the first refusal, so what AWS is asked in their
// middle is asked by itself too.
func (e estate) tampered(t *testing.T, p *Provider) map[string]error {
	t.Helper()
	ctx := t.Context()
	all := map[string]error{}
	_, all["a volume for it"] = p.Volumes().Create(ctx, providers.VolumeSpec{Owner: e.owner, Name: "more", SizeGiB: 1, Zone: e.volume.Zone})
	_, all["a machine for it"] = p.Machines().Create(ctx, providers.MachineSpec{Owner: e.owner, Name: "more", Network: e.network.ID, Type: "t3.small"})
	_, all["a balancer for it"] = p.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{Owner: e.owner, Name: "more", Network: e.network.ID, Ports: tcp80})
	_, all["a copy of its volume"] = p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: "demo", Name: "theirs", Volume: e.volume.ID})
	_, all["its volume at its machine"] = p.Volumes().Attach(ctx, e.volume.ID, e.machine.ID)
	_, all["its volume grown"] = p.Volumes().Resize(ctx, e.volume.ID, 2)
	all["its volume deleted"] = p.Volumes().Delete(ctx, e.volume.ID)
	all["its machine deleted"] = p.Machines().Delete(ctx, e.machine.ID)
	all["its balancer deleted"] = p.LoadBalancers().Delete(ctx, e.balancer.ID)
	mine := []types.Tag{{Key: aws.String(providers.OwnerTag), Value: aws.String("demo")}}
	for what, id := range map[string]providers.ID{"volume": e.volume.ID, "machine": e.machine.ID, "network": e.network.ID, "balancer": e.balancer.ID} {
		_, all["its "+what+" taken by a tag"] = p.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{string(id)}, Tags: mine})
		_, all["its "+what+" freed of its tag"] = p.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{string(id)}, Tags: []types.Tag{{Key: aws.String(providers.OwnerTag)}}})
	}
	run := func(tags []types.Tag, change func(*ec2.RunInstancesInput)) error {
		in := &ec2.RunInstancesInput{ImageId: aws.String("ami-00000000000deb001"), InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
		for _, of := range []types.ResourceType{types.ResourceTypeInstance, types.ResourceTypeVolume} {
			in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{ResourceType: of, Tags: tags})
		}
		change(in)
		_, err := p.ec2.RunInstances(ctx, in)
		return err
	}
	all["a machine without an owner"] = run([]types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}, func(*ec2.RunInstancesInput) {})
	all["a machine of its own in their group"] = run(mine, func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{string(e.balancer.ID)} })
	all["a machine of its own with a role"] = run(mine, func(in *ec2.RunInstancesInput) {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String(identityPrefix + string(e.owner) + "-" + string(e.network.ID))}
	})
	e.grabbed(ctx, p, all)
	return all
}

// grabbed is what is tried with the balancer that AWS has.
func (e estate) grabbed(ctx context.Context, p *Provider, all map[string]error) {
	out, err := p.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	if err != nil {
		all["the look at balancers"] = err
		return
	}
	for _, b := range out.LoadBalancers {
		if !slices.Contains(b.SecurityGroups, string(e.balancer.ID)) {
			continue
		}
		mine := []elbtypes.Tag{{Key: aws.String(providers.OwnerTag), Value: aws.String("demo")}}
		_, all["its balancer of ELB taken by a tag"] = p.elb.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{*b.LoadBalancerArn}, Tags: mine})
		group := strings.Replace(*b.LoadBalancerArn, "loadbalancer/net/", "targetgroup/", 1)
		_, all["a listener at its balancer"] = p.elb.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: b.LoadBalancerArn, Protocol: elbtypes.ProtocolEnumTcp,
			Port: aws.Int32(99), Tags: mine, DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &group}}})
	}
}
