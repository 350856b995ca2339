//go:build linux

package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

type machines struct{ p *Provider }

// Types returns the machine types, none larger than the host.
func (machines) Types(context.Context) ([]providers.MachineType, error) {
	return machineTypes(hardware()), nil
}

// Create makes the machine and returns when its SSH server answers. A machine that is stopped is started again, as it is.
func (m machines) Create(ctx context.Context, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about("create", providers.MachineNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	l, err := m.p.lockObject(ctx, providers.MachineNoun, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	defer m.p.finish(l, providers.MachineNoun, spec.Key())
	r, err := m.intend(ctx, spec)
	if err != nil {
		return providers.Machine{}, err
	}
	now, err := observe(m.dir(r))
	if err != nil {
		return providers.Machine{}, err
	}
	if r.Complete && (now.Phase == booting || now.Phase == running) {
		o, err := m.object(r)
		return o, errors.Join(err, providers.Exists)
	}
	if err := m.bringUp(ctx, r); err != nil {
		return providers.Machine{}, err
	}
	return m.object(r)
}

// bringUp makes what is missing of a machine that is off, and boots it.
func (m machines) bringUp(ctx context.Context, r *machineRecord) error {
	if r.Complete { // since then the host may have been rebooted
		if _, err := m.network(r); err != nil {
			return err
		}
	} else if err := m.layOut(ctx, r); err != nil {
		return err
	}
	if err := m.raise(ctx, r); err != nil {
		return err
	}
	if err := m.p.step(ctx); err != nil || r.Complete {
		return err
	}
	r.Complete = true
	return errors.Join(r.save(m.dir(r)), m.p.step(ctx))
}

// Get returns the machine as it is.
func (m machines) Get(ctx context.Context, id providers.ID) (providers.Machine, error) {
	return get(ctx, m.p, providers.MachineNoun, id, m.object)
}

// List returns the owner's machines as they are.
func (m machines) List(ctx context.Context, o providers.Owner) ([]providers.Machine, error) {
	return list(ctx, m.p, providers.MachineNoun, o, m.object)
}

// Delete ends all of the machine's processes at once and removes what is left of it.
func (m machines) Delete(ctx context.Context, id providers.ID) (err error) {
	key, ok := keyOf(id)
	defer about("delete", providers.MachineNoun, key, &err)
	if !ok {
		return nil
	}
	if r, err := byID[providers.MachineSpec](m.p, providers.MachineNoun, id); r == nil {
		return errors.Join(err, ctx.Err())
	}
	last, err := observe(m.p.dir(providers.MachineNoun, key))
	if err != nil {
		return err
	}
	defer func() { last.Supervisor.reaped(ctx, m.p.reap) }() // without any lock
	l, err := m.p.lockObject(ctx, providers.MachineNoun, key)
	if err != nil {
		return err
	}
	defer m.p.finish(l, providers.MachineNoun, key)
	r, err := byID[providers.MachineSpec](m.p, providers.MachineNoun, id)
	if r == nil {
		return err
	}
	if err := m.erase(ctx, r); err != nil {
		return err
	}
	return m.p.sweepAll(ctx)
}

// Update sets the tags and the pool, and moves the machine into its network's range if that is another by now.
func (m machines) Update(ctx context.Context, id providers.ID, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about("update", providers.MachineNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	r, l, err := lockByID[providers.MachineSpec](ctx, m.p, providers.MachineNoun, id, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	defer m.p.finish(l, providers.MachineNoun, spec.Key())
	switch {
	case spec.Type != r.Spec.Type:
		return providers.Machine{}, fail(providers.Invalid, "the type of a machine cannot be changed from %s to %s", r.Spec.Type, spec.Type)
	case spec.Network != "" && spec.Network != r.Spec.Network:
		return providers.Machine{}, fail(providers.Invalid, "the network of a machine cannot be changed")
	case spec.DiskGiB > r.Spec.DiskGiB:
		return providers.Machine{}, fail(providers.Invalid, "the disk of a machine cannot grow from %d GiB to %d", r.Spec.DiskGiB, spec.DiskGiB)
	}
	if spec.Pool != r.Spec.Pool || !maps.Equal(spec.Tags, r.Spec.Tags) {
		r.Spec.Pool, r.Spec.Tags = spec.Pool, maps.Clone(spec.Tags)
		if err := errors.Join(r.save(m.dir(r)), m.p.step(ctx)); err != nil {
			return providers.Machine{}, err
		}
	}
	if spec.CloudAgent != r.Spec.CloudAgent {
		if err := m.refurnish(ctx, r, spec.CloudAgent); err != nil {
			return providers.Machine{}, err
		}
	}
	if err := m.renumber(ctx, r); err != nil {
		return providers.Machine{}, err
	}
	return m.object(r)
}

// check returns why there can be no such machine on this host.
func (m machines) check(s providers.MachineSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if _, err := typeNamed(s.Type, machineTypes(hardware())); err != nil {
		return err
	}
	switch {
	case s.Image != "":
		return fail(providers.Invalid, "image %q: machines of this provider show the programs of their host and have no images", s.Image)
	case s.Zone != "":
		return fail(providers.Invalid, "zone %q: this host is one place without zones", s.Zone)
	case s.User != "" && s.User != "root":
		return fail(providers.Invalid, "user %q: machines of this provider let in root only", s.User)
	case s.Spot:
		return fail(providers.Unsupported, "this provider has no spot machines")
	case s.DiskGiB < 0:
		return fail(providers.Invalid, "disk of %d GiB", s.DiskGiB)
	case len(s.UserData) > 0 && !bytes.HasPrefix(s.UserData, []byte("#!")):
		return fail(providers.Invalid, "user data must be a script: its first line must begin with #!")
	}
	for _, k := range s.AuthorizedKeys {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil || strings.ContainsAny(strings.TrimSpace(k), "\r\n") {
			return fail(providers.Invalid, "authorized key %q is no line of OpenSSH's authorized_keys format", k)
		}
	}
	return m.p.preflight()
}

// intend returns the machine's record: the one that there is, or a new one with an address of its own, already written.
func (m machines) intend(ctx context.Context, s providers.MachineSpec) (*machineRecord, error) {
	dir := m.p.dir(providers.MachineNoun, s.Key())
	r, err := load[providers.MachineSpec](dir)
	if err != nil {
		return nil, err
	}
	if r != nil && r.Deleting {
		if err := m.erase(ctx, r); err != nil {
			return nil, err
		}
		r = nil
	}
	if r != nil && r.Complete {
		return r, nil
	}
	all, err := m.p.all(ctx)
	if err != nil {
		return nil, err
	}
	defer all.release()
	if r == nil {
		r = &machineRecord{ID: newID(s.Key())}
	}
	r.Spec = s
	if err := m.place(r); err != nil {
		return nil, err
	}
	if r.Program, err = m.p.installProgram(); err != nil {
		return nil, err
	}
	if err := m.furnish(r); err != nil {
		return nil, err
	}
	return r, errors.Join(r.save(dir), m.p.step(ctx))
}

// place gives the machine an address in its network. The lock of the whole folder is held.
func (m machines) place(r *machineRecord) error {
	net, err := m.network(r)
	if err != nil {
		return err
	}
	n := networks(m)
	free := unix.Statfs_t{}
	if err := unix.Statfs(n.dir(net), &free); err == nil && free.Bavail*uint64(free.Bsize)>>30 < uint64(r.Spec.DiskGiB) {
		return fail(providers.Capacity, "a disk of %d GiB: %s has %d GiB free", r.Spec.DiskGiB, m.p.folder, free.Bavail*uint64(free.Bsize)>>30)
	}
	taken, err := m.p.takenAddresses(net, r.ID)
	if err != nil {
		return err
	}
	r.CIDR, r.Netns = net.CIDR, n.netns(net)
	if r.Address.IsValid() && net.CIDR.Contains(r.Address) && !slices.Contains(taken, r.Address) {
		return nil // a Create that was cut off had chosen it
	}
	if want := m.p.wanted(r.Spec); want.IsValid() {
		if err := placeable(net, want, taken); err != nil {
			return err
		}
		r.Address = want
		return nil
	}
	file := filepath.Join(n.dir(net), "last-address.json")
	var last netip.Addr
	if b, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(b, &last) // what cannot be read was not given
	}
	if r.Address, err = freeAddress(net.CIDR, taken, last); err != nil {
		return err
	}
	return writeJSON(file, r.Address)
}

// network returns the machine's network, which must be whole.
func (m machines) network(r *machineRecord) (*networkRecord, error) {
	return m.p.wholeNetwork(r.Spec.Network, r.Spec.Owner)
}

// layOut makes the machine's root. A machine that was not complete may run already, with other keys or another size than is
// asked for now: it is ended.
func (m machines) layOut(ctx context.Context, r *machineRecord) error {
	alive, err := m.seize(ctx, m.dir(r))
	if err != nil {
		return err
	}
	defer alive.Close()
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	hidden := []string{m.p.folder}
	for path := range freshFolders() {
		hidden = append(hidden, path)
	}
	for path := range diskFolders() {
		hidden = append(hidden, path)
	}
	server, err := sshd()
	if err != nil {
		return err
	}
	r.Layers = layers(string(mountinfo), hidden)
	if err := (root{m.dir(r), r.Layers}).layOut(r, server); err != nil {
		return err
	}
	if err := touch(filepath.Join(m.dir(r), "alive")); err != nil {
		return err
	}
	return errors.Join(r.save(m.dir(r)), m.p.step(ctx))
}

// erase removes the machine but for its lock. It may be repeated.
func (m machines) erase(ctx context.Context, r *machineRecord) error {
	dir := m.dir(r)
	g, err := m.p.group(r.Spec.Key())
	if err != nil {
		return err
	}
	var alive *os.File
	defer func() { alive.Close() }() // closing none is an error that nobody needs
	return m.p.inOrder(ctx,
		func() error { r.Deleting = true; return r.save(dir) },
		func() error { return balancers(m).dropTarget(ctx, r.Spec.Owner, r.ID) },
		func() error { alive, err = m.seize(ctx, dir); return err },
		func() error { return volumes(m).leave(ctx, r) },
		func() error { return g.remove() },
		func() error { g.removeAbove(); return eraseDir(dir) },
	)
}

func (m machines) dir(r *machineRecord) string {
	return m.p.dir(providers.MachineNoun, r.Spec.Key())
}

func (m machines) object(r *machineRecord) (providers.Machine, error) {
	now, err := observe(m.dir(r))
	if err != nil {
		return providers.Machine{}, err
	}
	state := map[phase]providers.MachineState{
		booting: providers.Pending, running: providers.Running, dying: providers.Pending, stopped: providers.Stopped,
	}[now.Phase]
	if !r.Complete && state == providers.Stopped {
		state = providers.Pending
	}
	o := providers.Machine{
		Meta: providers.Meta{
			ID: r.ID, Owner: r.Spec.Owner, Name: r.Spec.Name,
			Partial: !r.Complete || r.Deleting || now.Phase == stopped || now.Phase == dying,
			Tags:    maps.Clone(r.Spec.Tags),
		},
		Pool: r.Spec.Pool, Network: r.Spec.Network, Type: r.Spec.Type, DiskGiB: r.Spec.DiskGiB,
		State:   state,
		NodeID:  "local:///" + r.Spec.Key().String(),
		Private: r.Address, SSH: netip.AddrPortFrom(r.Address, sshPort), User: "root",
		HostKeys: append([]string(nil), r.HostKeys...),
	}
	return o, nil
}
