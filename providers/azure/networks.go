package azure

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/provisionhq/provision/providers"
)

type networks struct{ p *Provider }

// Names of a network's parts in its resource group. No machine or balancer can have them: they are no DNS labels.
const (
	vnetPart    = "network_main"
	subnetPart  = "network_machines"
	natPart     = "network_nat"           // NAT gateway, and its public address
	nodesPart   = "network_nodes"         // application security group of all machines, and the network security group
	controlPart = "network_control-plane" // application security group of the control plane's machines
)

// Types of what is made, as resource IDs have them.
const (
	vmKind       = "Microsoft.Compute/virtualMachines"
	diskKind     = "Microsoft.Compute/disks"
	snapshotKind = "Microsoft.Compute/snapshots"
	vnetKind     = "Microsoft.Network/virtualNetworks"
	firewallKind = "Microsoft.Network/networkSecurityGroups"
	roleKind     = "Microsoft.Network/applicationSecurityGroups"
	natKind      = "Microsoft.Network/natGateways"
	addressKind  = "Microsoft.Network/publicIPAddresses"
	nicKind      = "Microsoft.Network/networkInterfaces"
	lbKind       = "Microsoft.Network/loadBalancers"
)

// A network is what there is of one.
type network struct {
	id       id
	tags     map[string]string // of the resource group
	deleting bool
	vnet     *armnetwork.VirtualNetwork // nil: not there, or somebody's
	subnet   *armnetwork.Subnet
	firewall *armnetwork.SecurityGroup
	roles    []string // application security groups
	nat      *armnetwork.NatGateway
}

func (n *network) zones() []string { return strings.Fields(n.tags[zonesTag]) }

// own says whether the virtual network is ours.
func (n *network) own() bool { return n.tags[subnetTag] == "" }

// subnetID is the resource ID of the subnet that machines are in.
func (p *Provider) subnetID(n *network) string {
	if !n.own() {
		return n.tags[subnetTag]
	}
	return p.resource(n.id.group, vnetKind, vnetPart) + "/subnets/" + subnetPart
}

// cidr is the range of the subnet; of what was begun, the range that it will have.
func (n *network) cidr() netip.Prefix {
	if n.subnet != nil && n.subnet.Properties != nil {
		text := val(n.subnet.Properties.AddressPrefix)
		if text == "" && len(n.subnet.Properties.AddressPrefixes) > 0 {
			text = val(n.subnet.Properties.AddressPrefixes[0])
		}
		if c, err := netip.ParsePrefix(text); err == nil {
			return c
		}
	}
	c, _ := netip.ParsePrefix(n.tags[rangeTag])
	return c
}

// object is the network as the contract has it.
func (n *network) object() providers.Network {
	o := providers.Network{Meta: meta(n.id, n.tags), CIDR: n.cidr(), Zones: n.zones(), Allow: allowed(n.firewall)}
	o.Partial = n.deleting || len(n.lacks()) > 0
	return o
}

// lacks names what the network does not have and should.
func (n *network) lacks() (all []string) {
	lack := func(missing bool, what string) {
		if missing {
			all = append(all, what)
		}
	}
	for _, r := range []string{nodesPart, controlPart} {
		lack(!slices.Contains(n.roles, r), r)
	}
	lack(n.firewall == nil || n.firewall.Properties == nil || !succeeded(n.firewall.Properties.ProvisioningState), "security group")
	lack(n.subnet == nil || n.subnet.Properties == nil || !succeeded(n.subnet.Properties.ProvisioningState), "subnet")
	if n.tags[natTag] == NATOne {
		lack(n.nat == nil || n.nat.Properties == nil || !succeeded(n.nat.Properties.ProvisioningState), "NAT gateway")
		lack(n.subnet == nil || n.subnet.Properties == nil || n.subnet.Properties.NatGateway == nil, "NAT gateway of the subnet")
	}
	return all
}

func succeeded(s *armnetwork.ProvisioningState) bool {
	return val(s) == armnetwork.ProvisioningStateSucceeded
}

// group returns a resource group and its tags.
func (p *Provider) group(ctx context.Context, name string) (tags map[string]string, deleting bool, err error) {
	g, err := p.groups.Get(ctx, name, nil)
	if err != nil {
		return nil, false, err
	}
	return read(g.Tags), g.Properties != nil && val(g.Properties.ProvisioningState) == "Deleting", nil
}

// head returns the network of an ID without its parts; NotFound if it is gone.
func (p *Provider) head(ctx context.Context, i id) (*network, error) {
	tags, deleting, err := p.group(ctx, i.group)
	if err != nil {
		return nil, err
	}
	if !i.fits(tags) || tags[zonesTag]+tags[rangeTag]+tags[natTag] == "" {
		return nil, fail(providers.NotFound, "network %s", i.ID())
	}
	return &network{id: i, tags: tags, deleting: deleting}, nil
}

// look completes a network of which the head is known.
func (p *Provider) look(ctx context.Context, n *network) error {
	if n.deleting {
		return nil
	}
	g := n.id.group
	f, err := p.firewalls.Get(ctx, g, nodesPart, nil)
	if ignoring(err) != nil {
		return err
	}
	if err == nil {
		n.firewall = &f.SecurityGroup
	}
	roles, err := collect(ctx, p.roles.NewListPager(g, nil), func(o armnetwork.ApplicationSecurityGroupsClientListResponse) []*armnetwork.ApplicationSecurityGroup {
		return o.Value
	})
	if ignoring(err) != nil {
		return err
	}
	for _, r := range roles {
		if r.Properties != nil && succeeded(r.Properties.ProvisioningState) {
			n.roles = append(n.roles, val(r.Name))
		}
	}
	if n.tags[natTag] == NATOne {
		t, err := p.nats.Get(ctx, g, natPart, nil)
		if ignoring(err) != nil {
			return err
		}
		if err == nil {
			n.nat = &t.NatGateway
		}
	}
	return p.lookSubnet(ctx, n)
}

// lookSubnet looks up the subnet, with its virtual network if that is ours.
func (p *Provider) lookSubnet(ctx context.Context, n *network) error {
	if !n.own() {
		s := n.tags[subnetTag]
		got, err := p.subnets.Get(ctx, part(s, "resourceGroups"), part(s, "virtualNetworks"), last(s), nil)
		if err == nil {
			n.subnet = &got.Subnet
		}
		return ignoring(err)
	}
	v, err := p.vnets.Get(ctx, n.id.group, vnetPart, nil)
	if err != nil {
		return ignoring(err)
	}
	n.vnet = &v.VirtualNetwork
	if v.Properties != nil {
		for _, s := range v.Properties.Subnets {
			if val(s.Name) == subnetPart {
				n.subnet = s
			}
		}
	}
	return nil
}

// network returns all there is of the one of that ID; NotFound if there is none.
func (p *Provider) network(ctx context.Context, of providers.ID) (*network, error) {
	i, err := parse(providers.NetworkNoun, of)
	if err != nil {
		return nil, err
	}
	n, err := p.head(ctx, i)
	if err != nil {
		return nil, err
	}
	return n, p.look(ctx, n)
}

// standing returns the head of the owner's network of that ID, which something is to be made in.
func (p *Provider) standing(ctx context.Context, o providers.Owner, of providers.ID) (n *network, err error) {
	i, err := parse(providers.NetworkNoun, of)
	if err != nil {
		return nil, err
	}
	err = p.soon(ctx, func() (err error) { n, err = p.head(ctx, i); return err })
	if err == nil && (n.deleting || n.tags[providers.OwnerTag] != string(o)) {
		err = fail(providers.NotFound, "network %s of %s", of, o)
	}
	return n, err
}

// networksOf returns the heads of an owner's networks.
func (p *Provider) networksOf(ctx context.Context, o providers.Owner) (all []*network, err error) {
	filter := "tagName eq '" + encode(providers.OwnerTag) + "' and tagValue eq '" + string(o) + "'"
	groups, err := collect(ctx, p.groups.NewListPager(&armresources.ResourceGroupsClientListOptions{Filter: &filter}),
		func(o armresources.ResourceGroupsClientListResponse) []*armresources.ResourceGroup { return o.Value })
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		tags := read(g.Tags)
		if belongs(tags, providers.NetworkNoun, o) && strings.EqualFold(val(g.Location), p.o.Location) {
			i := id{val(g.Name), "", tags[providers.GenerationTag]}
			all = append(all, &network{id: i, tags: tags, deleting: g.Properties != nil && val(g.Properties.ProvisioningState) == "Deleting"})
		}
	}
	return all, nil
}

// Get returns the network as it is.
func (w networks) Get(ctx context.Context, of providers.ID) (_ providers.Network, err error) {
	defer about(providers.GetVerb, providers.NetworkNoun, string(of), &err)
	n, err := w.p.network(ctx, of)
	if err != nil {
		return providers.Network{}, err
	}
	return n.object(), nil
}

// List returns the owner's networks.
func (w networks) List(ctx context.Context, o providers.Owner) (all []providers.Network, err error) {
	defer about(providers.ListVerb, providers.NetworkNoun, string(o), &err)
	found, err := w.p.networksOf(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, n := range found {
		if _, n.deleting, err = w.p.group(ctx, n.id.group); gone(err) {
			continue // the list of groups lags behind
		} else if err != nil {
			return nil, err
		}
		if err := w.p.look(ctx, n); err != nil {
			return nil, err
		}
		all = append(all, n.object())
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// Update sets tags, zones and what may come in.
func (w networks) Update(ctx context.Context, of providers.ID, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about(providers.UpdateVerb, providers.NetworkNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Network{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.NetworkNoun, spec.Key().String())
	if err != nil {
		return providers.Network{}, err
	}
	defer unlock()
	n, err := w.p.network(ctx, of)
	if err != nil {
		return providers.Network{}, err
	}
	o := n.object()
	if err := mine(o.Meta, spec.Key()); err != nil {
		return providers.Network{}, err
	}
	if spec.CIDR.IsValid() && spec.CIDR != o.CIDR {
		return providers.Network{}, fail(providers.Invalid, "its range is %s and cannot be changed to %s", o.CIDR, spec.CIDR)
	}
	own := map[string]string{}
	if len(spec.Zones) > 0 {
		own[zonesTag] = strings.Join(spec.Zones, " ")
	}
	if err := w.p.retag(ctx, w.p.scope(n.id.group), n.tags, label(providers.NetworkNoun, spec.Key(), n.id.generation, spec.Tags, own)); err != nil {
		return providers.Network{}, err
	}
	if n.firewall != nil {
		if err := w.p.admit(ctx, n.id.group, wanted(w.p, n.id.group, spec.Allow), isAllow); err != nil {
			return providers.Network{}, err
		}
	}
	if n, err = w.p.network(ctx, of); err != nil {
		return providers.Network{}, err
	}
	return n.object(), nil
}

// check returns why there can be no such network.
func (w networks) check(s providers.NetworkSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if s.CIDR != (netip.Prefix{}) && (!s.CIDR.IsValid() || s.CIDR != s.CIDR.Masked() || !s.CIDR.Addr().Is4() || s.CIDR.Bits() < 8 || s.CIDR.Bits() > 28) {
		return fail(providers.Invalid, "range %s: it must be the first address of an IPv4 range from /8 to /28", s.CIDR)
	}
	for _, z := range s.Zones {
		if !slices.Contains(w.p.zones(), z) {
			return fail(providers.Invalid, "zone %q: location %s has %s", z, w.p.o.Location, strings.Join(w.p.zones(), ", "))
		}
	}
	if len(s.Allow) > 900 {
		return fail(providers.Invalid, "%d rules: Azure has up to 1000 in a group, of which provision needs some", len(s.Allow))
	}
	for _, r := range s.Allow {
		switch {
		case r.Protocol != "tcp" && r.Protocol != "udp":
			return fail(providers.Invalid, "rule %q: protocol %q is neither tcp nor udp", r.Name, r.Protocol)
		case r.Port < 1 || r.Port > 65535:
			return fail(providers.Invalid, "rule %q: port %d is not from 1 to 65535", r.Name, r.Port)
		case len(r.Sources) == 0:
			return fail(providers.Invalid, "rule %q lets nobody in", r.Name)
		case len(r.Name) > 140 || !regexp.MustCompile(`^[ -~]*$`).MatchString(r.Name):
			return fail(providers.Invalid, "rule %q: a name has up to 140 letters of ASCII", r.Name)
		}
		if err := sources(r.Sources); err != nil {
			return fail(providers.Invalid, "rule %q: %v", r.Name, err)
		}
	}
	return checkTags(s.Tags)
}

// sources returns why addresses cannot be those of who may come in.
func sources(all []netip.Prefix) error {
	for i, c := range all {
		if !c.IsValid() || c != c.Masked() || slices.Contains(all[:i], c) {
			return fail(providers.Invalid, "source %s: it must be the first address of a range, once", c)
		}
	}
	return nil
}
