package metal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/provisionhq/provision/providers"
)

type machines struct{ p *Provider }

// Types returns the machine types of the inventory's hosts. What the inventory describes is not asked for; of other types,
// and of parts that it leaves out, the least is told that any host of the type has.
func (m machines) Types(ctx context.Context) ([]providers.MachineType, error) {
	types := m.p.types()
	var v *view
	if slices.ContainsFunc(types, func(t Type) bool { return t.CPUs == 0 || t.MemoryMiB == 0 }) {
		var err error
		if v, err = m.p.sighted(ctx); err != nil {
			return nil, kinded(err)
		}
	}
	var all []providers.MachineType
	for _, t := range types {
		mt := providers.MachineType{Name: t.Name, CPUs: t.CPUs * 1000, MemoryMiB: t.MemoryMiB, Arch: t.Arch}
		if v != nil {
			m.measure(v, t, &mt)
		}
		if mt.CPUs == 0 || mt.MemoryMiB == 0 {
			continue // no host of the type answers
		}
		mt.Arch = cmp.Or(mt.Arch, "amd64")
		all = append(all, mt)
	}
	if len(all) == 0 && v != nil {
		return nil, v.mute()
	}
	return all, nil
}

// mute says of hosts, or their bastions, why they do not answer; nil if all do.
func (v *view) mute() error {
	var errs []error
	for _, s := range v.silent() {
		errs = append(errs, kinded(s.err))
	}
	return distinct(errs)
}

// measure fills in what the inventory leaves out.
func (m machines) measure(v *view, t Type, mt *providers.MachineType) {
	cpus, memory := 0, 0
	for _, s := range v.sights {
		if s.err != nil || s.host.fits(t, m.p.declared(t.Name)) != nil {
			continue
		}
		if cpus == 0 || s.cpus < cpus {
			cpus = s.cpus
		}
		if memory == 0 || s.memoryMiB < memory {
			memory = s.memoryMiB
		}
		mt.Arch = cmp.Or(mt.Arch, s.arch)
	}
	mt.CPUs, mt.MemoryMiB = cmp.Or(mt.CPUs, cpus*1000), cmp.Or(mt.MemoryMiB, memory)
}

// TypeNames are the names of the machine types that the inventory has, whether a host of one answers or not.
func (p *Provider) TypeNames() []string {
	names := []string{}
	for _, t := range p.types() {
		names = append(names, t.Name)
	}
	return names
}

// types returns what the inventory describes and what its hosts name beside, sorted by name.
func (p *Provider) types() []Type {
	all := slices.Clone(p.o.Types)
	for _, h := range p.o.Hosts {
		name := h.Type
		if name == "" && len(p.o.Types) == 0 {
			name = DefaultType
		}
		if name != "" && !slices.ContainsFunc(all, func(t Type) bool { return t.Name == name }) {
			all = append(all, Type{Name: name})
		}
	}
	slices.SortFunc(all, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// declared says whether the inventory describes the type.
func (p *Provider) declared(name string) bool {
	return slices.ContainsFunc(p.o.Types, func(t Type) bool { return t.Name == name })
}

// Create claims a host, names it and lets the keys in. A machine whose host does not answer is turned on if it has a BMC;
// one whose host is gone for good is made anew on another.
func (m machines) Create(ctx context.Context, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about(providers.CreateVerb, providers.MachineNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	unlock, err := m.p.names.lock(ctx, providers.MachineNoun, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	defer unlock()
	for range len(m.p.o.Hosts) + 3 { // each round loses a race, or takes something stale away
		o, again, err := m.round(ctx, spec)
		if err != nil || !again {
			return o, err
		}
	}
	return providers.Machine{}, fail(providers.Unavailable, "others took every host that was tried; try again")
}

// round looks at what there is and brings the machine as far as that allows; again says that it has changed meanwhile.
func (m machines) round(ctx context.Context, spec providers.MachineSpec) (_ providers.Machine, again bool, err error) {
	v, err := m.p.sighted(ctx)
	if err != nil {
		return providers.Machine{}, false, err
	}
	n, err := v.whole(spec.Owner, spec.Network)
	if err != nil {
		return providers.Machine{}, false, err
	}
	c := v.find(spec.Key())
	if c != nil && c.here && c.Complete && !c.Deleting {
		return c.machine(), false, providers.Exists
	}
	if err := v.known(spec.Owner); err != nil {
		return providers.Machine{}, false, err
	}
	keepers, n, err := m.p.keepers(ctx, v, n)
	if err != nil {
		return providers.Machine{}, false, err
	}
	switch {
	case c == nil:
		return m.claim(ctx, v, n, keepers, spec)
	case c.here && !c.Deleting && c.Type == spec.Type && c.Network == spec.Network:
		o, err := m.finish(ctx, c.at, keepers, describe(*c.claim, spec, c.at), spec)
		return o, false, err
	case c.here || c.lost():
		return providers.Machine{}, true, m.remove(ctx, v, *c)
	}
	o, err := m.wake(ctx, *c)
	return o, false, err
}

// claim makes a machine of a free host.
func (m machines) claim(ctx context.Context, v *view, n network, keepers []*Host, spec providers.MachineSpec) (_ providers.Machine, again bool, err error) {
	s, giveBack, err := m.choose(v, n, spec)
	if err != nil {
		return providers.Machine{}, false, err
	}
	defer giveBack()
	if s.claim != nil { // of a machine that was deleted while its host did not answer
		return providers.Machine{}, true, m.erase(ctx, s.host, s.claim)
	}
	c := describe(claim{ID: newID(spec.Key()), Ledger: n.Name, Time: time.Now().UTC().Truncate(time.Second)}, spec, s)
	if e := v.entry(spec.Key()); e != nil && e.Host == s.host.Name { // begun and cut off before the host was claimed
		c.ID = e.ID
	} else if e != nil {
		return providers.Machine{}, true, m.p.strike(ctx, keepers, e.entry())
	}
	if err := m.p.enter(ctx, keepers, &c); err == errTaken {
		return providers.Machine{}, true, nil
	} else if err != nil {
		return providers.Machine{}, false, err
	}
	out, err := m.p.change(ctx, s.host, "new", claimFile, c.text())
	if err != nil {
		return providers.Machine{}, false, err
	}
	if won := strings.TrimSpace(out) == "won"; !won && !strings.Contains(out, fmt.Sprintf("%q:%q", "id", c.ID)) {
		return providers.Machine{}, true, m.p.strike(ctx, keepers, c.entry())
	}
	o, err := m.finish(ctx, s, keepers, c, spec)
	return o, false, err
}

// entry returns the ledger's entry of a machine that was begun and cut off before its host was claimed; nil if there is none.
func (v *view) entry(k providers.Key) *claim {
	for _, e := range v.entries(k.Owner) {
		if e.key() == k && !v.dead(e.ID) {
			return e
		}
	}
	return nil
}

// describe makes a claim say what the spec asks for and what the host is like.
func describe(c claim, spec providers.MachineSpec, s *sight) claim {
	c.Owner, c.Name, c.Pool, c.Network, c.Type = spec.Owner, spec.Name, spec.Pool, spec.Network, spec.Type
	c.Zone, c.DiskGiB, c.Tags = s.host.Zone, s.diskGiB, maps.Clone(spec.Tags)
	c.Host, c.Private, c.SSH, c.User, c.HostKeys = s.host.Name, s.private(), s.ssh(), s.host.user(), s.host.HostKeys
	return c
}

// finish makes a host that is claimed ready, and says so in its claim.
func (m machines) finish(ctx context.Context, s *sight, keepers []*Host, c claim, spec providers.MachineSpec) (providers.Machine, error) {
	if _, err := m.p.change(ctx, s.host, "prepare", string(c.ID), c.Name, strings.Join(spec.AuthorizedKeys, "\n")); err != nil {
		return providers.Machine{}, err
	}
	c.Complete = true
	if err := m.p.write(ctx, keepers, c.entry(), c.text()); err != nil {
		return providers.Machine{}, err
	}
	if err := m.swap(ctx, s.host, &c); err != nil {
		return providers.Machine{}, err
	}
	return sighted{claim: &c, host: s.host.Name, at: s, here: true}.machine(), nil
}

func (m machines) swap(ctx context.Context, h *Host, c *claim) error {
	out, err := m.p.change(ctx, h, "swap", claimFile, string(c.ID), c.text())
	if err != nil {
		return err
	}
	if strings.TrimSpace(out) != "done" {
		return fail(providers.Unavailable, "host %s: the claim of %s was taken away meanwhile", h.Name, c.Name)
	}
	return nil
}

// Get returns the machine as it is.
func (m machines) Get(ctx context.Context, id providers.ID) (_ providers.Machine, err error) {
	key, ok := keyOf(id)
	defer about(providers.GetVerb, providers.MachineNoun, providers.Key{Name: string(id)}, &err)
	if err := ctx.Err(); err != nil {
		return providers.Machine{}, err
	}
	if !ok {
		return providers.Machine{}, providers.NotFound
	}
	v, err := m.p.sighted(ctx)
	if err != nil {
		return providers.Machine{}, err
	}
	if c, ok := v.claims(key.Owner)[id]; ok && !c.lost() {
		return c.machine(), nil
	}
	return providers.Machine{}, errors.Join(v.known(key.Owner), providers.NotFound)
}

// List returns the owner's machines. Those whose hosts do not answer are Stopped, by the word of the ledger; those whose hosts
// are gone for good are left out: what takes their place is another machine.
func (m machines) List(ctx context.Context, o providers.Owner) (_ []providers.Machine, err error) {
	defer about(providers.ListVerb, providers.MachineNoun, providers.Key{Owner: o}, &err)
	if o == "" {
		return nil, fail(providers.Invalid, "the owner is empty")
	}
	v, err := m.p.sighted(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.known(o); err != nil {
		return nil, err
	}
	var all []providers.Machine
	for _, c := range v.claims(o) {
		if !c.lost() {
			all = append(all, c.machine())
		}
	}
	slices.SortFunc(all, func(a, b providers.Machine) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Update sets the tags and the pool.
func (m machines) Update(ctx context.Context, id providers.ID, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about(providers.UpdateVerb, providers.MachineNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	unlock, err := m.p.names.lock(ctx, providers.MachineNoun, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	defer unlock()
	v, err := m.p.sighted(ctx)
	if err != nil {
		return providers.Machine{}, err
	}
	key, _ := keyOf(id)
	c, ok := v.claims(key.Owner)[id]
	switch {
	case !ok || c.Deleting || c.lost():
		return providers.Machine{}, errors.Join(v.known(key.Owner), providers.NotFound)
	case c.key() != spec.Key():
		return providers.Machine{}, fail(providers.Invalid, "the machine is %s", c.key())
	case c.Type != spec.Type || c.Network != spec.Network || spec.DiskGiB > c.DiskGiB || spec.Zone != "" && spec.Zone != c.Zone:
		return providers.Machine{}, fail(providers.Invalid, "type, network, zone and disk of a host cannot be changed")
	case !c.here:
		return providers.Machine{}, fail(providers.Unavailable, "host %s does not answer", c.host)
	}
	changed := *c.claim
	changed.Pool, changed.Tags = spec.Pool, maps.Clone(spec.Tags)
	if changed.Pool == c.Pool && maps.Equal(changed.Tags, c.Tags) {
		return c.machine(), nil
	}
	if n, err := v.whole(c.Owner, c.Network); err == nil {
		keepers, _, err := m.p.keepers(ctx, v, n)
		if err := errors.Join(v.known(c.Owner), err, m.p.write(ctx, keepers, c.entry(), changed.text())); err != nil {
			return providers.Machine{}, err
		}
	}
	if err := m.swap(ctx, c.at.host, &changed); err != nil {
		return providers.Machine{}, err
	}
	c.claim = &changed
	return c.machine(), nil
}

// machine is the claim as the contract has it.
func (c sighted) machine() providers.Machine {
	o := providers.Machine{
		Meta: providers.Meta{ID: c.ID, Owner: c.Owner, Name: c.Name, Partial: !c.Complete || c.Deleting || !c.here, Tags: maps.Clone(c.Tags)},
		Pool: c.Pool, Network: c.Network, Type: c.Type, Zone: c.Zone, DiskGiB: c.DiskGiB,
		State: providers.Running, NodeID: fmt.Sprintf("metal:///%s/%s", c.Host, c.ID),
		Private: c.Private, SSH: c.SSH, User: c.User, HostKeys: slices.Clone(c.HostKeys),
	}
	if !c.here {
		o.State = providers.Stopped
	}
	if c.at == nil {
		o.Problem = fmt.Sprintf("its host %s is not in the inventory any more", c.host)
		return o
	}
	// What leads to the host is the inventory's to say: it may have changed since the claim.
	h := c.at.host
	o.HostKeys, o.User = slices.Clone(h.HostKeys), h.user()
	if c.here {
		o.Private, o.SSH = c.at.private(), c.at.ssh()
	}
	if j := h.Jump; j != nil {
		o.Jump = &providers.Jump{Address: j.Address, User: j.User, HostKeys: slices.Clone(j.HostKeys), Key: j.Key}
	} else if o.SSH.Addr() != o.Private {
		o.Public = o.SSH.Addr()
	}
	return o
}

// check returns why there can be no such machine.
func (m machines) check(s providers.MachineSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if !slices.ContainsFunc(m.p.types(), func(t Type) bool { return t.Name == s.Type }) {
		return fail(providers.Invalid, "the inventory has no machine type %q", s.Type)
	}
	switch {
	case s.Image != "":
		return fail(providers.Invalid, "image %q: hosts have the system that they have", s.Image)
	case s.Zone != "" && !slices.Contains(m.p.Caps().Zones, s.Zone):
		return fail(providers.Invalid, "the inventory has no zone %q", s.Zone)
	case s.Spot:
		return fail(providers.Unsupported, "hosts are not sold as spot")
	case s.DiskGiB < 0:
		return fail(providers.Invalid, "disk of %d GiB", s.DiskGiB)
	case len(s.UserData) > 0:
		return fail(providers.Unsupported, "hosts run already: user data would not be read")
	}
	for _, k := range s.AuthorizedKeys {
		_, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k))
		if err != nil || len(bytes.TrimSpace(rest)) > 0 || strings.ContainsAny(strings.TrimSpace(k), "\r\n") {
			return fail(providers.Invalid, "authorized key %q is no line of OpenSSH's authorized_keys format", k)
		}
	}
	return nil
}
