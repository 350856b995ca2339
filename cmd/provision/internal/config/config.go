// Package config reads cluster.hcl. It knows the language and what a cluster is made of, and no vendor: the attributes of
// the provider block are passed through as plain data. It reports all that is wrong at once, each with its place.
package config

import (
	"net/netip"
	"slices"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// A Cluster is what a file asks for. Nothing in it is missing or contradicts itself; whether the vendor and the bundle
// have what it names is for others to see.
type Cluster struct {
	Name         string // a DNS label
	File         string // the file or folder it was read from, as the person named it
	Kubernetes   string // version without v: "1.37.2"
	Provider     Provider
	State        State
	Network      Network
	ControlPlane Pool // its Name is ControlPlaneName
	Endpoint     Endpoint
	Pools        []Pool // sorted by name
	CloudAgent   bool   // the control plane runs the cloud agent, if it can be had for the vendor; true unless the file says no

	PlainVars []string // names of the variables that are not marked sensitive, sorted

	// Ranges says where the file asks for something: "cluster", "kubernetes", "provider", "provider.ATTRIBUTE",
	// "network", "network.pods", "control_plane", "control_plane.count", "pool.workers", "pool.workers.count",
	// "state", "state.url". What the
	// file leaves to the default has none.
	Ranges map[string]diag.Range
}

// ControlPlaneName is the name of the control plane among the pools.
const ControlPlaneName = "control-plane"

// A Provider names the vendor.
type Provider struct {
	Name       string
	Attributes map[string]any // string, int64, float64, bool, []any or map[string]any; never nil
	Sensitive  []string       // attributes that hold something secret, sorted: never to be shown
	Range      diag.Range

	beside map[string]bool // attributes that start where the file is already
}

// A Network is what addresses the cluster uses. The zero Prefix of Machines lets the vendor choose.
type Network struct {
	Machines netip.Prefix
	Pods     netip.Prefix
	Services netip.Prefix
	Domain   string // of Services: "cluster.local"
	Backend  string // of the pod network: "vxlan" or "host-gw"
	NodeBits int    // each node gets a part of Pods with a prefix of that length: 24
	SSHFrom  []netip.Prefix
	APIFrom  []netip.Prefix // who from outside the network may reach the machines' SSH and the API; none by default

	Balancers []Addresses // that Services of type LoadBalancer get where nodes announce them; empty: a default, or none
}

// Addresses are those from First to Last, both included.
type Addresses struct{ First, Last netip.Addr }

// String returns them as a file has them.
func (r Addresses) String() string { return r.First.String() + "-" + r.Last.String() }

// A Pool is a number of machines that are alike. The cluster itself decides on the number of one with a Max, and on each machine's type:
// its Count is 0.
type Pool struct {
	Name     string
	Count    int
	Min      int      // with Max: there are always so many machines
	Max      int      // 0: Count says how many there are
	Machine  string   // type of machine, as the vendor names it; empty in a pool with Machines
	Machines []string // with Max: types to choose from
	Image    string   // empty: the vendor's default
	Zones    []string // machines take turns; empty: the vendor chooses
	DiskGiB  int      // 0: the machine type's
	Spot     bool
	Labels   map[string]string
	Taints   []Taint
	Drain    time.Duration // how long pods may take to leave a node that goes away
	Range    diag.Range    // of the block's head
}

// Autoscaled says whether the cluster decides how many machines the pool has.
func (p *Pool) Autoscaled() bool { return p.Max > 0 }

// Types are the types of machine that the pool's are of.
func (p *Pool) Types() []string {
	if len(p.Machines) > 0 {
		return p.Machines
	}
	return []string{p.Machine}
}

// A Taint keeps pods away that do not tolerate it.
type Taint struct {
	Key, Value, Effect string
}

// The defaults of what a file may leave out.
const (
	DefaultPods     = "10.244.0.0/16"
	DefaultServices = "10.96.0.0/16"
	DefaultDomain   = "cluster.local"
	DefaultBackend  = "vxlan"
	DefaultNodeBits = 24
	DefaultDrain    = 5 * time.Minute
)

// Options is what a person gives beside the file.
type Options struct {
	Vars     map[string]string // values of variables, from --var NAME=VALUE
	VarFiles []string          // files that hold values of variables; the last one wins
	Env      []string          // environment as NAME=VALUE; PROVISION_VAR_NAME holds the value of a variable

	CheckRecipient func(string) error // says what is wrong with a public key that the secrets are to be encrypted to; nil: it is not looked at closely
}

// Machines is how many machines the cluster has in all.
func (c *Cluster) Machines() int {
	n := c.ControlPlane.Count
	for _, p := range c.Pools {
		n += p.Count
	}
	return n
}

// Autoscaled says whether the cluster decides on the machines of the pool of that name.
func (c *Cluster) Autoscaled(pool string) bool {
	return slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Name == pool && p.Autoscaled() })
}

// Autoscales says whether the cluster decides on the machines of any pool.
func (c *Cluster) Autoscales() bool {
	return slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Autoscaled() })
}

// block is the pool's key in Ranges and its name in diagnostics.
func (p *Pool) block() (key, in string) {
	if p.Name == ControlPlaneName {
		return "control_plane", "control_plane"
	}
	return "pool." + p.Name, `pool "` + p.Name + `"`
}

// at returns the range of the first of the keys that the file has.
func (c *Cluster) at(keys ...string) *diag.Range {
	for _, k := range keys {
		if r, ok := c.Ranges[k]; ok {
			return &r
		}
	}
	return nil
}
