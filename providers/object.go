package providers

import "net/netip"

// An ID is the vendor's own name of one object, opaque to everybody else and never reused.
type ID string

// An Owner is the cluster that objects belong to: its name, a DNS label. It is kept at the vendor as the tag OwnerTag.
type Owner string

// Tags that every object carries at the vendor.
const (
	OwnerTag      = "provision.sh/owner"
	KindTag       = "provision.sh/kind"
	NameTag       = "provision.sh/name"
	GenerationTag = "provision.sh/generation"
	PoolTag       = "provision.sh/pool"
)

// Meta is what every object has.
type Meta struct {
	ID      ID                `json:"id"`
	Owner   Owner             `json:"owner"`             // as the vendor has it: empty if somebody took the tag away
	Name    string            `json:"name"`              // unique for the owner and kind; a DNS label; empty if somebody took the tag away
	Partial bool              `json:"partial,omitempty"` // Create was cut off or it stopped working: Create completes it
	Tags    map[string]string `json:"tags,omitempty"`    // the spec's Tags as the vendor has them, without the ones above
}

// A NetworkSpec says what network to make.
type NetworkSpec struct {
	Owner Owner             `json:"owner"`
	Name  string            `json:"name"`
	CIDR  netip.Prefix      `json:"cidr"` // range of the machines' addresses; the zero Prefix lets the vendor choose a free one
	Zones []string          `json:"zones,omitempty"`
	Allow []Rule            `json:"allow,omitempty"` // what may come in from outside; machines of the network reach each other
	Tags  map[string]string `json:"tags,omitempty"`
}

// A Rule lets traffic from outside in.
type Rule struct {
	Name     string         `json:"name"` // what it is for: "ssh", "api"
	Protocol string         `json:"protocol"`
	Port     int            `json:"port"`
	Sources  []netip.Prefix `json:"sources"`
}

// A Network is a private network as it is.
type Network struct {
	Meta
	CIDR  netip.Prefix `json:"cidr"`
	Zones []string     `json:"zones,omitempty"`
	Allow []Rule       `json:"allow,omitempty"`
}

// A MachineSpec says what machine to make.
type MachineSpec struct {
	Owner          Owner             `json:"owner"`
	Name           string            `json:"name"` // also its host name
	Pool           string            `json:"pool,omitempty"`
	Network        ID                `json:"network"`
	Type           string            `json:"type"`
	Image          string            `json:"image,omitempty"` // empty: the vendor's default
	Zone           string            `json:"zone,omitempty"`  // empty: the vendor chooses
	DiskGiB        int               `json:"disk_gib,omitempty"`
	Spot           bool              `json:"spot,omitempty"`
	User           string            `json:"user,omitempty"`            // who may log in; empty means root
	AuthorizedKeys []string          `json:"authorized_keys,omitempty"` // lines in OpenSSH's authorized_keys format
	UserData       []byte            `json:"user_data,omitempty"`
	CloudAgent     bool              `json:"cloud_agent,omitempty"` // a cloud agent runs there: the machine itself may make and change the owner's objects
	Tags           map[string]string `json:"tags,omitempty"`
}

// A MachineState is whether a machine runs.
type MachineState string

// The states of a machine.
const (
	Pending MachineState = "pending"
	Running MachineState = "running"
	Stopped MachineState = "stopped" // Create with the same owner and name starts it again; it is listed as Partial
)

// A Machine is a machine as it is.
type Machine struct {
	Meta
	Pool     string         `json:"pool,omitempty"`
	Network  ID             `json:"network"`
	Type     string         `json:"type"`
	Image    string         `json:"image,omitempty"`
	Zone     string         `json:"zone,omitempty"`
	DiskGiB  int            `json:"disk_gib,omitempty"`
	State    MachineState   `json:"state"`
	NodeID   string         `json:"node_id"`             // Kubernetes' spec.providerID, in the form of the vendor's own cloud controller
	Private  netip.Addr     `json:"private,omitzero"`    // address in its network
	Public   netip.Addr     `json:"public,omitzero"`     // address from outside, if it has one
	SSH      netip.AddrPort `json:"ssh,omitzero"`        // where SSH answers
	User     string         `json:"user,omitempty"`      // who may log in
	HostKeys []string       `json:"host_keys,omitempty"` // its SSH host keys, in authorized_keys format, so that the first connection is strict
	Jump     *Jump          `json:"jump,omitempty"`      // the bastion that leads to it; nil: it is reached directly
	Problem  string         `json:"problem,omitempty"`   // why it is Stopped and Create alone cannot start it; empty if it can, or nobody knows
}

// A Jump is a bastion: a machine, not of the cluster, that SSH connections go through.
type Jump struct {
	Address  string   `json:"address"`       // host:port
	User     string   `json:"user"`          // who may log in there
	HostKeys []string `json:"host_keys"`     // its SSH host keys, in authorized_keys format
	Key      string   `json:"key,omitempty"` // path of the private key to log in with, where the command runs; empty: the SSH agent's
}

// A MachineType is a size of machine on offer.
type MachineType struct {
	Name      string   `json:"name"`
	CPUs      int      `json:"cpus"` // in thousandths of a processor
	MemoryMiB int      `json:"memory_mib"`
	DiskGiB   int      `json:"disk_gib"` // root disk unless the spec asks for another; 0: the host's
	GPUs      int      `json:"gpus,omitempty"`
	Arch      string   `json:"arch"`                // as GOARCH names it
	Zones     []string `json:"zones,omitempty"`     // where it is offered; empty: everywhere
	PriceUSD  float64  `json:"price_usd,omitempty"` // per hour; 0: unknown
	Volumes   int      `json:"volumes,omitempty"`   // how many can be attached at a time, the root disk aside; 0: as many as one likes, or unknown
}

// A LoadBalancerSpec says what balancer to make.
type LoadBalancerSpec struct {
	Owner    Owner             `json:"owner"`
	Name     string            `json:"name"`
	Network  ID                `json:"network"`
	Internal bool              `json:"internal,omitempty"`
	Address  netip.Addr        `json:"address,omitzero"` // a fixed address, if the caller needs one
	Ports    []BalancerPort    `json:"ports"`
	Targets  []ID              `json:"targets"`           // machines
	Sources  []netip.Prefix    `json:"sources,omitempty"` // who may connect; empty: everybody who can reach it
	Tags     map[string]string `json:"tags,omitempty"`
}

// A BalancerPort is one forwarded port.
type BalancerPort struct {
	Name          string `json:"name"`
	Protocol      string `json:"protocol"` // "tcp" or "udp"
	Port          int    `json:"port"`
	TargetPort    int    `json:"target_port"`
	HealthPort    int    `json:"health_port,omitempty"` // 0: TargetPort
	HealthPath    string `json:"health_path,omitempty"` // empty: a TCP connect; else asked for as HealthScheme says
	ProxyProtocol bool   `json:"proxy_protocol,omitempty"`
	IdleSeconds   int    `json:"idle_seconds,omitempty"` // 0: the vendor's default
}

// A LoadBalancer is a balancer as it is.
type LoadBalancer struct {
	Meta
	Network  ID             `json:"network"`
	Internal bool           `json:"internal,omitempty"`
	Address  netip.Addr     `json:"address,omitzero"`
	Hostname string         `json:"hostname,omitempty"` // where the vendor gives a name and no address
	Ports    []BalancerPort `json:"ports"`
	Targets  []ID           `json:"targets"` // sorted
	Sources  []netip.Prefix `json:"sources,omitempty"`
}

// A VolumeSpec says what volume to make.
type VolumeSpec struct {
	Owner     Owner             `json:"owner"`
	Name      string            `json:"name"`
	SizeGiB   int               `json:"size_gib"`
	Type      string            `json:"type,omitempty"` // the vendor's own; empty: its default
	Zone      string            `json:"zone,omitempty"`
	Snapshot  ID                `json:"snapshot,omitempty"` // start as a copy of it
	Encrypted bool              `json:"encrypted,omitempty"`
	Params    map[string]string `json:"params,omitempty"` // the vendor's own: iops, throughput, key
	Tags      map[string]string `json:"tags,omitempty"`
}

// A Volume is a volume as it is.
type Volume struct {
	Meta
	SizeGiB  int    `json:"size_gib"`
	Type     string `json:"type,omitempty"`
	Zone     string `json:"zone,omitempty"`
	Machine  ID     `json:"machine,omitempty"` // where it is attached
	Device   string `json:"device,omitempty"`  // how that machine sees it: a path under /dev, or a serial number to look for
	Snapshot ID     `json:"snapshot,omitempty"`
}

// A SnapshotSpec says what copy to make.
type SnapshotSpec struct {
	Owner  Owner             `json:"owner"`
	Name   string            `json:"name"`
	Volume ID                `json:"volume"`
	Tags   map[string]string `json:"tags,omitempty"`
}

// A Snapshot is a copy of a volume.
type Snapshot struct {
	Meta
	Volume      ID    `json:"volume"`
	SizeGiB     int   `json:"size_gib"`
	CreatedUnix int64 `json:"created_unix"` // seconds since 1970
}

// HealthScheme is how the health path is asked for at a vendor that does not try both: "https", whoever signed the certificate, where the
// port that is checked is one that speaks TLS by custom (443, 6443, 8443), else "http".
func (p BalancerPort) HealthScheme() string {
	port := p.HealthPort
	if port == 0 {
		port = p.TargetPort
	}
	if port == 443 || port == 6443 || port == 8443 {
		return "https"
	}
	return "http"
}
