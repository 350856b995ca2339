package gcp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// notOurs stands as natTag on the rule for nodes of a network in one that is not ours.
const notOurs = "not-ours"

// Create makes the VPC network and then, at the same time, all that is missing in it.
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
	defer w.p.forget(n.ref().id())
	if err := w.complete(ctx, n, spec); err != nil {
		return providers.Network{}, err
	}
	return w.seen(ctx, n.ref().id())
}

// seen returns a network once Google's readers see all of it.
func (w networks) seen(ctx context.Context, id providers.ID) (o providers.Network, err error) {
	err = w.p.wait(ctx, "network "+string(id)+" is not complete", func() (bool, error) {
		n, err := w.p.network(ctx, id)
		if err == nil {
			o = n.object()
		}
		return err == nil && !o.Partial, ignoring(err)
	})
	return o, err
}

// tagsOf are the tags of a network that is made from the spec.
func (w networks) tagsOf(spec providers.NetworkSpec) map[string]string {
	zones := spec.Zones
	if len(zones) == 0 {
		zones = w.p.o.Zones
	}
	nat := w.p.o.NAT
	if w.p.o.Network != "" {
		nat = notOurs
	}
	return label(providers.NetworkNoun, spec.Key(), spec.Tags, map[string]string{zonesTag: strings.Join(zones, " "), natTag: nat,
		rulesTag: strconv.Itoa(len(spec.Allow)), ownerWas: string(spec.Owner), nameWas: spec.Name})
}

// begin makes what has the network's ID.
func (w networks) begin(ctx context.Context, spec providers.NetworkSpec) (*network, error) {
	tags := w.tagsOf(spec)
	if w.p.o.Network != "" {
		return w.settle(ctx, spec, tags)
	}
	name := vendorName(providers.NetworkNoun, spec.Key(), "")
	err := w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.networks.Insert(ctx, &computepb.InsertNetworkRequest{Project: w.p.o.Project, RequestId: id, NetworkResource: &computepb.Network{
			Name: &name, AutoCreateSubnetworks: ptr(false), Description: describe(tags), RoutingConfig: &computepb.NetworkRoutingConfig{RoutingMode: ptr("REGIONAL")}}})
	})
	if err != nil && !taken(err) {
		return nil, err
	}
	v, err := soon(ctx, w.p, func() (*computepb.Network, error) { return w.p.vpc(ctx, name) })
	if err != nil {
		return nil, err
	}
	n := ofVPC(v)
	if n == nil {
		return nil, fail(providers.Conflict, "there is a network %s that is not ours", name)
	}
	return n, w.p.look(ctx, n)
}

// settle makes the rule for nodes in a network that is there already.
func (w networks) settle(ctx context.Context, spec providers.NetworkSpec, tags map[string]string) (*network, error) {
	v, err := w.p.vpc(ctx, w.p.o.Network)
	if err != nil {
		return nil, err
	}
	n := &network{key: spec.Key(), vpc: v, tags: tags}
	if err := w.p.look(ctx, n); err != nil {
		return nil, err
	}
	if spec.CIDR.IsValid() && spec.CIDR != n.cidr() {
		return nil, fail(providers.Invalid, "subnetwork %s has the range %s, not %s", n.subnet.GetName(), n.cidr(), spec.CIDR)
	}
	if err := w.guard(ctx, n.among(nodesPart, tags)); err != nil {
		return nil, err
	}
	f, err := soon(ctx, w.p, func() (*computepb.Firewall, error) { return w.p.firewall(ctx, n.name(nodesPart)) })
	if err != nil {
		return nil, err
	}
	if n = within(f); n == nil {
		return nil, fail(providers.Conflict, "firewall rule %s is not ours", f.GetName())
	}
	n.vpc = v
	n.guarded([]*computepb.Firewall{f})
	return n, w.p.lookWithin(ctx, n)
}

// complete makes what is missing, all at the same time: each stands on the VPC network alone.
func (w networks) complete(ctx context.Context, n *network, spec providers.NetworkSpec) error {
	tags := n.tags
	if n.nodes() == nil {
		tags = w.tagsOf(spec)
		tags[natTag], tags[zonesTag] = n.tags[natTag], n.tags[zonesTag] // what the VPC network was made with
	}
	var steps []func() error
	if n.subnet == nil {
		steps = append(steps, func() error { return w.divide(ctx, n, spec.CIDR) })
	}
	if n.own && n.router == nil && tags[natTag] == NATOne {
		steps = append(steps, func() error { return w.route(ctx, n) })
	}
	want := []*computepb.Firewall{n.among(nodesPart, tags), n.among(controlPart, n.part(controlPart))}
	if n.nodes() == nil || tags[rulesTag] == strconv.Itoa(len(spec.Allow)) {
		want = append(want, n.allowing(spec.Allow)...)
	} else if len(n.openings()) < len(spec.Allow) { // it was cut off in an update, or a stranger took a rule away
		steps = append(steps, func() error { return w.reopen(ctx, n, spec) })
	}
	for _, f := range want {
		if n.firewalls[f.GetName()] == nil {
			steps = append(steps, func() error { return w.guard(ctx, f) })
		}
	}
	if want, _ := strconv.Atoi(tags[rulesTag]); n.nodes() != nil && want != len(spec.Allow) {
		steps = append(steps, func() error {
			return w.record(ctx, n, retagged(n.tags, map[string]string{rulesTag: strconv.Itoa(len(spec.Allow))}), true)
		})
	}
	return together(steps...)
}

// divide makes the subnetwork.
func (w networks) divide(ctx context.Context, n *network, cidr netip.Prefix) error {
	if !cidr.IsValid() {
		var err error
		if cidr, err = w.free(ctx); err != nil {
			return err
		}
	}
	err := w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.subnets.Insert(ctx, &computepb.InsertSubnetworkRequest{Project: w.p.o.Project, Region: w.p.o.Region, RequestId: id, SubnetworkResource: &computepb.Subnetwork{
			Name: ptr(n.name(nodesPart)), Network: n.vpc.SelfLink, IpCidrRange: ptr(cidr.String()), PrivateIpGoogleAccess: ptr(true),
			Description: describe(n.part(nodesPart))}})
	})
	if taken(err) {
		return nil
	}
	return err
}

// free returns a range that no subnetwork of the region has. Those of another network may be joined with it one day.
func (w networks) free(ctx context.Context) (netip.Prefix, error) {
	all, err := w.p.allSubnets(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	for i := 10; i < 90; i++ { // 10.96.0.0 and 10.244.0.0 are Kubernetes' own, 10.128.0.0/9 is Google's for networks of automatic mode
		c := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)
		if !slices.ContainsFunc(all, func(s *computepb.Subnetwork) bool {
			o, err := netip.ParsePrefix(s.GetIpCidrRange())
			return err == nil && o.Overlaps(c)
		}) {
			return c, nil
		}
	}
	return netip.Prefix{}, fail(providers.Conflict, "no range from 10.10.0.0/16 to 10.89.0.0/16 is free: name one with cidr")
}

// route makes the router with NAT.
func (w networks) route(ctx context.Context, n *network) error {
	err := w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.routers.Insert(ctx, &computepb.InsertRouterRequest{Project: w.p.o.Project, Region: w.p.o.Region, RequestId: id, RouterResource: &computepb.Router{
			Name: ptr(n.name(routerPart)), Network: n.vpc.SelfLink, Description: describe(n.part(routerPart)), Nats: []*computepb.RouterNat{{
				Name: ptr("nat"), NatIpAllocateOption: ptr("AUTO_ONLY"), SourceSubnetworkIpRangesToNat: ptr("ALL_SUBNETWORKS_ALL_IP_RANGES")}}}})
	})
	if taken(err) {
		return nil
	}
	return err
}

// part are the tags of a part of the network, which has the owner and name of it but is of no kind of its own.
func (n *network) part(part string) map[string]string {
	return label(partKind, n.key, nil, map[string]string{partTag: part, ownerWas: string(n.key.Owner), nameWas: n.key.Name})
}

// check returns why there can be no such network.
func (w networks) check(s providers.NetworkSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if c := s.CIDR; c.IsValid() && (c != c.Masked() || !c.Addr().Is4() || c.Bits() < 8 || c.Bits() > 29) {
		return fail(providers.Invalid, "range %s: it must be one of IPv4, from /8 to /29, without host bits", c)
	}
	for _, z := range s.Zones {
		if !slices.Contains(w.p.Caps().Zones, z) {
			return fail(providers.Invalid, "zone %q: region %s has %s", z, w.p.o.Region, strings.Join(w.p.Caps().Zones, ", "))
		}
	}
	for _, r := range s.Allow {
		if r.Port < 1 || r.Port > 65535 {
			return fail(providers.Invalid, "rule %q: there is no port %d", r.Name, r.Port)
		}
		if r.Protocol != "tcp" && r.Protocol != "udp" {
			return fail(providers.Invalid, "rule %q: the protocol can be tcp or udp, not %q", r.Name, r.Protocol)
		}
		if len(r.Name) > 256 {
			return fail(providers.Invalid, "rule %.20q…: its name has more than 256 letters", r.Name)
		}
		for _, c := range r.Sources {
			if !c.IsValid() || c != c.Masked() {
				return fail(providers.Invalid, "rule %q: range %s has host bits", r.Name, c)
			}
		}
	}
	return checkTags(providers.NetworkNoun, s.Tags)
}
