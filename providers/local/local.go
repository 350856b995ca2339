// Package local makes machines on the host at hand, without a hypervisor and without a container engine.
//
// A machine is a set of namespaces (mount, pid, uts, ipc, network, cgroup) with a root of its own: an overlay over the
// host's, so that it has the host's programs and none of its data. It has an address on a private network, a process 1
// that reaps and restarts services, a real OpenSSH server with a host key of its own, and limits of memory and processor.
// One small process on the host, the supervisor, boots it and boots it again when it reboots; it needs no CLI. If the
// supervisor dies the machine dies with it: it is then Stopped, and Create boots it again.
//
// Everything is kept below one folder, as records that are written before what they announce is made:
//
//	bin/HASH                        the program that supervisors and machines run: a copy of the one that made them
//	locks/                          locks of objects, so that concurrent calls make one
//	OWNER/networks/NAME/record.json and netns, where the network's own namespace is mounted
//	OWNER/machines/NAME/record.json and state.json (the supervisor's word), upper and work (the root), disk/ (its folders)
//	OWNER/balancers/NAME/record.json and state.json (the balancer's word)
//	OWNER/volumes/NAME/record.json and data (what the volume holds)
//	OWNER/snapshots/NAME/record.json and data
//
// A balancer is a process with a network namespace of its own, plugged into its network as a machine is: it has an address
// there, and forwards what comes to it (package forwarder). It needs no CLI either. If it dies it is Partial, and Create
// starts it again. Machines and the host reach it; the outside does by the host's routes, unless it is Internal.
//
// A volume is a sparse file. While it is attached a loop device shows it, of a number from 1024 on, and the machine has the
// device as /dev/disk/by-id/provision-X; other machines do not have it. Who boots the machine, Create or the supervisor, makes
// the loop device again where the host's end has taken it. A snapshot is a copy of the file.
//
// It works on Linux as root. What is not isolated: the kernel, its clock and its modules. /proc/meminfo shows the memory of
// the machine's type as it was at boot, /proc/cpuinfo the host's processors; a disk size is not enforced. Settings of the
// kernel that are not of a network namespace cannot be changed from inside. Machines are no boundary of security: who is
// root in one can become root of the host.
//
// While there are networks, the host forwards packets and lets root have more inotify watches; the module br_netfilter is
// loaded and stays so. A machine cannot hold machines itself.
package local

import (
	"context"
	"net/netip"
	"time"

	"github.com/provisionhq/provision/providers"
)

// DefaultFolder is where machines are kept if Options names no other folder.
const DefaultFolder = "/var/lib/provision/local"

// Options are what a Provider needs to know.
type Options struct {
	Folder string // absolute path of a folder on a real disk; empty means DefaultFolder
	// Address says which address of its network a new machine gets; the zero one, or no function: one that is free.
	Address func(providers.MachineSpec) netip.Addr
	// Doors says that this program calls DoorMain: a machine with CloudAgent gets a door, DoorSocket. Else it gets none.
	Doors bool
}

// A machine with CloudAgent has a door: a socket, behind which a process of the host, which goes by DoorName, makes and changes
// the owner's objects for whoever is root in the machine.
const (
	DoorName   = "provision-door"
	DoorSocket = "/run/provision/door.sock"
)

// A Provider makes machines, networks, balancers and volumes on this host. It is safe for concurrent use, also by several processes.
type Provider struct {
	folder string
	wanted func(providers.MachineSpec) netip.Addr
	doors  bool
	reap   time.Duration // how long Delete waits for the host's process 1 to reap the supervisor
	cut    func() error  // for tests: asked at every place where a process may die; nil: never
}

// New returns a provider that keeps its objects below the folder. It does no I/O.
func New(o Options) *Provider {
	if o.Folder == "" {
		o.Folder = DefaultFolder
	}
	if o.Address == nil {
		o.Address = func(providers.MachineSpec) netip.Addr { return netip.Addr{} }
	}
	return &Provider{folder: o.Folder, wanted: o.Address, doors: o.Doors, reap: 3 * time.Second}
}

// Name returns "local".
func (*Provider) Name() string { return "local" }

// Caps says that there is each kind of object, of the host's architecture, in one place.
func (*Provider) Caps() providers.Caps {
	return providers.Caps{
		LoadBalancers: true, UDP: true, Volumes: true, Snapshots: true, Arch: []string{arch},
		Local: true, Renumber: true, Announced: true,
	}
}

// step is a place between two changes: where a call ends whose context has ended.
func (p *Provider) step(ctx context.Context) error {
	if p.cut != nil {
		if err := p.cut(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// inOrder does one part after another, with a step after each.
func (p *Provider) inOrder(ctx context.Context, parts ...func() error) error {
	for _, part := range parts {
		if err := part(); err != nil {
			return err
		}
		if err := p.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Machines returns the machines of this host.
func (p *Provider) Machines() providers.Machines { return machines{p} }

// Networks returns the networks of this host.
func (p *Provider) Networks() providers.Networks { return networks{p} }

// Account returns NoAccount.
func (*Provider) Account() providers.Account { return providers.NoAccount{} }

// LoadBalancers returns the balancers of this host.
func (p *Provider) LoadBalancers() providers.LoadBalancers { return balancers{p} }
