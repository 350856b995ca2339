package aws

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

type networks struct{ p *Provider }

// Parts of a network, as partTag names them.
const (
	nodesPart   = "nodes"         // security group of all machines
	controlPart = "control-plane" // security group of the control plane's machines
	publicPart  = "public"        // subnets and their route table
	privatePart = "private"
	gatewayPart = "gateway"
	natPart     = "nat"
)

// A network is what there is of one.
type network struct {
	id   string // of the VPC; in one that is there already, of the group for nodes
	vpc  string
	cidr netip.Prefix
	tags map[string]string // of what has the ID
	own  bool              // the VPC is ours

	subnets []types.Subnet
	tables  []types.RouteTable
	gateway string // attached
	nats    []types.NatGateway
	groups  []types.SecurityGroup // all of the VPC
}

func (n *network) key() providers.Key {
	return providers.Key{Owner: providers.Owner(n.tags[providers.OwnerTag]), Name: n.tags[providers.NameTag]}
}
func (n *network) zones() []string { return strings.Fields(n.tags[zonesTag]) }

// group returns the network's security group of that part.
func (n *network) group(part string) *types.SecurityGroup {
	for i, g := range n.groups {
		if t := read(g.Tags); t[partTag] == part && (t[networkTag] == n.id || aws.ToString(g.GroupId) == n.id) {
			return &n.groups[i]
		}
	}
	return nil
}

// object is the network as the contract has it.
func (n *network) object() providers.Network {
	o := providers.Network{Meta: meta(n.id, n.tags), CIDR: n.cidr, Zones: n.zones(), Allow: n.rules()}
	o.Partial = len(n.lacks()) > 0
	return o
}

// lacks names what the network does not have and should.
func (n *network) lacks() (all []string) {
	lack := func(missing bool, what string) {
		if missing {
			all = append(all, what)
		}
	}
	for _, part := range []string{nodesPart, controlPart} {
		g := n.group(part)
		lack(g == nil || !slices.ContainsFunc(g.IpPermissions, inward(aws.ToString(g.GroupId))), "group "+part)
	}
	if !n.own {
		return all
	}
	lack(n.gateway == "", gatewayPart)
	public := n.table(publicPart, "")
	lack(public == nil || !routes(public, n.gateway), "route to the gateway")
	for _, z := range n.zones() {
		pub, priv := n.subnet(publicPart, z), n.subnet(privatePart, z)
		lack(pub == nil || priv == nil, "subnets in "+z)
		lack(pub != nil && (public == nil || !associated(public, *pub.SubnetId)), "route table in "+z)
		if !n.gatewayed(z) {
			continue
		}
		nat := n.natOf(z)
		lack(nat == nil || nat.State != types.NatGatewayStateAvailable, "NAT gateway for "+z)
		t := n.table(privatePart, z)
		lack(nat != nil && (t == nil || !routes(t, *nat.NatGatewayId)), "route to the NAT gateway in "+z)
		lack(priv != nil && t != nil && !associated(t, *priv.SubnetId), "private route table in "+z)
	}
	return all
}

// gatewayed says whether the zone's private subnet has a way out.
func (n *network) gatewayed(string) bool {
	nat := n.tags[natTag]
	return nat == NATOne || nat == NATZone
}

// home returns the zone whose NAT gateway the zone uses.
func (n *network) home(zone string) string {
	if zs := n.zones(); n.tags[natTag] == NATOne && len(zs) > 0 {
		return zs[0]
	}
	return zone
}

func (n *network) natOf(zone string) *types.NatGateway {
	for i, g := range n.nats {
		t := read(g.Tags)
		if t[partTag] == natPart+" "+n.home(zone) && (g.State == types.NatGatewayStateAvailable || g.State == types.NatGatewayStatePending) {
			return &n.nats[i]
		}
	}
	return nil
}

// table returns the route table of public subnets, or of a zone's private one.
func (n *network) table(part, zone string) *types.RouteTable {
	if part == privatePart {
		part += " " + n.home(zone)
	}
	for i, t := range n.tables {
		if read(t.Tags)[partTag] == part {
			return &n.tables[i]
		}
	}
	return nil
}

func routes(t *types.RouteTable, to string) bool {
	return to != "" && slices.ContainsFunc(t.Routes, func(r types.Route) bool {
		return aws.ToString(r.DestinationCidrBlock) == "0.0.0.0/0" && (aws.ToString(r.GatewayId) == to || aws.ToString(r.NatGatewayId) == to)
	})
}

func associated(t *types.RouteTable, subnet string) bool {
	return slices.ContainsFunc(t.Associations, func(a types.RouteTableAssociation) bool { return aws.ToString(a.SubnetId) == subnet })
}

// subnet returns the network's subnet of that part in the zone.
func (n *network) subnet(part, zone string) *types.Subnet {
	for i, s := range n.subnets {
		if aws.ToString(s.AvailabilityZone) == zone && n.is(s, part) {
			return &n.subnets[i]
		}
	}
	return nil
}

// is says whether a subnet is of that part. In a VPC that is there already its routes tell.
func (n *network) is(s types.Subnet, part string) bool {
	if n.own {
		return read(s.Tags)[partTag] == part
	}
	var of *types.RouteTable
	for i, t := range n.tables {
		main := slices.ContainsFunc(t.Associations, func(a types.RouteTableAssociation) bool { return aws.ToBool(a.Main) })
		if associated(&n.tables[i], aws.ToString(s.SubnetId)) || main && of == nil {
			of = &n.tables[i]
			if !main {
				break
			}
		}
	}
	return (of != nil && routes(of, n.gateway)) == (part == publicPart)
}

// ranges returns the range of a zone's subnet: the network has room for eight zones, so more can come later.
func (p *Provider) ranges(n *network, part, zone string) (netip.Prefix, error) {
	i := slices.Index(p.Caps().Zones, zone)
	if i < 0 || i > 7 {
		return netip.Prefix{}, fail(providers.Invalid, "zone %q: the region has none of that name", zone)
	}
	if part == privatePart {
		i += 8
	}
	bits := n.cidr.Bits() + 4
	a := n.cidr.Addr().As4()
	step := uint32(i) << (32 - bits)
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3]) + step
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), bits), nil
}

// look completes a network of which the ID is known with what is in its VPC.
func (p *Provider) look(ctx context.Context, n *network) (err error) {
	in := filters("vpc-id", n.vpc)
	if n.groups, err = collect(ctx, ec2.NewDescribeSecurityGroupsPaginator(p.ec2, &ec2.DescribeSecurityGroupsInput{Filters: in}),
		func(o *ec2.DescribeSecurityGroupsOutput) []types.SecurityGroup { return o.SecurityGroups }); err != nil {
		return err
	}
	if n.subnets, err = collect(ctx, ec2.NewDescribeSubnetsPaginator(p.ec2, &ec2.DescribeSubnetsInput{Filters: in}),
		func(o *ec2.DescribeSubnetsOutput) []types.Subnet { return o.Subnets }); err != nil {
		return err
	}
	if n.tables, err = collect(ctx, ec2.NewDescribeRouteTablesPaginator(p.ec2, &ec2.DescribeRouteTablesInput{Filters: in}),
		func(o *ec2.DescribeRouteTablesOutput) []types.RouteTable { return o.RouteTables }); err != nil {
		return err
	}
	gateways, err := collect(ctx, ec2.NewDescribeInternetGatewaysPaginator(p.ec2, &ec2.DescribeInternetGatewaysInput{Filters: filters("attachment.vpc-id", n.vpc)}),
		func(o *ec2.DescribeInternetGatewaysOutput) []types.InternetGateway { return o.InternetGateways })
	if err != nil {
		return err
	}
	for _, g := range gateways {
		n.gateway = aws.ToString(g.InternetGatewayId)
	}
	if !n.own || !n.gatewayed("") {
		return nil
	}
	n.nats, err = collect(ctx, ec2.NewDescribeNatGatewaysPaginator(p.ec2, &ec2.DescribeNatGatewaysInput{Filter: in}),
		func(o *ec2.DescribeNatGatewaysOutput) []types.NatGateway { return o.NatGateways })
	return err
}

// ofVPC is the beginning of a network that is a VPC of ours.
func ofVPC(v types.Vpc) *network {
	cidr, _ := netip.ParsePrefix(aws.ToString(v.CidrBlock))
	return &network{id: aws.ToString(v.VpcId), vpc: aws.ToString(v.VpcId), cidr: cidr, tags: read(v.Tags), own: true}
}

// find returns the networks that the filters find: VPCs, and groups in VPCs that are not ours.
func (p *Provider) find(ctx context.Context, f []types.Filter) (all []*network, err error) {
	vpcs, err := collect(ctx, ec2.NewDescribeVpcsPaginator(p.ec2, &ec2.DescribeVpcsInput{Filters: f}),
		func(o *ec2.DescribeVpcsOutput) []types.Vpc { return o.Vpcs })
	if err != nil {
		return nil, err
	}
	for _, v := range vpcs {
		all = append(all, ofVPC(v))
	}
	if p.o.Network == "" {
		return all, nil
	}
	groups, err := collect(ctx, ec2.NewDescribeSecurityGroupsPaginator(p.ec2, &ec2.DescribeSecurityGroupsInput{Filters: f}),
		func(o *ec2.DescribeSecurityGroupsOutput) []types.SecurityGroup { return o.SecurityGroups })
	for _, g := range groups {
		n, e := p.within(ctx, g)
		if e != nil {
			return nil, e
		}
		all = append(all, n)
	}
	return all, err
}

// within is the beginning of a network in a VPC that is not ours, of its group for nodes.
func (p *Provider) within(ctx context.Context, g types.SecurityGroup) (*network, error) {
	out, err := p.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{aws.ToString(g.VpcId)}})
	if err != nil {
		return nil, err
	}
	n := ofVPC(out.Vpcs[0])
	n.id, n.own, n.tags = aws.ToString(g.GroupId), false, read(g.Tags)
	return n, nil
}

// network returns all there is of the network; NotFound if there is none of the ID.
func (p *Provider) network(ctx context.Context, id providers.ID) (*network, error) {
	var n *network
	switch {
	case isID(string(id), "vpc"):
		out, err := p.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{string(id)}})
		if err != nil {
			return nil, err
		}
		if len(out.Vpcs) == 0 {
			return nil, fail(providers.NotFound, "VPC %s", id)
		}
		n = ofVPC(out.Vpcs[0])
	case isID(string(id), "sg"):
		out, err := p.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{string(id)}})
		if err != nil {
			return nil, err
		}
		if len(out.SecurityGroups) == 0 || read(out.SecurityGroups[0].Tags)[partTag] != nodesPart {
			return nil, fail(providers.NotFound, "network %s", id)
		}
		if n, err = p.within(ctx, out.SecurityGroups[0]); err != nil {
			return nil, err
		}
	default:
		return nil, fail(providers.NotFound, "%q is not the ID of a network", id)
	}
	return n, p.look(ctx, n)
}

// A cached network was looked up for machines, of which many are made at a time.
type cached struct {
	n  *network
	at time.Time
}

// standing returns a complete network for things of the owner to stand in.
func (p *Provider) standing(ctx context.Context, o providers.Owner, id providers.ID) (*network, error) {
	p.mu.Lock()
	c := p.nets[string(id)]
	p.mu.Unlock()
	if c == nil || time.Since(c.at) > time.Minute {
		n, err := p.network(ctx, id)
		if err != nil {
			return nil, err
		}
		c = &cached{n, time.Now()}
	}
	switch lacks := c.n.lacks(); {
	case c.n.key().Owner != o:
		return nil, fail(providers.NotFound, "network %s of %s", id, o)
	case len(lacks) > 0:
		return nil, fail(providers.Conflict, "network %s is not complete: it lacks %s", id, strings.Join(lacks, ", "))
	}
	p.mu.Lock()
	p.nets[string(id)] = c
	p.mu.Unlock()
	return c.n, nil
}

// forget makes the next look at the network a new one.
func (p *Provider) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nets, id)
}

// Get returns the network as it is.
func (w networks) Get(ctx context.Context, id providers.ID) (_ providers.Network, err error) {
	defer about(providers.GetVerb, providers.NetworkNoun, string(id), &err)
	n, err := w.p.network(ctx, id)
	if err != nil {
		return providers.Network{}, err
	}
	return n.object(), nil
}

// List returns the owner's networks.
func (w networks) List(ctx context.Context, o providers.Owner) (all []providers.Network, err error) {
	defer about(providers.ListVerb, providers.NetworkNoun, string(o), &err)
	found, err := w.p.find(ctx, owned(providers.NetworkNoun, providers.Key{Owner: o}))
	if err != nil {
		return nil, err
	}
	for _, n := range found {
		if err := w.p.look(ctx, n); err != nil {
			return nil, err
		}
		all = append(all, n.object())
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// byName sorts objects.
func byName[O providers.Identified](a, b O) int {
	if c := strings.Compare(a.GetMeta().Name, b.GetMeta().Name); c != 0 {
		return c
	}
	return strings.Compare(string(a.GetMeta().ID), string(b.GetMeta().ID))
}

// named returns the owner's network of that name; nil if there is none. Two of one name are an error: a person has to say
// which is right.
func (p *Provider) named(ctx context.Context, k providers.Key) (*network, error) {
	if id := p.made.recent(providers.NetworkNoun, k, p.o.Lag); id != "" {
		var n *network
		err := p.soon(ctx, func() (err error) { n, err = p.network(ctx, providers.ID(id)); return err })
		if err == nil && n.key() == k || !gone(err) && err != nil {
			return n, err
		}
	}
	var all []*network
	err := p.surely(ctx, providers.NetworkNoun, k, func() (_ bool, err error) {
		all, err = p.find(ctx, owned(providers.NetworkNoun, k))
		return len(all) > 0, err
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	if len(all) > 1 {
		return nil, fail(providers.Conflict, "there are two of the name, %s and %s: delete the one that nothing is in", all[0].id, all[1].id)
	}
	return all[0], p.look(ctx, all[0])
}
