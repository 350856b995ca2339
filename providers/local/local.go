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
//	sysctls.json                    what the host's settings were before the first network; restored after the last
//	OWNER/networks/NAME/record.json and netns, where the network's own namespace is mounted
//	OWNER/machines/NAME/record.json and state.json (the supervisor's word), upper and work (the root), disk/ (its folders)
//
// It works on Linux as root. What is not isolated: the kernel, its clock and its modules; /proc/meminfo and /proc/cpuinfo
// show the host's memory and processors. Machines are trusted as root of the host is: they are no boundary of security.
package local

import (
	"github.com/provisionhq/provision/providers"
)

// DefaultFolder is where machines are kept if Options names no other folder.
const DefaultFolder = "/var/lib/provision/local"

// Options are what a Provider needs to know.
type Options struct {
	Folder string // absolute path of a folder on a real disk; empty means DefaultFolder
}

// A Provider makes machines and networks on this host. It is safe for concurrent use, also by several processes.
type Provider struct {
	folder string
}

// New returns a provider that keeps its objects below the folder. It does no I/O.
func New(o Options) *Provider {
	if o.Folder == "" {
		o.Folder = DefaultFolder
	}
	return &Provider{folder: o.Folder}
}

// Name returns "local".
func (*Provider) Name() string { return "local" }

// Caps says that there are machines and networks, of the host's architecture, in one place.
func (*Provider) Caps() providers.Caps { return providers.Caps{Arch: []string{arch}} }

// Machines returns the machines of this host.
func (p *Provider) Machines() providers.Machines { return machines{p} }

// Networks returns the networks of this host.
func (p *Provider) Networks() providers.Networks { return networks{p} }
