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

	"github.com/provisionhq/provision/providers"
)

type balancers struct{ p *Provider }

// Create starts the balancer's process and returns when it listens. One that has died is started again, as it was.
func (b balancers) Create(ctx context.Context, spec providers.LoadBalancerSpec) (_ providers.LoadBalancer, err error) {
	defer about("create", providers.BalancerNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), b.check(spec)); err != nil {
		return providers.LoadBalancer{}, err
	}
	l, err := b.p.lockObject(ctx, providers.BalancerNoun, spec.Key())
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	defer b.p.finish(l, providers.BalancerNoun, spec.Key())
	r, err := b.intend(ctx, spec)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	now, err := listening(b.dir(r))
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if r.Complete && now.Phase == running {
		return b.object(r, now), providers.Exists
	}
	if err := b.bringUp(ctx, r); err != nil {
		return providers.LoadBalancer{}, err
	}
	if now, err = listening(b.dir(r)); err != nil {
		return providers.LoadBalancer{}, err
	}
	return b.object(r, now), nil
}

// Get returns the balancer as it is.
func (b balancers) Get(ctx context.Context, id providers.ID) (providers.LoadBalancer, error) {
	return get(ctx, b.p, providers.BalancerNoun, id, b.seen)
}

// List returns the owner's balancers as they are.
func (b balancers) List(ctx context.Context, o providers.Owner) ([]providers.LoadBalancer, error) {
	return list(ctx, b.p, providers.BalancerNoun, o, b.seen)
}

// Delete ends the balancer, connections included.
func (b balancers) Delete(ctx context.Context, id providers.ID) (err error) {
	key, ok := keyOf(id)
	defer about("delete", providers.BalancerNoun, key, &err)
	if !ok {
		return nil
	}
	if r, err := byID[providers.LoadBalancerSpec](b.p, providers.BalancerNoun, id); r == nil {
		return errors.Join(err, ctx.Err())
	}
	last, err := listening(b.p.dir(providers.BalancerNoun, key))
	if err != nil {
		return err
	}
	defer func() { last.Process.reaped(ctx, b.p.reap) }() // without any lock
	l, err := b.p.lockObject(ctx, providers.BalancerNoun, key)
	if err != nil {
		return err
	}
	defer b.p.finish(l, providers.BalancerNoun, key)
	r, err := byID[providers.LoadBalancerSpec](b.p, providers.BalancerNoun, id)
	if r == nil {
		return err
	}
	if err := b.erase(ctx, r); err != nil {
		return err
	}
	return b.p.sweepAll(ctx)
}

// Update lets the balancer's process do what the spec says. Connections go on, but for one that is moved to another address
// because its network's range is another by now.
func (b balancers) Update(ctx context.Context, id providers.ID, spec providers.LoadBalancerSpec) (_ providers.LoadBalancer, err error) {
	defer about("update", providers.BalancerNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), b.check(spec)); err != nil {
		return providers.LoadBalancer{}, err
	}
	r, l, err := lockByID[providers.LoadBalancerSpec](ctx, b.p, providers.BalancerNoun, id, spec.Key())
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	defer b.p.finish(l, providers.BalancerNoun, spec.Key())
	if spec.Network == "" {
		spec.Network = r.Spec.Network
	}
	if spec.Network != r.Spec.Network || spec.Internal != r.Spec.Internal || spec.Address.IsValid() && spec.Address != r.Address {
		return providers.LoadBalancer{}, fail(providers.Invalid, "network, side and address of a balancer cannot be changed")
	}
	if err := b.checkTargets(spec); providers.KindOf(err) == providers.NotFound {
		return providers.LoadBalancer{}, fail(providers.Invalid, "%v", err) // the balancer itself is there
	} else if err != nil {
		return providers.LoadBalancer{}, err
	}
	if err := b.become(ctx, r, spec); err != nil {
		return providers.LoadBalancer{}, err
	}
	if err := b.renumber(ctx, r); err != nil {
		return providers.LoadBalancer{}, err
	}
	return b.seen(r)
}

// become changes what the balancer does, first in the network's rules and then for its process, if anything differs.
func (b balancers) become(ctx context.Context, r *balancerRecord, spec providers.LoadBalancerSpec) error {
	was := r.Spec
	spec.Address = was.Address
	spec = normal(spec)
	if alike(was, spec) {
		return b.follow(ctx, r, false) // it may have been cut off
	}
	r.Spec = spec
	r.Revision++
	if !spec.Internal && !(alike(was.Ports, spec.Ports) && alike(was.Sources, spec.Sources)) {
		if err := errors.Join(b.openDoors(ctx, r), b.p.step(ctx)); err != nil {
			return err
		}
	}
	return b.p.inOrder(ctx,
		func() error { return r.save(b.dir(r)) },
		func() error { return b.follow(ctx, r, false) },
	)
}

// check returns why there can be no such balancer on this host.
func (b balancers) check(s providers.LoadBalancerSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, p := range s.Ports {
		if err := checkBalancerPort(p); err != nil {
			return err
		}
		at := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if seen[at] {
			return fail(providers.Invalid, "port %s is there twice", at)
		}
		seen[at] = true
	}
	for _, p := range s.Sources {
		if !p.IsValid() || !p.Addr().Is4() {
			return fail(providers.Invalid, "source %s is no range of IPv4 addresses", p)
		}
	}
	return b.p.preflight()
}

func checkBalancerPort(p providers.BalancerPort) error {
	switch {
	case p.Protocol != "tcp" && p.Protocol != "udp":
		return fail(providers.Invalid, "port %d: protocol %q is neither tcp nor udp", p.Port, p.Protocol)
	case p.Protocol == "udp" && p.ProxyProtocol:
		return fail(providers.Invalid, "port %d: the PROXY protocol is for tcp", p.Port)
	case p.IdleSeconds < 0:
		return fail(providers.Invalid, "port %d: %d seconds", p.Port, p.IdleSeconds)
	case p.HealthPath != "" && p.HealthPath[0] != '/':
		return fail(providers.Invalid, "port %d: health path %q must begin with /", p.Port, p.HealthPath)
	}
	numbers := []int{p.Port, p.TargetPort}
	if p.HealthPort != 0 {
		numbers = append(numbers, p.HealthPort)
	}
	for _, n := range numbers {
		if n < 1 || n > 65535 {
			return fail(providers.Invalid, "port %q: %d is not from 1 to 65535", p.Name, n)
		}
	}
	return nil
}

// checkTargets returns NotFound if a target is no machine of the network.
func (b balancers) checkTargets(s providers.LoadBalancerSpec) error {
	for _, t := range s.Targets {
		m, err := byID[providers.MachineSpec](b.p, providers.MachineNoun, t)
		switch {
		case err != nil:
			return err
		case m == nil || m.Deleting || m.Spec.Network != s.Network || m.Spec.Owner != s.Owner:
			return fail(providers.NotFound, "target %q: no machine of the network", t)
		}
	}
	return nil
}

// intend returns the balancer's record: the one that there is, or a new one with an address of its own, already written.
func (b balancers) intend(ctx context.Context, s providers.LoadBalancerSpec) (*balancerRecord, error) {
	dir := b.p.dir(providers.BalancerNoun, s.Key())
	r, err := load[providers.LoadBalancerSpec](dir)
	if err != nil {
		return nil, err
	}
	if r != nil && r.Deleting {
		if err := b.erase(ctx, r); err != nil {
			return nil, err
		}
		r = nil
	}
	if r != nil && r.Complete {
		return r, nil
	}
	if err := b.checkTargets(s); err != nil {
		return nil, err
	}
	if r == nil {
		r = &balancerRecord{ID: newID(s.Key())}
	} else if err := b.halt(ctx, r); err != nil { // it may run already, with another address than is asked for now
		return nil, err
	}
	all, err := b.p.all(ctx)
	if err != nil {
		return nil, err
	}
	defer all.release()
	r.Spec = normal(s)
	if err := b.place(r); err != nil {
		return nil, err
	}
	if r.Program, err = b.p.installProgram(); err != nil {
		return nil, err
	}
	return r, errors.Join(r.save(dir), b.p.step(ctx))
}

// place gives the balancer an address in its network. The lock of the whole folder is held.
func (b balancers) place(r *balancerRecord) error {
	net, err := b.p.wholeNetwork(r.Spec.Network, r.Spec.Owner)
	if err != nil {
		return err
	}
	taken, err := b.p.takenAddresses(net, r.ID)
	if err != nil {
		return err
	}
	r.CIDR, r.Netns = net.CIDR, networks(b).netns(net)
	want := r.Spec.Address
	if !want.IsValid() {
		r.Address, err = lastFreeAddress(net.CIDR, taken)
		return err
	}
	if err := placeable(net, want, taken); err != nil {
		return err
	}
	r.Address = want
	return nil
}

// placeable returns why an address of the network cannot be given to something in it.
func placeable(net *networkRecord, want netip.Addr, taken []netip.Addr) error {
	switch {
	case !net.CIDR.Contains(want) || want == net.CIDR.Addr() || want == gateway(net.CIDR) || !net.CIDR.Contains(want.Next()):
		return fail(providers.Invalid, "address %s is none that network %s has to give: it has %s", want, net.Spec.Name, net.CIDR)
	case slices.Contains(taken, want):
		return fail(providers.Conflict, "address %s is taken", want)
	}
	return nil
}

// bringUp starts the process of a balancer that has none and lets the outside in.
func (b balancers) bringUp(ctx context.Context, r *balancerRecord) error {
	if _, err := b.p.wholeNetwork(r.Spec.Network, r.Spec.Owner); err != nil {
		return err
	}
	if err := b.start(ctx, r); err != nil {
		return err
	}
	if err := errors.Join(b.openDoors(ctx, r), b.p.step(ctx)); err != nil || r.Complete {
		return err
	}
	r.Complete = true
	return errors.Join(r.save(b.dir(r)), b.p.step(ctx))
}

// openDoors lets the outside in, and nobody who was let in before and is not any more.
func (b balancers) openDoors(ctx context.Context, r *balancerRecord) error {
	net, err := byID[providers.NetworkSpec](b.p, providers.NetworkNoun, r.Spec.Network)
	if err != nil || net == nil {
		return err
	}
	return networks(b).writeRules(ctx, net, net.Spec.Allow, r)
}

// erase removes the balancer but for its lock. It may be repeated.
func (b balancers) erase(ctx context.Context, r *balancerRecord) error {
	g, err := b.p.group(r.Spec.Key())
	if err != nil {
		return err
	}
	return b.p.inOrder(ctx,
		func() error { r.Deleting = true; return r.save(b.dir(r)) },
		func() error { return b.openDoors(ctx, r) },
		func() error { return b.halt(ctx, r) },
		func() error { g.removeAbove(); return eraseDir(b.dir(r)) },
	)
}

// dropTarget takes a machine that is about to be removed out of its balancers.
func (b balancers) dropTarget(ctx context.Context, owner providers.Owner, machine providers.ID) error {
	rs, err := records[providers.LoadBalancerSpec](b.p, providers.BalancerNoun, owner)
	if err != nil {
		return err
	}
	for _, r := range rs {
		if slices.Contains(r.Spec.Targets, machine) {
			if err := b.dropTargetOf(ctx, r.Spec.Key(), machine); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b balancers) dropTargetOf(ctx context.Context, key providers.Key, machine providers.ID) error {
	l, err := b.p.lockObject(ctx, providers.BalancerNoun, key)
	if err != nil {
		return err
	}
	defer l.release()
	r, err := load[providers.LoadBalancerSpec](b.p.dir(providers.BalancerNoun, key))
	if err != nil || r == nil || r.Deleting {
		return err
	}
	spec := r.Spec
	spec.Targets = slices.DeleteFunc(slices.Clone(spec.Targets), func(t providers.ID) bool { return t == machine })
	return b.become(ctx, r, spec)
}

func (b balancers) dir(r *balancerRecord) string {
	return b.p.dir(providers.BalancerNoun, r.Spec.Key())
}

// seen is object of the balancer as it is now.
func (b balancers) seen(r *balancerRecord) (providers.LoadBalancer, error) {
	now, err := listening(b.dir(r))
	return b.object(r, now), err
}

func (b balancers) object(r *balancerRecord, now balancerState) providers.LoadBalancer {
	s := normal(r.Spec)
	return providers.LoadBalancer{
		Meta: providers.Meta{
			ID: r.ID, Owner: s.Owner, Name: s.Name,
			Partial: !r.Complete || r.Deleting || now.Phase != running,
			Tags:    s.Tags,
		},
		Network: s.Network, Internal: s.Internal, Address: r.Address,
		Ports: s.Ports, Targets: s.Targets, Sources: s.Sources,
	}
}

// normal returns a copy of the spec as records have it: targets sorted, each once.
func normal(s providers.LoadBalancerSpec) providers.LoadBalancerSpec {
	s.Ports, s.Sources, s.Tags = slices.Clone(s.Ports), slices.Clone(s.Sources), maps.Clone(s.Tags)
	s.Targets = slices.Clone(s.Targets)
	slices.Sort(s.Targets)
	s.Targets = slices.Compact(s.Targets)
	return s
}

// logOf is what the balancer's process has to say.
func logOf(dir string) string { return filepath.Join(dir, "balancer.log") }
