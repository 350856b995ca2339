package aws

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// Create makes the VPC and then, in an order in which each is what the next stands on, all that is missing in it.
func (w networks) Create(ctx context.Context, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about(providers.CreateVerb, providers.NetworkNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Network{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.NetworkNoun, spec.Key().String())
	if err != nil {
		return providers.Network{}, err
	}
	defer unlock()
	n, err := w.p.named(ctx, spec.Key())
	if err != nil {
		return providers.Network{}, err
	}
	if n != nil && len(n.lacks()) == 0 {
		return n.object(), providers.Exists
	}
	if n == nil {
		if n, err = w.begin(ctx, spec); err != nil {
			return providers.Network{}, err
		}
	}
	defer w.p.forget(n.id)
	if err := w.finish(ctx, n, spec); err != nil {
		return providers.Network{}, err
	}
	return w.seen(ctx, n.id)
}

// seen returns a network once AWS shows all of it.
func (w networks) seen(ctx context.Context, id string) (o providers.Network, err error) {
	err = w.p.wait(ctx, "network "+id+" is not complete", func() (bool, error) {
		n, err := w.p.network(ctx, providers.ID(id))
		if gone(err) {
			return false, nil
		}
		if err == nil {
			o = n.object()
		}
		return !o.Partial, err
	})
	return o, err
}

// begin makes what has the network's ID.
func (w networks) begin(ctx context.Context, spec providers.NetworkSpec) (*network, error) {
	zones := spec.Zones
	if len(zones) == 0 {
		zones = w.p.o.Zones
	}
	tags := label(providers.NetworkNoun, spec.Key(), spec.Tags, map[string]string{zonesTag: strings.Join(zones, " "), natTag: w.p.o.NAT})
	if w.p.o.Network != "" {
		return w.settle(ctx, spec, tags)
	}
	cidr := spec.CIDR
	if !cidr.IsValid() {
		var err error
		if cidr, err = w.free(ctx); err != nil {
			return nil, err
		}
	}
	out, err := w.p.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: ptr(cidr.String()), TagSpecifications: specified(types.ResourceTypeVpc, tags)})
	w.p.made.unanswered(providers.NetworkNoun, spec.Key(), err)
	if err != nil {
		return nil, err
	}
	n := ofVPC(*out.Vpc)
	n.tags = tags
	w.p.made.note(providers.NetworkNoun, spec.Key(), n.id)
	return n, nil
}

// free returns a range that no VPC has.
func (w networks) free(ctx context.Context) (netip.Prefix, error) {
	vpcs, err := collect(ctx, ec2.NewDescribeVpcsPaginator(w.p.ec2, &ec2.DescribeVpcsInput{}), func(o *ec2.DescribeVpcsOutput) []types.Vpc { return o.Vpcs })
	if err != nil {
		return netip.Prefix{}, err
	}
	for i := 10; i < 90; i++ { // 10.96.0.0 and 10.244.0.0 are Kubernetes' own
		c := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)
		if !slices.ContainsFunc(vpcs, func(v types.Vpc) bool {
			o, err := netip.ParsePrefix(aws.ToString(v.CidrBlock))
			return err == nil && o.Overlaps(c)
		}) {
			return c, nil
		}
	}
	return netip.Prefix{}, fail(providers.Conflict, "no range from 10.10.0.0/16 to 10.89.0.0/16 is free: name one with cidr")
}

// withPart adds the tags of a part to those of a network.
func withPart(tags map[string]string, part, network string) map[string]string {
	all := map[string]string{}
	for k, v := range tags {
		all[k] = v
	}
	if all[partTag] = part; network != "" {
		all[networkTag] = network
	}
	return all
}

// part are the tags of a part of the network, which has the owner and name of it but is of no kind of its own.
func (n *network) part(part string) map[string]string {
	k := n.key()
	return map[string]string{providers.OwnerTag: string(k.Owner), providers.NameTag: k.Name, providers.KindTag: "part", partTag: part,
		networkTag: n.id, titleTag: k.Name + "-" + strings.ReplaceAll(part, " ", "-")}
}

// finish makes what is missing. Each step looks at what is there, so it may be the first or the last.
func (w networks) finish(ctx context.Context, n *network, spec providers.NetworkSpec) error {
	var steps []func(context.Context, *network) error
	if n.own {
		steps = append(steps, w.gate, w.public, w.private, w.out)
	}
	for _, step := range steps {
		if err := step(ctx, n); err != nil {
			return err
		}
	}
	return w.guard(ctx, n, spec.Allow)
}

// gate makes the internet gateway.
func (w networks) gate(ctx context.Context, n *network) error {
	if n.gateway != "" {
		return nil
	}
	loose, err := collect(ctx, ec2.NewDescribeInternetGatewaysPaginator(w.p.ec2, &ec2.DescribeInternetGatewaysInput{Filters: filters("tag:"+networkTag, n.id)}),
		func(o *ec2.DescribeInternetGatewaysOutput) []types.InternetGateway { return o.InternetGateways })
	if err != nil {
		return err
	}
	id := ""
	for _, g := range loose {
		id = aws.ToString(g.InternetGatewayId)
	}
	if id == "" {
		out, err := w.p.ec2.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{TagSpecifications: specified(types.ResourceTypeInternetGateway, n.part(gatewayPart))})
		if err != nil {
			return err
		}
		id = aws.ToString(out.InternetGateway.InternetGatewayId)
	}
	err = w.p.soon(ctx, func() error {
		_, err := w.p.ec2.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: &id, VpcId: &n.vpc})
		return err
	})
	if err == nil {
		n.gateway = id
	}
	return err
}

// public makes the public subnets and their way out.
func (w networks) public(ctx context.Context, n *network) error {
	t, err := w.tabled(ctx, n, publicPart, "")
	if err != nil {
		return err
	}
	if err := w.route(ctx, t, ec2.CreateRouteInput{GatewayId: &n.gateway}); err != nil {
		return err
	}
	for _, z := range n.zones() {
		if err := w.placed(ctx, n, publicPart, z, t); err != nil {
			return err
		}
	}
	return nil
}

// private makes the private subnets. Without a NAT gateway they use the VPC's own route table, which leads nowhere.
func (w networks) private(ctx context.Context, n *network) error {
	for _, z := range n.zones() {
		if err := w.placed(ctx, n, privatePart, z, nil); err != nil {
			return err
		}
	}
	return nil
}

// tabled returns the route table of that part, which it makes if need be.
func (w networks) tabled(ctx context.Context, n *network, part, zone string) (*types.RouteTable, error) {
	if t := n.table(part, zone); t != nil {
		return t, nil
	}
	tag := part
	if part == privatePart {
		tag += " " + n.home(zone)
	}
	var out *ec2.CreateRouteTableOutput
	err := w.p.soon(ctx, func() (err error) {
		out, err = w.p.ec2.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &n.vpc, TagSpecifications: specified(types.ResourceTypeRouteTable, n.part(tag)),
			ClientToken: tokenFor(providers.NetworkNoun, providers.Key{Name: n.id}, 1, "table "+tag)})
		return err
	})
	if err != nil {
		return nil, err
	}
	n.tables = append(n.tables, *out.RouteTable)
	n.tables[len(n.tables)-1].Tags = written(n.part(tag))
	return &n.tables[len(n.tables)-1], nil
}

// route adds the way to everywhere, if it is not there.
func (w networks) route(ctx context.Context, t *types.RouteTable, in ec2.CreateRouteInput) error {
	to := aws.ToString(in.GatewayId) + aws.ToString(in.NatGatewayId)
	if routes(t, to) {
		return nil
	}
	in.RouteTableId, in.DestinationCidrBlock = t.RouteTableId, ptr("0.0.0.0/0")
	err := w.p.soon(ctx, func() error { _, err := w.p.ec2.CreateRoute(ctx, &in); return err })
	if is(err, "RouteAlreadyExists") { // it leads elsewhere: to a gateway that is gone
		_, err = w.p.ec2.ReplaceRoute(ctx, &ec2.ReplaceRouteInput{RouteTableId: in.RouteTableId, DestinationCidrBlock: in.DestinationCidrBlock,
			GatewayId: in.GatewayId, NatGatewayId: in.NatGatewayId})
	}
	return err
}

// subnetOf makes the zone's subnet of that part. A call that was cut off, or somebody else who makes the network too, may have made it
// without AWS showing it yet: then the range is taken, and the subnet is waited for.
func (w networks) subnetOf(ctx context.Context, n *network, part, zone, cidr string) (types.Subnet, error) {
	var out *ec2.CreateSubnetOutput
	err := w.p.soon(ctx, func() (err error) {
		out, err = w.p.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, AvailabilityZone: &zone, CidrBlock: &cidr,
			TagSpecifications: specified(types.ResourceTypeSubnet, n.part(part))})
		return err
	})
	if err == nil {
		return *out.Subnet, nil
	}
	if !is(err, "InvalidSubnet.Conflict") {
		return types.Subnet{}, err
	}
	var d time.Duration
	for end := time.Now().Add(max(w.p.o.Lag, time.Second)); ; {
		there, lerr := collect(ctx, ec2.NewDescribeSubnetsPaginator(w.p.ec2, &ec2.DescribeSubnetsInput{Filters: filters("vpc-id", n.vpc)}),
			func(o *ec2.DescribeSubnetsOutput) []types.Subnet { return o.Subnets })
		if lerr != nil {
			return types.Subnet{}, lerr
		}
		for _, s := range there {
			if aws.ToString(s.CidrBlock) == cidr && aws.ToString(s.AvailabilityZone) == zone && n.is(s, part) {
				return s, nil
			}
		}
		if time.Now().After(end) {
			return types.Subnet{}, fail(providers.Unavailable, "subnet %s is being made: %w", cidr, err)
		}
		if err := w.p.pause(ctx, &d); err != nil {
			return types.Subnet{}, err
		}
	}
}

// placed makes the zone's subnet of that part, if need be, and ties it to the route table, if there is one.
func (w networks) placed(ctx context.Context, n *network, part, zone string, t *types.RouteTable) error {
	s := n.subnet(part, zone)
	if s == nil {
		cidr, err := w.p.ranges(n, part, zone)
		if err != nil {
			return err
		}
		made, err := w.subnetOf(ctx, n, part, zone, cidr.String())
		if err != nil {
			return err
		}
		n.subnets = append(n.subnets, made)
		s = &n.subnets[len(n.subnets)-1]
		s.Tags = written(n.part(part))
	}
	if t == nil || associated(t, *s.SubnetId) {
		return nil
	}
	err := w.p.soon(ctx, func() error {
		_, err := w.p.ec2.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: t.RouteTableId, SubnetId: s.SubnetId})
		return err
	})
	if is(err, "Resource.AlreadyAssociated") {
		return nil
	}
	return err
}

// out makes the NAT gateways that the network should have, and the routes of private subnets to them.
func (w networks) out(ctx context.Context, n *network) error {
	for _, z := range n.zones() {
		if !n.gatewayed(z) {
			return nil
		}
		if n.home(z) == z {
			if err := w.translate(ctx, n, z); err != nil {
				return err
			}
		}
	}
	for _, z := range n.zones() {
		t, err := w.tabled(ctx, n, privatePart, z)
		if err != nil {
			return err
		}
		id := n.natOf(z).NatGatewayId
		if err := w.p.wait(ctx, "NAT gateway "+*id+" is not available", w.available(ctx, *id)); err != nil {
			return err
		}
		if err := w.route(ctx, t, ec2.CreateRouteInput{NatGatewayId: id}); err != nil {
			return err
		}
		t.Routes = append(t.Routes, types.Route{DestinationCidrBlock: ptr("0.0.0.0/0"), NatGatewayId: id})
		if err := w.placed(ctx, n, privatePart, z, t); err != nil {
			return err
		}
	}
	return nil
}

// translate makes the zone's NAT gateway, with an address that is tagged, so that it is found again.
func (w networks) translate(ctx context.Context, n *network, zone string) error {
	if n.natOf(zone) != nil {
		return nil
	}
	tag := natPart + " " + zone
	found, err := w.p.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: filters("tag:"+networkTag, n.id, "tag:"+partTag, tag)})
	if err != nil {
		return err
	}
	var address *string
	for _, a := range found.Addresses {
		address = a.AllocationId
	}
	if address == nil {
		out, err := w.p.ec2.AllocateAddress(ctx, &ec2.AllocateAddressInput{Domain: types.DomainTypeVpc, TagSpecifications: specified(types.ResourceTypeElasticIp, n.part(tag))})
		if err != nil {
			return err
		}
		address = out.AllocationId
	}
	var out *ec2.CreateNatGatewayOutput
	err = w.p.soon(ctx, func() (err error) {
		out, err = w.p.ec2.CreateNatGateway(ctx, &ec2.CreateNatGatewayInput{AllocationId: address, SubnetId: n.subnet(publicPart, zone).SubnetId,
			ClientToken:       tokenFor(providers.NetworkNoun, providers.Key{Name: n.id}, len(n.nats)+1, tag),
			TagSpecifications: specified(types.ResourceTypeNatgateway, n.part(tag))})
		return err
	})
	if err == nil {
		n.nats = append(n.nats, *out.NatGateway)
		g := &n.nats[len(n.nats)-1]
		g.Tags = written(n.part(tag))
		if g.State == "" {
			g.State = types.NatGatewayStatePending
		}
	}
	return err
}

// available says whether the NAT gateway works.
func (w networks) available(ctx context.Context, id string) func() (bool, error) {
	return func() (bool, error) {
		out, err := w.p.ec2.DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{id}})
		if gone(err) || err == nil && len(out.NatGateways) == 0 {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if g := out.NatGateways[0]; g.State == types.NatGatewayStateFailed {
			return false, fail(providers.Unavailable, "NAT gateway %s failed: %s: %s", id, aws.ToString(g.FailureCode), aws.ToString(g.FailureMessage))
		}
		return out.NatGateways[0].State == types.NatGatewayStateAvailable, nil
	}
}
