// Package metal makes machines of hosts that exist already and answer SSH: bare metal, or anything like it.
//
// What there is, an inventory says. Create claims a free host that fits and writes a claim on it; Delete wipes what is ours
// and gives the host back. The hosts themselves are the truth: nothing is kept where the command runs. On each host, below
// /var/lib/provision-metal:
//
//	claim.json              whose machine this host is; made in one atomic step, removed last
//	kept/                   what Delete puts back: host name, settings of the kernel
//	ledger/OWNER/NETWORK/   on a few hosts: the network, which is a record only, and which host each of its machines is on
//
// The ledger makes names unique and tells of machines whose host does not answer. The hosts' own firewalls are left alone.
package metal

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal/power"
)

// Options are what a Provider needs to know. The zero value of a duration or number is its default.
type Options struct {
	Hosts   []Host
	Types   []Type        // requirements on hosts; a type that only hosts name has none
	CIDR    netip.Prefix  // of networks whose spec names none; zero: the smallest range that has all hosts
	Agent   string        // socket of the SSH agent, whose keys are offered too; may be empty
	Timeout time.Duration // how long a host that does not answer is tried for; 8 s
	Boot    time.Duration // how long a host may take from power to SSH; 10 min
	Width   int           // hosts that are talked to at once; 64
	Through ssh.Dialer    // connects to hosts and bastions; nil: from here
}

// A Host is one machine of the inventory.
type Host struct {
	Name     string // a DNS label
	Address  string // name or IP address
	Port     int    // of SSH; 0 is 22
	User     string // who logs in; empty is root, another becomes root by sudo without a password
	Key      string // path of the private key to log in with; empty: the agent's keys
	HostKeys []string
	Jump     *Jump
	Private  netip.Addr // address by which nodes reach it; zero: the one that SSH arrives at
	Labels   map[string]string
	Zone     string
	Type     string     // empty: every type whose requirements it meets
	Role     string     // a pool's name, "control-plane", or "worker" for all other pools; empty: any
	Reserve  bool       // no machine is made of it; one that is there stays
	Gone     bool       // it is gone for good: it is not connected to, and what was on it counts as deleted
	BMC      *power.BMC // may be nil
	Path     string     // place in the provider's block, for errors: "host[3]"
	Where    string     // place in a file, for errors: "hosts.csv:4"
}

// A Jump is a bastion that leads to hosts.
type Jump struct {
	Name     string
	Address  string // host:port
	User     string
	Key      string // path of a private key; empty: the agent's
	HostKeys []string
	Path     string
	Where    string
}

// A Type is what a machine type asks of a host.
type Type struct {
	Name      string
	CPUs      int // at least
	MemoryMiB int // at least
	DiskGiB   int // free, at least
	Arch      string
	Labels    map[string]string // that the host must have
	Path      string
	Where     string
}

// DefaultType is the type of hosts that name none, if the inventory describes no types.
const DefaultType = "metal"

// ControlPlane is the pool that hosts with role "control-plane" are for; hosts with role Worker are for all others.
const (
	ControlPlane = "control-plane"
	Worker       = "worker"
)

// A Provider makes machines of the hosts of an inventory. It is safe for concurrent use, also by several processes.
type Provider struct {
	o     Options
	links *links
	scans scans
	names names // of objects that are being worked on
	held  held  // hosts that are being claimed

	cut   func() error // for tests: asked at every place where a process may die; nil: never
	mu    sync.Mutex
	wrote int // for tests: commands that changed something
}

// New returns a provider for the inventory. It does no I/O. The error is an *InventoryError.
func New(o Options) (*Provider, error) {
	if o.Timeout == 0 {
		o.Timeout = 8 * time.Second
	}
	if o.Boot == 0 {
		o.Boot = 10 * time.Minute
	}
	if o.Width == 0 {
		o.Width = 64
	}
	if err := check(o); err != nil {
		return nil, err
	}
	p := &Provider{o: o}
	p.links = newLinks(o)
	p.scans.look = p.look
	return p, nil
}

// Name returns "metal".
func (*Provider) Name() string { return "metal" }

// Caps says that there are machines and networks, in the zones that the inventory names.
func (p *Provider) Caps() providers.Caps {
	c := providers.Caps{Arch: []string{"amd64", "arm64"}, Announced: true}
	for _, h := range p.o.Hosts {
		if h.Zone != "" && !h.Gone {
			c.Zones = append(c.Zones, h.Zone)
		}
	}
	slices.Sort(c.Zones)
	c.Zones = slices.Compact(c.Zones)
	return c
}

// Machines returns the machines made of the inventory's hosts.
func (p *Provider) Machines() providers.Machines { return machines{p} }

// Networks returns the networks, which are records.
func (p *Provider) Networks() providers.Networks { return networks{p} }

// LoadBalancers returns none.
func (*Provider) LoadBalancers() providers.LoadBalancers { return providers.NoLoadBalancers{} }

// Volumes returns none.
func (*Provider) Volumes() providers.Volumes { return providers.NoVolumes{} }

// Close ends all connections. The provider may be used again.
func (p *Provider) Close() error { return p.links.close() }

// step is a place between two changes: where a call ends whose context has ended.
func (p *Provider) step(ctx context.Context) error {
	if p.cut != nil {
		if err := p.cut(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// host returns the inventory's host of that name.
func (p *Provider) host(name string) (*Host, bool) {
	for i := range p.o.Hosts {
		if p.o.Hosts[i].Name == name {
			return &p.o.Hosts[i], true
		}
	}
	return nil, false
}

func (h *Host) port() int {
	if h.Port == 0 {
		return 22
	}
	return h.Port
}

func (h *Host) user() string {
	if h.User == "" {
		return "root"
	}
	return h.User
}
