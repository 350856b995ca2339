package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"github.com/provisionhq/provision/providers"
)

// among is the rule for what machines of a part may do among themselves: nodes everything but etcd's ports, the control plane
// those. Machines are of the part by a network tag that has the name of the rule.
func (n *network) among(part string, tags map[string]string) *computepb.Firewall {
	f := &computepb.Firewall{Name: ptr(n.name(part)), Network: n.vpc.SelfLink, Direction: ptr("INGRESS"),
		SourceTags: []string{n.name(part)}, TargetTags: []string{n.name(part)}}
	if part == controlPart {
		f.Allowed = []*computepb.Allowed{{IPProtocol: ptr("tcp"), Ports: []string{"2379-2380"}}}
	} else {
		f.Allowed = []*computepb.Allowed{{IPProtocol: ptr("tcp"), Ports: []string{"0-2378", "2381-65535"}}, {IPProtocol: ptr("udp")}, {IPProtocol: ptr("icmp")}}
		tags = maps.Clone(tags)
		tags[partTag] = nodesPart
	}
	f.Description = describe(tags)
	return f
}

// A placed rule is what a firewall rule's description keeps of a rule of the spec.
type placed struct {
	Index int                  `json:"index"` // in the spec's order
	Name  string               `json:"name"`
	V6    map[int]netip.Prefix `json:"v6,omitempty"` // ranges of IPv6, with their places: the network has none of it
	None  bool                 `json:"none,omitempty"`
}

// allowing are the firewall rules for rules of the spec. The API is the control plane's. A rule without sources lets nobody in: as
// Google takes one without sources for everybody, it is switched off.
func (n *network) allowing(rules []providers.Rule) (all []*computepb.Firewall) {
	times := map[string]int{}
	for i, r := range rules {
		times[r.Name]++
		at := n.name(nodesPart)
		if r.Name == "api" {
			at = n.name(controlPart)
		}
		p := placed{Index: i, Name: r.Name}
		f := &computepb.Firewall{Name: ptr(n.name(allowPart + " " + r.Name + " " + strconv.Itoa(times[r.Name]))), Network: n.vpc.SelfLink, Direction: ptr("INGRESS"),
			TargetTags: []string{at}, Disabled: ptr(false), Allowed: []*computepb.Allowed{{IPProtocol: ptr(r.Protocol), Ports: []string{strconv.Itoa(r.Port)}}}}
		for j, s := range r.Sources {
			if s.Addr().Is4() {
				f.SourceRanges = append(f.SourceRanges, s.String())
				continue
			}
			if p.V6 == nil {
				p.V6 = map[int]netip.Prefix{}
			}
			p.V6[j] = s
		}
		if len(f.SourceRanges) == 0 {
			p.None, f.Disabled, f.SourceRanges = true, ptr(true), []string{"192.0.2.0/32"} // which is nobody's: RFC 5737
		}
		text, _ := json.Marshal(p)
		tags := n.part(allowPart)
		tags[ruleTag] = string(text)
		f.Description = describe(tags)
		all = append(all, f)
	}
	return all
}

// openings are the firewall rules that let something in from outside.
func (n *network) openings() (all []*computepb.Firewall) {
	for _, f := range n.firewalls {
		if described(f.GetDescription())[partTag] == allowPart {
			all = append(all, f)
		}
	}
	return all
}

// rules are the openings as rules of the contract, in the order in which they were asked for.
func (n *network) rules() (all []providers.Rule) {
	type found struct {
		placed
		rule providers.Rule
	}
	var each []found
	for _, f := range n.openings() {
		var x found
		_ = json.Unmarshal([]byte(described(f.GetDescription())[ruleTag]), &x.placed)
		x.rule.Name = x.Name
		for _, a := range f.GetAllowed() {
			x.rule.Protocol = a.GetIPProtocol()
			if len(a.GetPorts()) > 0 {
				x.rule.Port, _ = strconv.Atoi(a.GetPorts()[0])
			}
		}
		if !f.GetDisabled() {
			for _, s := range f.GetSourceRanges() {
				if c, err := netip.ParsePrefix(s); err == nil {
					x.rule.Sources = append(x.rule.Sources, c)
				}
			}
		}
		for _, j := range slices.Sorted(maps.Keys(x.V6)) {
			x.rule.Sources = slices.Insert(x.rule.Sources, min(j, len(x.rule.Sources)), x.V6[j])
		}
		each = append(each, x)
	}
	slices.SortFunc(each, func(a, b found) int { return a.Index - b.Index })
	for _, x := range each {
		all = append(all, x.rule)
	}
	return all
}

// guard makes a firewall rule, or finds the one of that name.
func (w networks) guard(ctx context.Context, f *computepb.Firewall) error {
	err := w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: w.p.o.Project, FirewallResource: f, RequestId: id})
	})
	if taken(err) {
		return nil
	}
	return err
}

// unguard removes a firewall rule.
func (w networks) unguard(ctx context.Context, name string) error {
	return ignoring(w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.firewalls.Delete(ctx, &computepb.DeleteFirewallRequest{Project: w.p.o.Project, Firewall: name, RequestId: id})
	}))
}

// amend makes a firewall rule what it should be, if it is not.
func (w networks) amend(ctx context.Context, have, want *computepb.Firewall) error {
	as := &computepb.Firewall{Description: have.Description, Allowed: have.Allowed, SourceRanges: have.SourceRanges, TargetTags: have.TargetTags,
		DestinationRanges: have.DestinationRanges, Disabled: ptr(have.GetDisabled())}
	to := &computepb.Firewall{Description: want.Description, Allowed: want.Allowed, SourceRanges: want.SourceRanges, TargetTags: want.TargetTags,
		DestinationRanges: want.DestinationRanges, Disabled: ptr(want.GetDisabled())}
	if proto.Equal(as, to) {
		return nil
	}
	return w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.firewalls.Patch(ctx, &computepb.PatchFirewallRequest{Project: w.p.o.Project, Firewall: have.GetName(), FirewallResource: to, RequestId: id})
	})
}

// reopen makes what comes in what the spec says: what is missing first, what is too much last.
func (w networks) reopen(ctx context.Context, n *network, spec providers.NetworkSpec) error {
	var steps []func() error
	keep := map[string]bool{}
	for _, f := range n.allowing(spec.Allow) {
		keep[f.GetName()] = true
		if have := n.firewalls[f.GetName()]; have != nil {
			steps = append(steps, func() error { return w.amend(ctx, have, f) })
		} else {
			steps = append(steps, func() error { return w.guard(ctx, f) })
		}
	}
	if err := together(steps...); err != nil {
		return err
	}
	steps = nil
	for _, f := range n.openings() {
		if !keep[f.GetName()] {
			steps = append(steps, func() error { return w.unguard(ctx, f.GetName()) })
		}
	}
	return together(steps...)
}

// record writes the network's tags on its rule for nodes, if they differ.
func (w networks) record(ctx context.Context, n *network, tags map[string]string, keep bool) error {
	if keep { // all tags that there are and are not spoken of
		all := maps.Clone(n.tags)
		maps.Copy(all, tags)
		tags = all
	}
	want := n.among(nodesPart, tags)
	want.Allowed = n.nodes().Allowed
	return w.amend(ctx, n.nodes(), want)
}

// Update sets tags, zones and rules.
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
	if err := mine(meta(n.ref(), n.tags), spec.Key()); err != nil {
		return providers.Network{}, err
	}
	if n.key != spec.Key() {
		return providers.Network{}, fail(providers.Invalid, "it is %s", n.key)
	}
	if spec.CIDR.IsValid() && n.subnet != nil && spec.CIDR != n.cidr() {
		return providers.Network{}, fail(providers.Invalid, "its range is %s and cannot be changed to %s", n.cidr(), spec.CIDR)
	}
	if n.nodes() == nil {
		return n.object(), fail(providers.Conflict, "it is not complete: it lacks the firewall rule that has its tags")
	}
	defer w.p.forget(id)
	want := w.tagsOf(spec)
	if want[natTag] = n.tags[natTag]; len(spec.Zones) == 0 {
		want[zonesTag] = n.tags[zonesTag]
	}
	was := len(n.rules())
	if now := len(spec.Allow); now > was && len(n.lacks()) == 0 {
		want[rulesTag] = strconv.Itoa(was) // until they are there it is not less complete than it was
	}
	if err := w.record(ctx, n, retagged(n.tags, want), false); err != nil {
		return providers.Network{}, err
	}
	if err := w.reopen(ctx, n, spec); err != nil {
		return providers.Network{}, err
	}
	if want[rulesTag] != strconv.Itoa(len(spec.Allow)) {
		if n, err = w.p.network(ctx, id); err != nil {
			return providers.Network{}, err
		}
		want[rulesTag] = strconv.Itoa(len(spec.Allow))
		if err := w.record(ctx, n, retagged(n.tags, want), false); err != nil {
			return providers.Network{}, err
		}
	}
	var o providers.Network
	err = w.p.wait(ctx, "the rules of network "+string(id)+" are not seen", func() (bool, error) {
		n, err := w.p.network(ctx, id)
		if err == nil {
			o = n.object()
		}
		return len(o.Allow) == len(spec.Allow), err
	})
	return o, err
}

// Delete removes the network and all its parts; Conflict while something is in it. The subnetwork goes first: Google keeps it
// while something stands in it, and then all else stays too.
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
	defer w.p.forget(id)
	if err := w.vacant(ctx, n); err != nil {
		return err
	}
	if n.own && n.subnet != nil {
		if err := ignoring(w.p.do(ctx, func(id *string) (*compute.Operation, error) {
			return w.p.api.subnets.Delete(ctx, &computepb.DeleteSubnetworkRequest{Project: w.p.o.Project, Region: w.p.o.Region, Subnetwork: n.subnet.GetName(), RequestId: id})
		})); err != nil {
			return err
		}
	}
	if err := w.dismantle(ctx, n); err != nil {
		return err
	}
	return vanished(ctx, w.p, "network "+string(id), func() (*network, error) { return w.p.network(ctx, id) })
}

// dismantle removes what is not the subnetwork; what has the ID goes last.
func (w networks) dismantle(ctx context.Context, n *network) error {
	var steps []func() error
	for name := range n.firewalls {
		if n.own || name != n.name(nodesPart) {
			steps = append(steps, func() error { return w.unguard(ctx, name) })
		}
	}
	if n.own {
		steps = append(steps, func() error {
			return ignoring(w.p.do(ctx, func(id *string) (*compute.Operation, error) {
				return w.p.api.routers.Delete(ctx, &computepb.DeleteRouterRequest{Project: w.p.o.Project, Region: w.p.o.Region, Router: n.name(routerPart), RequestId: id})
			}))
		})
	}
	if err := together(steps...); err != nil {
		return err
	}
	if !n.own {
		return w.unguard(ctx, n.name(nodesPart))
	}
	return ignoring(w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.networks.Delete(ctx, &computepb.DeleteNetworkRequest{Project: w.p.o.Project, Network: n.vpc.GetName(), RequestId: id})
	}))
}

// vacant returns Conflict if a balancer or a machine of ours is in the network.
func (w networks) vacant(ctx context.Context, n *network) error {
	id := n.ref().id()
	all, err := w.p.reserved(ctx, n.key.Owner)
	if err != nil {
		return err
	}
	for _, a := range all {
		if described(a.GetDescription())[networkTag] == string(id) {
			return fail(providers.Conflict, "balancer %s is in it", keyOf(unlabel(a.GetLabels())).Name)
		}
	}
	instances, err := w.p.instances(ctx, ptr(""), func(i *computepb.Instance) bool {
		return slices.ContainsFunc(i.GetNetworkInterfaces(), func(c *computepb.NetworkInterface) bool { return last(c.GetNetwork()) == n.vpc.GetName() })
	})
	if err != nil {
		return err
	}
	for _, i := range instances {
		if n.own || record(i)[networkTag] == string(id) {
			return fail(providers.Conflict, "instance %s is in it", i.GetName())
		}
	}
	return nil
}
