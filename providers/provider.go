// Package providers is the contract between provision and the vendors that sell machines.
//
// A vendor implements Provider once and gets every door built on it: the provisioner, the cloud controller manager, the
// CSI driver and the node autoscaler. The contract is plain data and five verbs per kind of object, so that wrappers, the
// conformance suite (package providertest), the planner and the plug-in protocol are each written once.
//
// Three rules carry the weight:
//
//   - Owner and name are the identity. They are kept at the vendor, as tags set in the call that creates, so that
//     List(owner) is the truth and local state is a cache.
//   - Create is resumable. An object that needs many vendor calls and was cut off after any of them is listed as
//     Partial; Create with the same owner and name completes it, Delete removes it.
//   - Every error wraps a Kind, which says what a caller may do about it.
//
// Strangers have hands too: at the vendor's console anybody can delete an object, change it, or take its tags away. An
// object without the tag OwnerTag is nobody's: no List has it, Get of its ID still returns it, with an empty Owner, and
// Delete removes it. An object without the tag NameTag is listed by its owner, with an empty Name. So whoever has
// written an ID down finds the object again, and Update puts the tags back.
package providers

import (
	"context"
	"time"
)

// A Provider makes machines, networks, load balancers and volumes.
// Its methods are safe for concurrent use and do no I/O.
type Provider interface {
	Name() string // the scheme of its node IDs: "aws" in aws:///eu-west-1a/i-0abc
	Caps() Caps   // what the vendor can do, so that a plan can be refused before it starts

	Machines() Machines
	Networks() Networks
	LoadBalancers() LoadBalancers
	Volumes() Volumes
	Account() Account
}

// Objects is one kind of thing that a vendor can make. All methods are safe for concurrent use, obey the context, and
// return errors that wrap a Kind, or the context's own error if they were cut off by its end. Arguments are not kept or
// changed; results belong to the caller.
type Objects[Spec, Object any] interface {
	// Create makes the object that the spec describes and waits until it is usable. If the owner already has a
	// complete one of that name it returns that one, as it is, and an error that wraps Exists. If it has a Partial one,
	// Create completes it. Calls for one name at the same time make one object; each returns it, with Exists or without
	// an error. Invalid if the owner or the name is no DNS label; NotFound or Invalid if the spec names an object that
	// there is not.
	Create(context.Context, Spec) (Object, error)
	// Get returns one object, whosever it is; NotFound if there is none of that ID.
	Get(context.Context, ID) (Object, error)
	// List returns all objects of the owner, Partial ones included, sorted by name; never another owner's.
	List(context.Context, Owner) ([]Object, error)
	// Delete removes the object and waits until it is gone. Deleting what is not there succeeds. Conflict if something
	// else stands on it. Cut off, it leaves the object whole, Partial or gone; Delete again goes on.
	Delete(context.Context, ID) error
	// Update changes the object in place to what the spec says, touches nothing that does not differ, and returns it as
	// it is then: its tags and pool always; a network's rules, and zones and range if the vendor can; a balancer's ports, targets
	// and sources. What the spec leaves to the vendor (an empty range, image, zone, size) stays as it is; what only a
	// machine's first boot reads (user, keys, user data) is not compared. It mends what a stranger did: tags of the
	// contract that were taken away are put back, so an object without an owner gets one (see the package comment). A
	// Partial object stays Partial: Create completes it. Cut off, it leaves the object between the two; Update again
	// goes on. Updates of one object at the same time to the same spec all succeed.
	//
	// NotFound if there is none of that ID. Invalid, with nothing changed, if the object bears another owner or name, if
	// the spec is one that Create would not accept, or if the vendor cannot change it in place (a machine's type, a
	// network's range, without Caps.Renumber). Exists if the object lost its owner or name and the owner has another one of the name by now. A
	// volume grows by Resize: Invalid if the spec asks for more than it has.
	Update(context.Context, ID, Spec) (Object, error)
}

// Machines are the vendor's machines. Delete takes the machine out of its balancers and detaches its volumes, which stay.
type Machines interface {
	Objects[MachineSpec, Machine]
	// Types returns the machine types on offer, sorted by name.
	Types(context.Context) ([]MachineType, error)
}

// Networks are the private networks that machines live in. A Network is one object, however many calls a vendor needs.
// Delete returns Conflict while a machine or a balancer is in it.
//
// Where Caps has Renumber, Update to another range, which must not overlap the one before, adds it: what is made from then on
// has its address of it. What is there keeps its address, and reaches all else, until Update of that machine or balancer, to
// whatever spec, moves it into the range, while it runs. Ranges of before are given up with the last address of them.
type Networks interface {
	Objects[NetworkSpec, Network]
}

// LoadBalancers forward ports to machines.
type LoadBalancers interface {
	Objects[LoadBalancerSpec, LoadBalancer]
}

// Volumes are block devices. Delete returns Conflict while the volume is attached.
type Volumes interface {
	Objects[VolumeSpec, Volume]
	// Attach connects the volume to a machine and returns it with Device set. Attaching where it already is succeeds;
	// Conflict if it is attached elsewhere, Quota if the machine takes no more of them (MachineType.Volumes).
	Attach(ctx context.Context, volume, machine ID) (Volume, error)
	// Detach disconnects the volume from the machine. It succeeds if it was not attached there.
	Detach(ctx context.Context, volume, machine ID) error
	// Resize grows the volume to at least the size, in GiB. It never shrinks: a smaller size returns Invalid.
	Resize(ctx context.Context, volume ID, sizeGiB int) (Volume, error)
	// Snapshots are copies of volumes at a moment. A snapshot outlives its volume.
	Snapshots() Objects[SnapshotSpec, Snapshot]
}

// Caps says what a vendor can do. The zero value can nothing beyond machines and networks.
type Caps struct {
	LoadBalancers bool     `json:"load_balancers,omitempty"` // the vendor has balancers; else it returns NoLoadBalancers
	UDP           bool     `json:"udp,omitempty"`            // its balancers forward UDP; else Create of one that should returns Unsupported
	Volumes       bool     `json:"volumes,omitempty"`        // the vendor has volumes; else it returns NoVolumes
	Snapshots     bool     `json:"snapshots,omitempty"`      // its volumes can be copied; else they return NoSnapshots
	Spot          bool     `json:"spot,omitempty"`           // machines may be bought as spot; else Create of one returns Unsupported
	Zones         []string `json:"zones,omitempty"`          // zones that machines can be placed in; empty means that there is just one place
	Arch          []string `json:"arch,omitempty"`           // processor architectures of its machines, as GOARCH names them
	MaxNameLen    int      `json:"max_name_len,omitempty"`   // longest machine name it accepts; 0 means 63
	Local         bool     `json:"local,omitempty"`          // its machines are on the host that runs the command, and so is what is known of them
	Renumber      bool     `json:"renumber,omitempty"`       // Update changes a network's range, and addresses to be of it: see Networks
	Announced     bool     `json:"announced,omitempty"`      // an address that a machine announces by ARP is found by all in its network and by its clients
	Simulated     bool     `json:"simulated,omitempty"`      // its machines exist on paper only: nothing answers SSH, so none becomes a node

	// Inside says how the provider is opened on the cluster's own machines, if it is a plug-in; nil: no cloud agent can serve the vendor.
	Inside *Inside `json:"inside,omitempty"`

	// Prices are what things cost there; nil: not known, or nothing.
	Prices *Prices `json:"prices,omitempty"`

	// Lag is how long Get and List may miss what was made, changed or deleted: an absence means nothing before so much
	// time has passed since the object was made. Zero if a call sees all that calls before it did. Lag is never a reason
	// for two: Create, Update and Delete go by the objects as they are, not as readers see them.
	Lag time.Duration `json:"lag,omitempty"`
}

// An Inside is how a cloud agent opens a provider, in a process on a machine that was made with MachineSpec.CloudAgent. Nothing of
// what the person's command has at hand is there: no files, no variables, no credentials but the machine's own.
type Inside struct {
	// Attributes are those of the provider's block there. None of them is secret.
	Attributes map[string]any `json:"attributes,omitempty"`
	// Blind says that the vendor cannot be asked from there at all: nodes announce the addresses of Services, and that is all.
	Blind bool `json:"blind,omitempty"`
}
