//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/provisionhq/provision/providers"
)

type networks struct{ p *Provider }

// Create makes the network, or mends it: its parts are gone after the host was rebooted or its packet filter flushed.
func (n networks) Create(ctx context.Context, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about("create", providers.NetworkNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), n.check(spec)); err != nil {
		return providers.Network{}, err
	}
	l, err := n.p.lockObject(ctx, providers.NetworkNoun, spec.Key())
	if err != nil {
		return providers.Network{}, err
	}
	defer n.p.finish(l, providers.NetworkNoun, spec.Key())
	r, err := n.intend(ctx, spec)
	if err != nil {
		return providers.Network{}, err
	}
	if r.Complete && n.up(r) {
		return n.object(r), providers.Exists
	}
	if err := n.build(ctx, r); err != nil {
		return providers.Network{}, err
	}
	r.Complete = true
	if err := errors.Join(r.save(n.dir(r)), n.p.step(ctx)); err != nil {
		return providers.Network{}, err
	}
	return n.object(r), nil
}

// Get returns the network as it is.
func (n networks) Get(ctx context.Context, id providers.ID) (providers.Network, error) {
	return get(ctx, n.p, providers.NetworkNoun, id, sure(n.object))
}

// List returns the owner's networks as they are.
func (n networks) List(ctx context.Context, o providers.Owner) ([]providers.Network, error) {
	return list(ctx, n.p, providers.NetworkNoun, o, sure(n.object))
}

// Delete removes the network; Conflict if machines are in it.
func (n networks) Delete(ctx context.Context, id providers.ID) error {
	return remove(ctx, n.p, providers.NetworkNoun, id, func(r *networkRecord) error { return n.remove(ctx, r) })
}

// Update sets the rules, in one step, the tags, and the range that things are to have their addresses from.
func (n networks) Update(ctx context.Context, id providers.ID, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about("update", providers.NetworkNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), n.check(spec)); err != nil {
		return providers.Network{}, err
	}
	r, l, err := lockByID[providers.NetworkSpec](ctx, n.p, providers.NetworkNoun, id, spec.Key())
	if err != nil {
		return providers.Network{}, err
	}
	defer n.p.finish(l, providers.NetworkNoun, spec.Key())
	if spec.CIDR != (netip.Prefix{}) && spec.CIDR != r.CIDR {
		if err := n.renumber(ctx, r, spec.CIDR); err != nil {
			return providers.Network{}, err
		}
	}
	sameRules, sameTags := alike(r.Spec.Allow, spec.Allow), maps.Equal(r.Spec.Tags, spec.Tags)
	if !sameRules || !n.ruled(r) { // the rules first: cut off in between, the next Update sees that they are to be set again
		if err := errors.Join(n.writeRules(ctx, r, spec.Allow, nil), n.p.step(ctx)); err != nil {
			return providers.Network{}, err
		}
	}
	if !sameRules || !sameTags {
		r.Spec.Allow, r.Spec.Tags = cloneRules(spec.Allow), maps.Clone(spec.Tags)
		if err := errors.Join(r.save(n.dir(r)), n.p.step(ctx)); err != nil {
			return providers.Network{}, err
		}
	}
	return n.object(r), nil
}

// check returns why there can be no such network on this host.
func (n networks) check(s providers.NetworkSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if len(s.Zones) > 0 {
		return fail(providers.Invalid, "zones %v: this host is one place without zones", s.Zones)
	}
	for _, r := range s.Allow {
		if r.Protocol != "tcp" && r.Protocol != "udp" || r.Port < 1 || r.Port > 65535 {
			return fail(providers.Invalid, "rule %q: it needs protocol tcp or udp and a port from 1 to 65535", r.Name)
		}
		for _, p := range r.Sources {
			if !p.IsValid() || !p.Addr().Is4() {
				return fail(providers.Invalid, "rule %q: source %s is no range of IPv4 addresses", r.Name, p)
			}
		}
	}
	return n.p.preflight()
}

// intend returns the network's record: the one that there is, or a new one with a range of its own, already written.
func (n networks) intend(ctx context.Context, s providers.NetworkSpec) (*networkRecord, error) {
	all, err := n.p.all(ctx)
	if err != nil {
		return nil, err
	}
	defer all.release()
	dir := n.p.dir(providers.NetworkNoun, s.Key())
	r, err := load[providers.NetworkSpec](dir)
	if err != nil {
		return nil, err
	}
	if r != nil && (r.Deleting || !r.Complete && s.CIDR.IsValid() && s.CIDR != r.CIDR) {
		if err := n.erase(ctx, r); err != nil {
			return nil, err
		}
		r = nil
	}
	if r == nil {
		r = &networkRecord{ID: newID(s.Key())}
		if r.CIDR, err = n.choose(s); err != nil {
			return nil, err
		}
	}
	if r.Complete {
		return r, nil
	}
	r.Spec = s
	return r, errors.Join(r.save(dir), n.p.step(ctx))
}

// choose returns the range that the network gets.
func (n networks) choose(s providers.NetworkSpec) (cidr netip.Prefix, err error) {
	uses, err := hostUses(n.p.linkName(s.Key()))
	if err != nil {
		return cidr, err
	}
	rs, err := records[providers.NetworkSpec](n.p, providers.NetworkNoun, "")
	if err != nil {
		return cidr, err
	}
	var ours []use // first, so that a message names the cluster and not just its link
	for _, r := range rs {
		if r.Spec.Key() == s.Key() {
			continue
		}
		for _, p := range r.ranges() {
			ours = append(ours, use{p, fmt.Sprintf("network %s of cluster %s", r.Spec.Name, r.Spec.Owner)})
		}
	}
	uses = append(ours, uses...)
	if s.CIDR.IsValid() {
		return s.CIDR, checkCIDR(s.CIDR, uses)
	}
	return chooseCIDR(uses)
}

// build makes all parts that are not there.
func (n networks) build(ctx context.Context, r *networkRecord) error {
	loadBridgeFilter()
	link := n.p.linkName(r.Spec.Key())
	err := n.p.inOrder(ctx,
		func() error { return mountNetns(n.netns(r)) },
		func() error { return within(n.netns(r), addBridge) },
		func() error { return addUplink(link, n.netns(r), r.CIDR) },
		func() error { return raiseUplink(link, r.ranges()) },
		func() error { return n.writeRules(ctx, r, r.Spec.Allow, nil) },
	)
	if err != nil {
		return err
	}
	all, err := n.p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	return errors.Join(n.p.raiseSysctls(ctx), n.p.step(ctx))
}

// up says whether all parts are there.
func (n networks) up(r *networkRecord) bool {
	link := n.p.linkName(r.Spec.Key())
	if _, err := netlink.LinkByName(link); err != nil {
		return false
	}
	return mounted(n.netns(r)) && n.ruled(r)
}

// ruled says whether the network has as many rules as it should. It looks twice, as an Update may be just about to change
// them.
func (n networks) ruled(r *networkRecord) bool {
	link := n.p.linkName(r.Spec.Key())
	for range 3 {
		if hasRules(link, len(r.ranges()), r.Spec.Allow) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
		if now, err := load[providers.NetworkSpec](n.dir(r)); err == nil && now != nil && now.ID == r.ID {
			r = now
		}
	}
	return false
}

// writeRules sets the network's rules, and the doors of its balancers. One of them may be about to change: it is given.
func (n networks) writeRules(ctx context.Context, r *networkRecord, allow []providers.Rule, changing *balancerRecord) error {
	all, err := n.p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	bs, err := records[providers.LoadBalancerSpec](n.p, providers.BalancerNoun, r.Spec.Owner)
	if err != nil {
		return err
	}
	var doors []door
	for _, b := range bs {
		if changing != nil && b.ID == changing.ID {
			b = changing
		}
		if b.Spec.Network == r.ID && !b.Spec.Internal && !b.Deleting {
			for _, p := range b.Spec.Ports {
				doors = append(doors, door{b.Address, providers.Rule{Protocol: p.Protocol, Port: p.Port, Sources: b.Spec.Sources}})
			}
		}
	}
	return writeRules(n.p.linkName(r.Spec.Key()), r.ranges(), allow, doors)
}

// remove removes a network that no machine and no balancer is in.
func (n networks) remove(ctx context.Context, r *networkRecord) error {
	all, err := n.p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	ms, err := records[providers.MachineSpec](n.p, providers.MachineNoun, r.Spec.Owner)
	if err != nil {
		return err
	}
	var in []string
	for _, m := range ms {
		if m.Spec.Network == r.ID {
			in = append(in, "machine "+m.Spec.Name)
		}
	}
	bs, err := records[providers.LoadBalancerSpec](n.p, providers.BalancerNoun, r.Spec.Owner)
	if err != nil {
		return err
	}
	for _, b := range bs {
		if b.Spec.Network == r.ID {
			in = append(in, "balancer "+b.Spec.Name)
		}
	}
	if len(in) > 0 {
		return fail(providers.Conflict, "there is something in it: %s", strings.Join(in, ", "))
	}
	r.Deleting = true
	return n.p.inOrder(ctx,
		func() error { return r.save(n.dir(r)) },
		func() error { return n.erase(ctx, r) },
		func() error { return n.p.sweep(ctx, all) },
	)
}

// erase removes all parts, the record last.
func (n networks) erase(ctx context.Context, r *networkRecord) error {
	link := n.p.linkName(r.Spec.Key())
	return n.p.inOrder(ctx,
		func() error { return removeRules(link) },
		func() error { return unlinkNetwork(link, n.netns(r)) },
		func() error { return eraseDir(n.dir(r)) },
	)
}

func (n networks) dir(r *networkRecord) string {
	return n.p.dir(providers.NetworkNoun, r.Spec.Key())
}

func (n networks) netns(r *networkRecord) string { return filepath.Join(n.dir(r), "netns") }

func (n networks) object(r *networkRecord) providers.Network {
	return providers.Network{
		Meta: providers.Meta{
			ID: r.ID, Owner: r.Spec.Owner, Name: r.Spec.Name,
			Partial: !r.Complete || r.Deleting || !n.up(r),
			Tags:    maps.Clone(r.Spec.Tags),
		},
		CIDR:  r.CIDR,
		Allow: cloneRules(r.Spec.Allow),
	}
}

func cloneRules(rules []providers.Rule) []providers.Rule {
	c := slices.Clone(rules)
	for i := range c {
		c[i].Sources = slices.Clone(c[i].Sources)
	}
	return c
}
