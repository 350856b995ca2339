package gcp

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

type networks struct{ p *Provider }

// Parts of a network, as partTag names them.
const (
	nodesPart   = "nodes"         // the subnetwork; the firewall rule for all machines, which has the network's tags; their network tag
	controlPart = "control-plane" // the firewall rule and the network tag of the control plane's machines
	allowPart   = "allow"         // firewall rules that let something in from outside
	routerPart  = "router"
)

// Places in the IDs of what is in no zone or region.
const (
	networkPlace  = "networks"
	firewallPlace = "firewalls" // a network in one that is not ours has the ID of its rule for nodes
	globalPlace   = "global"
)

// A network is what there is of one.
type network struct {
	key  providers.Key // that its things' names are made of
	own  bool          // the VPC network is ours
	vpc  *computepb.Network
	tags map[string]string // of the rule for nodes; without it, those that the VPC network was made with

	subnet    *computepb.Subnetwork
	router    *computepb.Router
	firewalls map[string]*computepb.Firewall // ours, by name
}

func (n *network) name(part string) string { return vendorName(providers.NetworkNoun, n.key, part) }
func (n *network) zones() []string         { return strings.Fields(n.tags[zonesTag]) }

// nodes is the rule for nodes; nil if there is none.
func (n *network) nodes() *computepb.Firewall { return n.firewalls[n.name(nodesPart)] }

func (n *network) ref() ref {
	if n.own {
		return ref{networkPlace, n.vpc.GetName(), n.vpc.GetId()}
	}
	return ref{firewallPlace, n.nodes().GetName(), n.nodes().GetId()}
}

func (n *network) cidr() netip.Prefix {
	c, _ := netip.ParsePrefix(n.subnet.GetIpCidrRange())
	return c
}

// object is the network as the contract has it.
func (n *network) object() providers.Network {
	o := providers.Network{Meta: meta(n.ref(), n.tags), CIDR: n.cidr(), Zones: n.zones(), Allow: n.rules()}
	o.Partial = len(n.lacks()) > 0
	return o
}

// lacks names what the network does not have and should.
func (n *network) lacks() (all []string) {
	for _, part := range []struct {
		what  string
		there bool
	}{
		{"subnetwork", n.subnet != nil},
		{"firewall rule for nodes", n.nodes() != nil},
		{"firewall rule for the control plane", n.firewalls[n.name(controlPart)] != nil},
		{"router", n.router != nil || !n.own || n.tags[natTag] != NATOne},
	} {
		if !part.there {
			all = append(all, part.what)
		}
	}
	if want, _ := strconv.Atoi(n.tags[rulesTag]); len(n.openings()) < want {
		all = append(all, "firewall rules for what comes in")
	}
	return all
}

// The names that things are looked for by. A nil thing is one that there is not.

func (p *Provider) vpc(ctx context.Context, name string) (*computepb.Network, error) {
	return get(ctx, p, func() (*computepb.Network, error) {
		return p.api.networks.Get(ctx, &computepb.GetNetworkRequest{Project: p.o.Project, Network: name})
	})
}

func (p *Provider) subnet(ctx context.Context, name string) (*computepb.Subnetwork, error) {
	return get(ctx, p, func() (*computepb.Subnetwork, error) {
		return p.api.subnets.Get(ctx, &computepb.GetSubnetworkRequest{Project: p.o.Project, Region: p.o.Region, Subnetwork: name})
	})
}

func (p *Provider) router(ctx context.Context, name string) (*computepb.Router, error) {
	return get(ctx, p, func() (*computepb.Router, error) {
		return p.api.routers.Get(ctx, &computepb.GetRouterRequest{Project: p.o.Project, Region: p.o.Region, Router: name})
	})
}

func (p *Provider) firewall(ctx context.Context, name string) (*computepb.Firewall, error) {
	return get(ctx, p, func() (*computepb.Firewall, error) {
		return p.api.firewalls.Get(ctx, &computepb.GetFirewallRequest{Project: p.o.Project, Firewall: name})
	})
}

// allFirewalls returns those of the project that are ours, whosever they are.
func (p *Provider) allFirewalls(ctx context.Context) ([]*computepb.Firewall, error) {
	all, err := collect(ctx, p, func() func() (*computepb.Firewall, error) {
		return p.api.firewalls.List(ctx, &computepb.ListFirewallsRequest{Project: p.o.Project}).Next
	})
	return slices.DeleteFunc(all, func(f *computepb.Firewall) bool { return described(f.GetDescription()) == nil }), err
}

func (p *Provider) allVPCs(ctx context.Context) ([]*computepb.Network, error) {
	return collect(ctx, p, func() func() (*computepb.Network, error) {
		return p.api.networks.List(ctx, &computepb.ListNetworksRequest{Project: p.o.Project}).Next
	})
}

func (p *Provider) allSubnets(ctx context.Context) ([]*computepb.Subnetwork, error) {
	return collect(ctx, p, func() func() (*computepb.Subnetwork, error) {
		return p.api.subnets.List(ctx, &computepb.ListSubnetworksRequest{Project: p.o.Project, Region: p.o.Region}).Next
	})
}

// ofVPC is the beginning of a network that is ours; nil if the VPC network is somebody else's.
func ofVPC(v *computepb.Network) *network {
	tags := described(v.GetDescription())
	if tags[providers.KindTag] != string(providers.NetworkNoun) {
		return nil
	}
	return &network{key: keyOf(tags), own: true, vpc: v, tags: tags}
}

// within is the beginning of a network in one that is not ours, of its rule for nodes; nil if the rule is another.
func within(f *computepb.Firewall) *network {
	tags := described(f.GetDescription())
	if tags[natTag] != notOurs {
		return nil
	}
	return &network{key: providers.Key{Owner: providers.Owner(tags[ownerWas]), Name: tags[nameWas]}, tags: tags, vpc: &computepb.Network{Name: ptr(last(f.GetNetwork()))}}
}

// Owner and name that the names of a rule's network are made of: they stay when a stranger takes the tags away.
const (
	ownerWas = ownTags + "owner"
	nameWas  = ownTags + "name"
)

// guarded completes a network with its firewall rules.
func (n *network) guarded(all []*computepb.Firewall) {
	n.firewalls = map[string]*computepb.Firewall{}
	for _, f := range all {
		t := described(f.GetDescription())
		if t[partTag] != "" && t[ownerWas] == string(n.key.Owner) && t[nameWas] == n.key.Name {
			n.firewalls[f.GetName()] = f
		}
	}
	if f := n.nodes(); f != nil {
		n.tags = described(f.GetDescription())
	}
}

// look completes a network with what it consists of.
func (p *Provider) look(ctx context.Context, n *network) (err error) {
	all, err := p.allFirewalls(ctx)
	if err != nil {
		return err
	}
	n.guarded(all)
	if !n.own {
		return p.lookWithin(ctx, n)
	}
	if n.subnet, err = p.subnet(ctx, n.name(nodesPart)); gone(err) {
		n.subnet, err = nil, nil
	}
	if err == nil && n.tags[natTag] == NATOne {
		if n.router, err = p.router(ctx, n.name(routerPart)); gone(err) {
			n.router, err = nil, nil
		}
	}
	return err
}

// lookWithin finds the subnetwork in a network that is not ours: the one that is named, or the only one.
func (p *Provider) lookWithin(ctx context.Context, n *network) error {
	all, err := p.allSubnets(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s *computepb.Subnetwork) bool {
		return last(s.GetNetwork()) != n.vpc.GetName() || p.o.Subnetwork != "" && s.GetName() != p.o.Subnetwork
	})
	switch {
	case len(all) == 0:
		return fail(providers.Invalid, "network %s has no subnetwork %s in region %s", n.vpc.GetName(), p.o.Subnetwork, p.o.Region)
	case len(all) > 1:
		return fail(providers.Invalid, "network %s has %d subnetworks in region %s: name one with subnetwork", n.vpc.GetName(), len(all), p.o.Region)
	}
	n.subnet = all[0]
	return nil
}

// network returns all there is of the network; NotFound if there is none of the ID.
func (p *Provider) network(ctx context.Context, id providers.ID) (n *network, err error) {
	r, err := refOf(providers.NetworkNoun, id)
	if err != nil {
		return nil, err
	}
	switch r.place {
	case networkPlace:
		v, err := p.vpc(ctx, r.name)
		if err != nil {
			return nil, err
		}
		if n = ofVPC(v); v.GetId() != r.num {
			n = nil
		}
	case firewallPlace:
		f, err := p.firewall(ctx, r.name)
		if err != nil {
			return nil, err
		}
		if n = within(f); f.GetId() != r.num {
			n = nil
		}
	}
	if n == nil {
		return nil, fail(providers.NotFound, "network %s", id)
	}
	if err := p.look(ctx, n); err != nil {
		return nil, err
	}
	if !n.own && n.nodes() == nil {
		return nil, fail(providers.NotFound, "network %s", id)
	}
	return n, nil
}

// A cached network was looked up for machines, of which many are made at a time.
type cached struct {
	n  *network
	at time.Time
}

// standing returns a complete network for things of the owner to stand in.
func (p *Provider) standing(ctx context.Context, o providers.Owner, id providers.ID) (*network, error) {
	p.mu.Lock()
	c := p.nets[id]
	p.mu.Unlock()
	if c == nil || time.Since(c.at) > time.Minute {
		n, err := p.network(ctx, id)
		if err != nil {
			return nil, err
		}
		c = &cached{n, time.Now()}
	}
	switch lacks := c.n.lacks(); {
	case keyOf(c.n.tags).Owner != o:
		return nil, fail(providers.NotFound, "network %s of %s", id, o)
	case len(lacks) > 0:
		return nil, fail(providers.Conflict, "network %s is not complete: it lacks %s", id, strings.Join(lacks, ", "))
	}
	p.mu.Lock()
	p.nets[id] = c
	p.mu.Unlock()
	return c.n, nil
}

// forget makes the next look at the network a new one.
func (p *Provider) forget(id providers.ID) {
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

// List returns the owner's networks. Networks have no labels: the descriptions of all are read.
func (w networks) List(ctx context.Context, o providers.Owner) (all []providers.Network, err error) {
	defer about(providers.ListVerb, providers.NetworkNoun, string(o), &err)
	firewalls, err := w.p.allFirewalls(ctx)
	if err != nil {
		return nil, err
	}
	var found []*network
	vpcs, err := w.p.allVPCs(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range vpcs {
		found = append(found, ofVPC(v))
	}
	for _, f := range firewalls {
		found = append(found, within(f))
	}
	for _, n := range found {
		if n == nil {
			continue
		}
		if n.guarded(firewalls); keyOf(n.tags).Owner != o {
			continue
		}
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

// named returns the owner's network of that name; nil if there is none.
func (p *Provider) named(ctx context.Context, k providers.Key) (n *network, err error) {
	name := vendorName(providers.NetworkNoun, k, "")
	v, err := p.vpc(ctx, name)
	switch {
	case err == nil:
		if n = ofVPC(v); n == nil {
			return nil, fail(providers.Conflict, "there is a network %s that is not ours", name)
		}
	case !gone(err):
		return nil, err
	default:
		f, err := p.firewall(ctx, vendorName(providers.NetworkNoun, k, nodesPart))
		if gone(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if n = within(f); n == nil {
			return nil, nil // a rule of a network that is going
		}
	}
	if err := p.look(ctx, n); err != nil {
		return nil, err
	}
	return n, ours(meta(n.ref(), n.tags), k)
}
