package aws

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// Update sets tags and rules, and adds zones.
func (w networks) Update(ctx context.Context, id providers.ID, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about(providers.UpdateVerb, providers.NetworkNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Network{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.NetworkNoun, spec.Key().String())
	if err != nil {
		return providers.Network{}, err
	}
	defer unlock()
	n, err := w.p.network(ctx, id)
	if err != nil {
		return providers.Network{}, err
	}
	defer w.p.forget(n.id)
	if err := mine(meta(n.id, n.tags), spec.Key(), func() (providers.ID, error) { return w.other(ctx, spec.Key()) }); err != nil {
		return providers.Network{}, err
	}
	if spec.CIDR.IsValid() && spec.CIDR != n.cidr {
		return providers.Network{}, fail(providers.Invalid, "its range is %s and cannot be changed", n.cidr)
	}
	zones := n.zones()
	for _, z := range zones {
		if len(spec.Zones) > 0 && !slices.Contains(spec.Zones, z) {
			return providers.Network{}, fail(providers.Invalid, "zone %s cannot be taken away", z)
		}
	}
	was := maps.Clone(n.tags)
	if len(spec.Zones) > 0 {
		zones = spec.Zones
	}
	want := label(providers.NetworkNoun, spec.Key(), spec.Tags, map[string]string{zonesTag: strings.Join(zones, " ")})
	whole := len(n.lacks()) == 0
	if err := w.p.retag(ctx, n.id, was, want); err != nil {
		return providers.Network{}, err
	}
	maps.Copy(n.tags, want)
	if whole && len(n.lacks()) > 0 { // zones were added
		if err := w.finish(ctx, n, spec); err != nil {
			return providers.Network{}, err
		}
	}
	if err := w.reopen(ctx, n, spec.Allow); err != nil {
		return providers.Network{}, err
	}
	if n, err = w.p.network(ctx, id); err != nil {
		return providers.Network{}, err
	}
	return n.object(), nil
}

// other returns the owner's network of that name, if there is one.
func (w networks) other(ctx context.Context, k providers.Key) (providers.ID, error) {
	all, err := w.p.find(ctx, owned(providers.NetworkNoun, k))
	if err != nil || len(all) == 0 {
		return "", err
	}
	return providers.ID(all[0].id), nil
}

// Delete takes the network apart, what stands on others first. A VPC that is not ours keeps everything but our groups.
func (w networks) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.NetworkNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := w.p.network(ctx, id)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := w.p.keys.lock(ctx, providers.NetworkNoun, n.key().String())
	if err != nil {
		return err
	}
	defer unlock()
	defer w.p.forget(n.id)
	if err := w.unused(ctx, n); err != nil {
		return err
	}
	steps := []func(context.Context, *network) error{w.dropIdentity, w.dropGroups}
	if n.own {
		steps = []func(context.Context, *network) error{w.dropIdentity, w.dropNATs, w.dropSubnets, w.dropTables, w.dropGateways, w.dropGroups, w.dropVPC}
	}
	for _, step := range steps {
		if err := step(ctx, n); err != nil {
			return err
		}
	}
	w.p.made.drop(providers.NetworkNoun, n.key())
	return w.p.wait(ctx, "network "+n.id+" is still there", func() (bool, error) {
		_, err := w.p.network(ctx, id)
		if gone(err) {
			return true, nil
		}
		return false, err
	})
}

// unused returns Conflict while a machine or a balancer is in the network, whoever made it. In a VPC that is not ours others
// may be: only what is in our groups counts.
func (w networks) unused(ctx context.Context, n *network) error {
	var in []types.Instance
	f := filters("vpc-id", n.vpc)
	if !n.own {
		f = filters("tag:"+networkTag, n.id)
	}
	reservations, err := collect(ctx, ec2.NewDescribeInstancesPaginator(w.p.ec2, &ec2.DescribeInstancesInput{Filters: append(f, alive())}),
		func(o *ec2.DescribeInstancesOutput) []types.Reservation { return o.Reservations })
	for _, r := range reservations {
		in = append(in, r.Instances...)
	}
	if err != nil {
		return err
	}
	if len(in) > 0 {
		return fail(providers.Conflict, "%d machines are in it, among them %s", len(in), aws.ToString(in[0].InstanceId))
	}
	for _, g := range n.groups {
		if t := read(g.Tags); t[providers.KindTag] == string(providers.BalancerNoun) && t[networkTag] == n.id {
			return fail(providers.Conflict, "balancer %s is in it", aws.ToString(g.GroupId))
		}
	}
	return nil
}

// alive finds instances that are not gone.
func alive() types.Filter {
	return types.Filter{Name: ptr("instance-state-name"), Values: []string{"pending", "running", "shutting-down", "stopping", "stopped"}}
}

// ignoring makes an error of what is gone already no error.
func ignoring(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

func (w networks) dropNATs(ctx context.Context, n *network) error {
	for _, g := range n.nats {
		if g.State == types.NatGatewayStateDeleted || read(g.Tags)[networkTag] != n.id {
			continue
		}
		if _, err := w.p.ec2.DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: g.NatGatewayId}); ignoring(err) != nil {
			return err
		}
	}
	for _, g := range n.nats {
		if err := w.p.wait(ctx, "NAT gateway "+*g.NatGatewayId+" is still there", func() (bool, error) {
			out, err := w.p.ec2.DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{*g.NatGatewayId}})
			if gone(err) || err == nil && (len(out.NatGateways) == 0 || out.NatGateways[0].State == types.NatGatewayStateDeleted || out.NatGateways[0].State == types.NatGatewayStateFailed) {
				return true, nil
			}
			return false, err
		}); err != nil {
			return err
		}
	}
	if !n.gatewayed("") {
		return nil
	}
	found, err := w.p.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: filters("tag:"+networkTag, n.id)})
	if err != nil {
		return err
	}
	for _, a := range found.Addresses {
		if _, err := w.p.ec2.ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: a.AllocationId}); ignoring(err) != nil {
			return err
		}
	}
	return nil
}

func (w networks) dropSubnets(ctx context.Context, n *network) error {
	for _, s := range n.subnets {
		if read(s.Tags)[networkTag] != n.id {
			continue
		}
		if _, err := w.p.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: s.SubnetId}); ignoring(err) != nil {
			return err
		}
	}
	return nil
}

func (w networks) dropTables(ctx context.Context, n *network) error {
	for _, t := range n.tables {
		if read(t.Tags)[networkTag] != n.id {
			continue
		}
		if _, err := w.p.ec2.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: t.RouteTableId}); ignoring(err) != nil {
			return err
		}
	}
	return nil
}

func (w networks) dropGateways(ctx context.Context, n *network) error {
	all, err := collect(ctx, ec2.NewDescribeInternetGatewaysPaginator(w.p.ec2, &ec2.DescribeInternetGatewaysInput{Filters: filters("tag:"+networkTag, n.id)}),
		func(o *ec2.DescribeInternetGatewaysOutput) []types.InternetGateway { return o.InternetGateways })
	if err != nil {
		return err
	}
	for _, g := range all {
		if len(g.Attachments) > 0 {
			_, err := w.p.ec2.DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: g.InternetGatewayId, VpcId: &n.vpc})
			if ignoring(err) != nil && !is(err, "Gateway.NotAttached") {
				return err
			}
		}
		if _, err := w.p.ec2.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: g.InternetGatewayId}); ignoring(err) != nil {
			return err
		}
	}
	return nil
}

// dropGroups takes our groups away; that for nodes last, as its ID may be the network's.
func (w networks) dropGroups(ctx context.Context, n *network) error {
	for _, part := range []string{controlPart, nodesPart} {
		g := n.group(part)
		if g == nil {
			continue
		}
		if err := w.p.dropGroup(ctx, *g.GroupId); err != nil {
			return err
		}
	}
	return nil
}

// dropGroup deletes a security group. What used it may take a while to let go of it.
func (p *Provider) dropGroup(ctx context.Context, id string) error {
	var last error
	err := p.wait(ctx, "security group "+id+" is still in use", func() (bool, error) {
		_, last = p.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		if is(last, "DependencyViolation") {
			return false, nil
		}
		return true, ignoring(last)
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

func (w networks) dropVPC(ctx context.Context, n *network) error {
	_, err := w.p.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &n.vpc})
	return ignoring(err)
}
