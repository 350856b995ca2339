//go:build linux

package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

const (
	sshPort   = 22
	bootLimit = 60 * time.Second // from the supervisor's start to an answer by SSH
)

type machines struct{ p *Provider }

// Types returns the machine types, none larger than the host.
func (machines) Types(context.Context) ([]providers.MachineType, error) {
	return machineTypes(hardware()), nil
}

// Create makes the machine and returns when its SSH server answers. A machine that is stopped is started again, as it is.
func (m machines) Create(ctx context.Context, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about("create", providers.MachineNoun, spec.Key(), &err)
	if err := m.check(spec); err != nil {
		return providers.Machine{}, err
	}
	l, err := m.p.lockObject(ctx, providers.MachineNoun, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	defer l.release()
	r, err := m.intend(ctx, spec)
	if err != nil {
		return providers.Machine{}, err
	}
	now, err := observe(m.dir(r))
	if err != nil {
		return providers.Machine{}, err
	}
	if r.Complete && now.Phase != stopped {
		o, err := m.object(r)
		return o, errors.Join(err, providers.Exists)
	}
	if !r.Complete && now.Phase == stopped {
		if err := m.layOut(r); err != nil {
			return providers.Machine{}, err
		}
	}
	if err := m.raise(ctx, r); err != nil {
		return providers.Machine{}, err
	}
	r.Complete = true
	if err := r.save(m.dir(r)); err != nil {
		return providers.Machine{}, err
	}
	return m.object(r)
}

// Get returns the machine as it is.
func (m machines) Get(_ context.Context, id providers.ID) (_ providers.Machine, err error) {
	defer about("get", providers.MachineNoun, providers.Key{Name: string(id)}, &err)
	r, err := byID[providers.MachineSpec](m.p, providers.MachineNoun, id)
	if err != nil {
		return providers.Machine{}, err
	}
	if r == nil {
		return providers.Machine{}, providers.NotFound
	}
	return m.object(r)
}

// List returns the owner's machines as they are.
func (m machines) List(_ context.Context, o providers.Owner) (_ []providers.Machine, err error) {
	defer about("list", providers.MachineNoun, providers.Key{Owner: o}, &err)
	if o == "" {
		return nil, fail(providers.Invalid, "the owner is empty")
	}
	rs, err := records[providers.MachineSpec](m.p, providers.MachineNoun, o)
	if err != nil {
		return nil, err
	}
	var all []providers.Machine
	for _, r := range rs {
		o, err := m.object(r)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// Delete ends all of the machine's processes at once and removes what is left of it.
func (m machines) Delete(ctx context.Context, id providers.ID) (err error) {
	key, ok := keyOf(id)
	defer about("delete", providers.MachineNoun, key, &err)
	if !ok {
		return nil
	}
	if r, err := byID[providers.MachineSpec](m.p, providers.MachineNoun, id); r == nil {
		return err
	}
	l, err := m.p.lockObject(ctx, providers.MachineNoun, key)
	if err != nil {
		return err
	}
	defer l.release()
	r, err := byID[providers.MachineSpec](m.p, providers.MachineNoun, id)
	if r == nil {
		l.remove()
		return err
	}
	if err := m.erase(ctx, r); err != nil {
		return err
	}
	all, err := m.p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	l.remove()
	return m.p.sweep(all, key.Owner)
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
	if r != nil { // it may run already, with other keys or another size than is asked for now
		if err := m.kill(ctx, dir); err != nil {
			return nil, err
		}
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
	return r, r.save(dir)
}

// place gives the machine an address in its network. The lock of the whole folder is held.
func (m machines) place(r *machineRecord) error {
	net, err := byID[providers.NetworkSpec](m.p, providers.NetworkNoun, r.Spec.Network)
	if err != nil {
		return err
	}
	n := networks{m.p}
	switch {
	case net == nil || net.Spec.Owner != r.Spec.Owner:
		return fail(providers.NotFound, "network %q", r.Spec.Network)
	case !net.Complete || net.Deleting || !n.up(net):
		return fail(providers.Conflict, "network %s is not complete: create it first", net.Spec.Name)
	}
	free := unix.Statfs_t{}
	if err := unix.Statfs(n.dir(net), &free); err == nil && free.Bavail*uint64(free.Bsize)>>30 < uint64(r.Spec.DiskGiB) {
		return fail(providers.Capacity, "a disk of %d GiB: %s has %d GiB free", r.Spec.DiskGiB, m.p.folder, free.Bavail*uint64(free.Bsize)>>30)
	}
	ms, err := records[providers.MachineSpec](m.p, providers.MachineNoun, r.Spec.Owner)
	if err != nil {
		return err
	}
	var taken []netip.Addr
	for _, other := range ms {
		if other.Spec.Network == net.ID && other.ID != r.ID {
			taken = append(taken, other.Address)
		}
	}
	r.CIDR, r.Netns = net.CIDR, n.netns(net)
	r.Address, err = freeAddress(net.CIDR, taken)
	return err
}

// layOut makes the machine's root.
func (m machines) layOut(r *machineRecord) error {
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
	return r.save(m.dir(r))
}

// raise starts the machine's supervisor and waits until SSH answers.
func (m machines) raise(ctx context.Context, r *machineRecord) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	dir := m.dir(r)
	if err := m.start(ctx, r); err != nil {
		return err
	}
	var last error
	for {
		now, err := observe(dir)
		switch {
		case err != nil:
			return err
		case now.Phase == stopped && now.Error != "":
			return fmt.Errorf("%w: boot: %s", now.Kind, strings.TrimPrefix(now.Error, string(now.Kind)+": "))
		case now.Phase == stopped:
			return fail(providers.Unavailable, "it stopped while it was booting")
		case now.Phase == running:
			if last = banner(ctx, netip.AddrPortFrom(r.Address, sshPort)); last == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fail(providers.Unavailable, "no answer by SSH from %s: %w", r.Address, errors.Join(last, ctx.Err()))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// start starts a supervisor. It is not a child of this process, so nothing is to be waited for when it ends.
func (m machines) start(ctx context.Context, r *machineRecord) error {
	dir := m.dir(r)
	log, err := os.OpenFile(filepath.Join(dir, "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for {
		c := exec.CommandContext(ctx, m.p.program(r.Program))
		c.Args = []string{starterName, m.p.folder, string(r.Spec.Owner), r.Spec.Name}
		c.Dir, c.Env = "/", machineEnv()
		c.Stdout, c.Stderr = log, log
		err := c.Run()
		if !errors.Is(err, unix.ETXTBSY) { // a child of another goroutine may still hold the copy that was just written
			return startError(err, log.Name())
		}
		time.Sleep(time.Millisecond)
	}
}

func startError(err error, log string) error {
	if err == nil {
		return nil
	}
	words, _ := os.ReadFile(log)
	return fail(providers.Unavailable, "start its supervisor: %w: %s", err, strings.TrimSpace(string(words)))
}

// banner returns nil if an SSH server answers at the address.
func banner(ctx context.Context, a netip.AddrPort) error {
	d := net.Dialer{Timeout: 250 * time.Millisecond}
	c, err := d.DialContext(ctx, "tcp", a.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "SSH-") {
		return fmt.Errorf("%s says %q", a, line)
	}
	return nil
}

// erase removes the machine but for its lock. It may be repeated.
func (m machines) erase(ctx context.Context, r *machineRecord) error {
	dir := m.dir(r)
	if !r.Deleting {
		r.Deleting = true
		if err := r.save(dir); err != nil {
			return err
		}
	}
	if err := m.kill(ctx, dir); err != nil {
		return err
	}
	g, err := m.p.group(r.Spec.Key())
	if err != nil {
		return err
	}
	if err := g.remove(); err != nil {
		return err
	}
	g.removeAbove()
	return os.RemoveAll(dir)
}

// kill ends the machine's processes and its supervisor and waits until they are gone.
func (m machines) kill(ctx context.Context, dir string) error {
	now, err := observe(dir)
	if err != nil {
		return err
	}
	if err := now.Supervisor.signal(unix.SIGQUIT); err != nil {
		return err
	}
	if !now.Supervisor.ended(ctx, 10*time.Second) {
		if err := now.Supervisor.signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	if err := now.Init.signal(unix.SIGKILL); err != nil {
		return err
	}
	if !now.Init.ended(ctx, 20*time.Second) || !now.Supervisor.ended(ctx, 10*time.Second) {
		return fail(providers.Unavailable, "its processes (supervisor %d, process 1 is %d) do not end", now.Supervisor.PID, now.Init.PID)
	}
	return nil
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
		booting: providers.Pending, running: providers.Running, stopped: providers.Stopped,
	}[now.Phase]
	if !r.Complete && state == providers.Stopped {
		state = providers.Pending
	}
	o := providers.Machine{
		Meta: providers.Meta{
			ID: r.ID, Owner: r.Spec.Owner, Name: r.Spec.Name,
			Partial: !r.Complete || r.Deleting || now.Phase == stopped,
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
