package azure

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/provisionhq/provision/providers"
)

// Create makes the resource group and then what is in it.
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
	n, err := w.named(ctx, spec.Key())
	if err != nil {
		return providers.Network{}, err
	}
	if n != nil && !n.object().Partial {
		return n.object(), providers.Exists
	}
	if n == nil {
		if n, err = w.begin(ctx, spec); err != nil {
			return providers.Network{}, err
		}
	}
	w.p.made.note(providers.NetworkNoun, spec.Key(), n.id.group)
	if err := w.p.bring(ctx, n, spec); err != nil {
		return providers.Network{}, err
	}
	var o providers.Network
	err = w.p.wait(ctx, "network "+n.id.group+" is not complete", func() (bool, error) {
		n, err := w.p.network(ctx, n.id.ID())
		if err == nil {
			o = n.object()
		}
		if err != nil || o.Partial {
			return false, ignoring(err)
		}
		all, err := w.p.networksOf(ctx, spec.Owner) // the list of groups lags behind
		return slices.ContainsFunc(all, func(l *network) bool { return l.id == n.id }), err
	})
	return o, err
}

// named returns the owner's network of that name; nil if there is none.
func (w networks) named(ctx context.Context, k providers.Key) (n *network, err error) {
	group := networkGroup(k)
	var tags map[string]string
	var deleting bool
	err = w.p.known(ctx, providers.NetworkNoun, k, func() (err error) { tags, deleting, err = w.p.group(ctx, group); return err })
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !belongs(tags, providers.NetworkNoun, k.Owner) || tags[providers.NameTag] != k.Name {
		return nil, fail(providers.Conflict, "there is a resource group %s that is not %s's network: its tags say otherwise", group, k.Owner)
	}
	if deleting {
		return nil, w.p.groupGone(ctx, group)
	}
	n = &network{id: id{group, "", tags[providers.GenerationTag]}, tags: tags}
	return n, w.p.look(ctx, n)
}

// begin makes the resource group.
func (w networks) begin(ctx context.Context, spec providers.NetworkSpec) (*network, error) {
	zones := spec.Zones
	if len(zones) == 0 {
		zones = w.p.o.Zones
	}
	own := map[string]string{zonesTag: strings.Join(zones, " "), natTag: w.p.o.NAT}
	var err error
	if w.p.o.Network != "" {
		own[subnetTag], own[rangeTag], err = w.existing(ctx, spec.CIDR)
	} else {
		own[rangeTag], err = w.vacant(ctx, spec)
	}
	if err != nil {
		return nil, err
	}
	i := id{networkGroup(spec.Key()), "", fresh()}
	tags := label(providers.NetworkNoun, spec.Key(), i.generation, spec.Tags, own)
	return &network{id: i, tags: tags}, w.p.makeGroup(ctx, i.group, tags)
}

// makeGroup makes a resource group.
func (p *Provider) makeGroup(ctx context.Context, name string, tags map[string]string) error {
	return p.settled(ctx, func() error {
		_, err := p.groups.CreateOrUpdate(ctx, name, armresources.ResourceGroup{Location: &p.o.Location, Tags: written(tags)}, nil)
		return err
	})
}

// existing returns the subnet that is there already, and its range.
func (w networks) existing(ctx context.Context, asked netip.Prefix) (subnet, cidr string, err error) {
	n := &network{tags: map[string]string{subnetTag: w.p.o.Network}}
	if err := w.p.lookSubnet(ctx, n); err != nil {
		return "", "", err
	}
	if n.subnet == nil {
		return "", "", fail(providers.NotFound, "subnet %s", w.p.o.Network)
	}
	if asked.IsValid() && asked != n.cidr() {
		return "", "", fail(providers.Invalid, "range %s: the subnet that is there already has %s", asked, n.cidr())
	}
	return w.p.o.Network, n.cidr().String(), nil
}

// vacant returns the spec's range or one of 10.0.0.0/8 that no virtual network of the subscription has.
func (w networks) vacant(ctx context.Context, spec providers.NetworkSpec) (string, error) {
	if spec.CIDR.IsValid() {
		return spec.CIDR.String(), nil
	}
	all, err := collect(ctx, w.p.vnets.NewListAllPager(nil), func(o armnetwork.VirtualNetworksClientListAllResponse) []*armnetwork.VirtualNetwork { return o.Value })
	if err != nil {
		return "", err
	}
	taken := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/12")} // pods' and services'
	for _, v := range all {
		if v.Properties == nil || v.Properties.AddressSpace == nil {
			continue
		}
		for _, a := range v.Properties.AddressSpace.AddressPrefixes {
			if c, err := netip.ParsePrefix(val(a)); err == nil {
				taken = append(taken, c)
			}
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(spec.Key().String()))
	for i := range 256 {
		c := netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", (int(h.Sum32()%256)+i)%256))
		if !slices.ContainsFunc(taken, c.Overlaps) {
			return c.String(), nil
		}
	}
	return "", fail(providers.Quota, "no range is free in 10.0.0.0/8: name one in the file")
}

// parts are the tags of a network's parts.
func (n *network) parts(k providers.Key) map[string]*string {
	return written(label(partKind, k, n.id.generation, nil, map[string]string{networkTag: string(n.id.ID())}))
}

// bring makes what the network lacks, each after what it stands on.
func (p *Provider) bring(ctx context.Context, n *network, spec providers.NetworkSpec) error {
	tags, g := n.parts(spec.Key()), n.id.group
	for _, r := range []string{nodesPart, controlPart} {
		if slices.Contains(n.roles, r) {
			continue
		}
		if err := p.settled(ctx, func() error {
			poller, err := p.roles.BeginCreateOrUpdate(ctx, g, r, armnetwork.ApplicationSecurityGroup{Location: &p.o.Location, Tags: tags}, nil)
			_, err = done(ctx, p, poller, err)
			return err
		}); err != nil {
			return err
		}
	}
	if n.tags[natTag] == NATOne && n.nat == nil {
		if err := p.bringNAT(ctx, n, tags); err != nil {
			return err
		}
	}
	if n.firewall == nil {
		f := armnetwork.SecurityGroup{Location: &p.o.Location, Tags: tags, Properties: &armnetwork.SecurityGroupPropertiesFormat{
			SecurityRules: append(wanted(p, g, spec.Allow), p.fixed(g)...)}}
		if err := p.settled(ctx, func() error {
			poller, err := p.firewalls.BeginCreateOrUpdate(ctx, g, nodesPart, f, nil)
			_, err = done(ctx, p, poller, err)
			return err
		}); err != nil {
			return err
		}
	}
	if !n.own() || n.subnet != nil && len(n.lacks()) == 0 {
		return nil
	}
	v := armnetwork.VirtualNetwork{Location: &p.o.Location, Tags: tags, Properties: &armnetwork.VirtualNetworkPropertiesFormat{
		AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{ptr(n.tags[rangeTag])}},
		Subnets: []*armnetwork.Subnet{{Name: ptr(subnetPart), Properties: &armnetwork.SubnetPropertiesFormat{
			AddressPrefix: ptr(n.tags[rangeTag]), DefaultOutboundAccess: ptr(false)}}}}}
	if n.tags[natTag] == NATOne {
		v.Properties.Subnets[0].Properties.NatGateway = &armnetwork.SubResource{ID: ptr(p.resource(g, natKind, natPart))}
	}
	return p.settled(ctx, func() error {
		poller, err := p.vnets.BeginCreateOrUpdate(ctx, g, vnetPart, v, nil)
		_, err = done(ctx, p, poller, err)
		return err
	})
}

// bringNAT makes the NAT gateway's address and the gateway.
func (p *Provider) bringNAT(ctx context.Context, n *network, tags map[string]*string) error {
	if err := p.putAddress(ctx, n.id.group, natPart, tags, nil); err != nil {
		return err
	}
	in := armnetwork.NatGateway{Location: &p.o.Location, Tags: tags, SKU: &armnetwork.NatGatewaySKU{Name: ptr(armnetwork.NatGatewaySKUNameStandard)},
		Properties: &armnetwork.NatGatewayPropertiesFormat{IdleTimeoutInMinutes: ptr(int32(4)),
			PublicIPAddresses: []*armnetwork.SubResource{{ID: ptr(p.resource(n.id.group, addressKind, natPart))}}}}
	return p.settled(ctx, func() error {
		poller, err := p.nats.BeginCreateOrUpdate(ctx, n.id.group, natPart, in, nil)
		_, err = done(ctx, p, poller, err)
		return err
	})
}

// putAddress makes a public address that stays the same.
func (p *Provider) putAddress(ctx context.Context, group, name string, tags map[string]*string, zones []*string) error {
	in := armnetwork.PublicIPAddress{Location: &p.o.Location, Tags: tags, Zones: zones,
		SKU: &armnetwork.PublicIPAddressSKU{Name: ptr(armnetwork.PublicIPAddressSKUNameStandard)},
		Properties: &armnetwork.PublicIPAddressPropertiesFormat{PublicIPAddressVersion: ptr(armnetwork.IPVersionIPv4),
			PublicIPAllocationMethod: ptr(armnetwork.IPAllocationMethodStatic)}}
	return p.settled(ctx, func() error {
		poller, err := p.addresses.BeginCreateOrUpdate(ctx, group, name, in, nil)
		_, err = done(ctx, p, poller, err)
		return err
	})
}
