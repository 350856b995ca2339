//go:build linux

// Package rack is the hardware of a cloud in a box: a real machine of provider local behind each instance that an emulated API
// runs, a real network behind each of its networks, a real forwarder behind each balancer.
//
// The API decides and the rack follows: names, ranges and addresses are the API's. What takes time takes it in the background, and
// Phase says how far it is. Nothing here outlives the API, which keeps all its state in memory: Clear removes what there is.
package rack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/cloudinit"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
)

// A Phase is how far a machine is.
type Phase string

// The phases of a machine. None is that of one that the rack does not know.
const (
	None     Phase = ""
	Booting  Phase = "booting"
	Running  Phase = "running"
	Stopping Phase = "stopping"
	Stopped  Phase = "stopped"
	Ending   Phase = "ending"
	Gone     Phase = "gone"
	Failed   Phase = "failed" // it never ran; its parts are removed
)

// An Order is a machine to make.
type Order struct {
	ID      string     // the API's, a DNS label
	Network string     // the API's, of one that Network has made
	Address netip.Addr // in the network
	CPUs    int
	Memory  int // MiB
	Config  *cloudinit.Config
}

// A Rack holds all that there is. It is safe for concurrent use.
type Rack struct {
	p       *local.Provider
	changed func() // is called when a machine has become Running or Gone
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup

	folder string // of r.p

	mu        sync.Mutex
	closed    bool
	networks  map[string]providers.Network
	machines  map[string]*machine
	addresses map[providers.Key]netip.Addr
	fronts    map[string]Front // of SetFront, by name
}

type machine struct {
	Order
	spec  providers.MachineSpec
	turn  sync.Mutex // held by what changes the machine
	phase Phase
	made  providers.Machine
	err   error
}

// networkName is the name of the one network that an owner has: the owner is the API's network.
const networkName = "net"

// limit is how long a machine may take to come up or go.
const limit = 2 * time.Minute

// New returns a rack that keeps its machines below the folder. changed may be nil.
func New(folder string, changed func()) *Rack {
	if changed == nil {
		changed = func() {}
	}
	r := &Rack{folder: folder, changed: changed, networks: map[string]providers.Network{}, machines: map[string]*machine{}, addresses: map[providers.Key]netip.Addr{}, fronts: map[string]Front{}}
	r.p = local.New(local.Options{Folder: folder, Address: func(s providers.MachineSpec) netip.Addr {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.addresses[s.Key()]
	}})
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Network makes a network of that range, unless there is one of the ID.
func (r *Rack) Network(ctx context.Context, id string, cidr netip.Prefix) error {
	r.mu.Lock()
	_, ok := r.networks[id]
	r.mu.Unlock()
	if ok {
		return nil
	}
	n, err := r.p.Networks().Create(ctx, providers.NetworkSpec{Owner: providers.Owner(id), Name: networkName, CIDR: cidr})
	if err != nil && providers.KindOf(err) != providers.Exists {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks[id] = n
	return nil
}

// DropNetwork removes a network. Removing what is not there succeeds.
func (r *Rack) DropNetwork(ctx context.Context, id string) error {
	r.mu.Lock()
	n, ok := r.networks[id]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if err := r.p.Networks().Delete(ctx, n.ID); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.networks, id)
	return nil
}

// Networks returns the IDs of all networks.
func (r *Rack) Networks() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.networks))
}

// network returns the local network of the ID.
func (r *Rack) network(id string) (providers.Network, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.networks[id]
	return n, ok
}

// Run begins to make a machine.
func (r *Rack) Run(o Order) error {
	types, err := r.p.Machines().Types(r.ctx)
	if err != nil {
		return err
	}
	n, ok := r.network(o.Network)
	if !ok {
		return fmt.Errorf("the box has no network %s", o.Network)
	}
	name := o.Config.Hostname
	if name == "" {
		name = o.ID
	}
	m := &machine{Order: o, phase: Booting, spec: providers.MachineSpec{Owner: n.Owner, Name: name, Network: n.ID, Type: fitting(types, o.CPUs, o.Memory),
		AuthorizedKeys: o.Config.RootKeys(), UserData: []byte(o.Config.Script())}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.machines {
		if other.spec.Key() == m.spec.Key() && other.phase != Gone && other.phase != Failed {
			return fmt.Errorf("network %s has a machine %s already: two of one host name are too many for the box", o.Network, name)
		}
	}
	r.machines[o.ID] = m
	r.addresses[m.spec.Key()] = o.Address
	r.later(m, func(ctx context.Context) error { return r.boot(ctx, m) })
	return nil
}

// fitting is the largest type that is not larger than what is asked for; the smallest if all are.
func fitting(types []providers.MachineType, cpus, memory int) string {
	slices.SortFunc(types, func(a, b providers.MachineType) int { return a.MemoryMiB - b.MemoryMiB })
	best := types[0].Name
	for _, t := range types {
		if t.MemoryMiB <= memory && t.CPUs <= cpus*1000 {
			best = t.Name
		}
	}
	return best
}

// later does something with a machine in the background, one after another. The lock is held.
func (r *Rack) later(m *machine, do func(context.Context) error) {
	if r.closed {
		return
	}
	r.work.Go(func() {
		m.turn.Lock()
		defer m.turn.Unlock()
		ctx, cancel := context.WithTimeout(r.ctx, limit)
		defer cancel()
		if err := errors.Join(do(ctx), r.refront(ctx, m.ID)); err != nil {
			r.mu.Lock()
			m.err = err
			r.mu.Unlock()
		}
		r.changed()
	})
}

// pass brings the machine from one phase to the next, unless it is in another by now.
func (r *Rack) pass(m *machine, from, to Phase) (passed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.phase == from {
		m.phase, passed = to, true
	}
	return passed
}

// boot makes the machine and waits until its first boot is done. One that does not come up is removed.
func (r *Rack) boot(ctx context.Context, m *machine) error {
	if !r.pass(m, Booting, Booting) { // it was ended before it began
		return nil
	}
	made, err := r.create(ctx, m)
	if err == nil {
		r.mu.Lock()
		m.made = made
		r.mu.Unlock()
		err = r.settled(ctx, made.ID)
	}
	if err == nil {
		r.pass(m, Booting, Running)
		return nil
	}
	all, _ := r.p.Machines().List(context.WithoutCancel(ctx), m.spec.Owner)
	for _, o := range all {
		if o.Name == m.spec.Name {
			err = errors.Join(err, r.p.Machines().Delete(context.WithoutCancel(ctx), o.ID))
		}
	}
	r.pass(m, Booting, Failed)
	return err
}

// create makes the machine. Its address may be that of one that is just going.
func (r *Rack) create(ctx context.Context, m *machine) (providers.Machine, error) {
	for {
		made, err := r.p.Machines().Create(ctx, m.spec)
		if providers.KindOf(err) != providers.Conflict {
			return made, err
		}
		select {
		case <-ctx.Done():
			return made, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// settled waits until the machine has done what its user data asks for.
func (r *Rack) settled(ctx context.Context, id providers.ID) error {
	for {
		if b, err := os.ReadFile(r.p.LogFile(id, cloudinit.Done)); err == nil {
			if code := strings.TrimSpace(string(b)); code != "0" {
				return fmt.Errorf("a command of the user data ended with exit code %s", code)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the machine's first boot: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// at returns the machine of the ID; nil if there is none.
func (r *Rack) at(id string) *machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machines[id]
}

// Phase says how far the machine is, and why it failed if it did.
func (r *Rack) Phase(id string) (Phase, error) {
	m := r.at(id)
	if m == nil {
		return None, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return m.phase, m.err
}

// Address is the machine's; false if there is no such machine.
func (r *Rack) Address(id string) (netip.Addr, bool) {
	m := r.at(id)
	if m == nil {
		return netip.Addr{}, false
	}
	return m.Order.Address, true
}

// Console is what the machine has written on its console.
func (r *Rack) Console(id string) string {
	m := r.at(id)
	if m == nil {
		return ""
	}
	r.mu.Lock()
	made := m.made.ID
	r.mu.Unlock()
	b, _ := os.ReadFile(r.p.LogFile(made, cloudinit.Console)) // nothing yet
	return string(b)
}

// turnTo begins to bring the machine from one phase to another, through a third. Where it is in none of from, nothing is done.
func (r *Rack) turnTo(id string, from []Phase, through, to Phase, do func(context.Context, *machine) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.machines[id]
	if m == nil || !slices.Contains(from, m.phase) {
		return
	}
	m.phase = through
	r.later(m, func(ctx context.Context) error {
		if err := do(ctx, m); err != nil {
			return err
		}
		r.pass(m, through, to)
		return nil
	})
}

// End begins to remove the machine.
func (r *Rack) End(id string) {
	r.turnTo(id, []Phase{Booting, Running, Stopping, Stopped}, Ending, Gone, func(ctx context.Context, m *machine) error {
		return r.p.Machines().Delete(ctx, m.made.ID)
	})
}

// Stop begins to switch the machine off, and Start on.
func (r *Rack) Stop(id string) {
	r.turnTo(id, []Phase{Running}, Stopping, Stopped, func(ctx context.Context, m *machine) error { return r.p.PowerOff(ctx, m.made.ID) })
}

// Start begins to switch a stopped machine on.
func (r *Rack) Start(id string) {
	r.turnTo(id, []Phase{Stopping, Stopped}, Booting, Running, func(ctx context.Context, m *machine) error {
		_, err := r.p.Machines().Create(ctx, m.spec)
		return err
	})
}

// Clear ends what is under way and removes everything in the folder, whoever made it. The rack is of no use afterwards.
func (r *Rack) Clear(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.work.Wait()
	_, err := local.Clear(ctx, r.folder, nil)
	return err
}

// Folder is where a box in the folder keeps its machines.
func Folder(box string) string { return filepath.Join(box, "machines") }
