package gcptest

import "net/netip"

// Hooks put something real behind what the cloud says there is. Each may be nil: then the cloud only says so.
//
// A hook runs while the operation that it belongs to goes on, without any lock of the cloud's, so it may take its time and may ask
// the cloud. The operation is done when the hook returns, and fails with its error; what was being made is then not there. Hooks for
// different things run at the same time; Forward and Unforward run one after another.
type Hooks struct {
	// MakeNetwork makes the network behind a subnetwork that is made; DropNetwork removes it when the subnetwork is deleted.
	MakeNetwork func(Network) error
	DropNetwork func(Network) error

	// Start runs the machine behind an instance: a new one, or one that Stop stopped. It returns the addresses that the machine
	// has. One that is not valid leaves the instance the address that the cloud gave it, if any.
	Start func(Instance) (private, public netip.Addr, err error)
	// Stop stops the machine; Start of the same number may follow.
	Stop func(Instance) error
	// Delete removes the machine, running or stopped. One that there is not is no error.
	Delete func(Instance) error
	// Console returns what is on the instance's serial console. Package gcp waits for a line "provision-host-key: ssh-ed25519 …".
	Console func(Instance) string

	// Reserve returns the address of a balancer, made before all else of it; one that is not valid leaves it the cloud's choice.
	// Release gives it back when it is deleted.
	Reserve func(Reservation) (netip.Addr, error)
	Release func(Reservation) error
	// Forward makes what comes to the balancer's address go where it says. It is called with all of the balancer when it is
	// there, and again after each change of ports, sources, health check, targets, or a target's address or state.
	Forward func(Balancer) error
	// Unforward ends that.
	Unforward func(Balancer) error
}

// some says whether there is something real behind the cloud.
func (h Hooks) some() bool {
	return h.MakeNetwork != nil || h.DropNetwork != nil || h.Start != nil || h.Stop != nil || h.Delete != nil || h.Reserve != nil || h.Release != nil || h.Forward != nil || h.Unforward != nil
}

// A Network is a subnetwork: addresses for machines.
type Network struct {
	Name    string // of the subnetwork
	Network string // of the VPC network that it is in
	Range   netip.Prefix
}

// An Instance is a machine as it was asked for.
type Instance struct {
	Number    uint64 // Google's, never used again
	Name      string
	Zone      string
	Hostname  string // as asked for, with domain; empty: Name
	Type      string
	CPUs      int
	MemoryMiB int
	DiskGiB   int
	Spot      bool
	Network   Network
	Private   netip.Addr // that the cloud chose in the network's range, or that Start returned before
	Public    bool       // it is to have an address on the internet
	Tags      []string   // network tags
	Labels    map[string]string
	// Metadata is what the guest agent reads: "startup-script" is run as root at each boot, which lets the user in; "user-data"
	// is for cloud-init.
	Metadata map[string]string
}

// A Reservation is an address of a balancer.
type Reservation struct {
	Name     string
	Internal bool
	Network  Network    // of an internal one
	Address  netip.Addr // that the cloud chose
}

// A Balancer is a forwarding rule with all that it leads to. It changes no port on the way: what comes to a port of Address
// goes to the same port of a target.
type Balancer struct {
	Name     string // of the forwarding rule
	Internal bool
	Address  netip.Addr
	Ports    []Port
	Targets  []Target
	Health   Health
}

// A Port is what comes in: ports from First to Last, from Sources alone.
type Port struct {
	Protocol    string // "tcp" or "udp"
	First, Last int
	Sources     []netip.Prefix
}

// A Target is an instance behind a balancer.
type Target struct {
	Zone, Name string
	Address    netip.Addr
	Running    bool
}

// Health is how the balancer finds out which targets to use.
type Health struct {
	Port int    // of the target
	Path string // of an HTTP request; empty: a connection over TCP is enough
}
