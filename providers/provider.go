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
	// Get returns one object; NotFound if there is none of that ID.
	Get(context.Context, ID) (Object, error)
	// List returns all objects of the owner, Partial ones included, sorted by name; never another owner's.
	List(context.Context, Owner) ([]Object, error)
	// Delete removes the object and waits until it is gone. Deleting what is not there succeeds. Conflict if something
	// else stands on it. Cut off, it leaves the object whole, Partial or gone; Delete again goes on.
	Delete(context.Context, ID) error
	// Update changes the object in place to what the spec says, touches nothing that does not differ, and returns it as
	// it is then: its tags and pool always; a network's rules and zones; a balancer's ports, targets and sources. It
	// mends what somebody changed at the vendor: tags of the contract that were taken away are put back. Invalid, with
	// nothing changed, if the vendor cannot change it in place (a machine's type, a network's range), or if owner or name
	// are another object's; NotFound if there is none of that ID. A volume grows by Resize, not by Update.
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
	// Conflict if it is attached elsewhere.
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
	LoadBalancers bool     // the vendor has balancers; else it returns NoLoadBalancers
	UDP           bool     // its balancers forward UDP; else Create of one that should returns Unsupported
	Volumes       bool     // the vendor has volumes; else it returns NoVolumes
	Snapshots     bool     // its volumes can be copied; else they return NoSnapshots
	Spot          bool     // machines may be bought as spot; else Create of one returns Unsupported
	Zones         []string // zones that machines can be placed in; empty means that there is just one place
	Arch          []string // processor architectures of its machines, as GOARCH names them
	MaxNameLen    int      // longest machine name it accepts; 0 means 63
	Local         bool     // its machines are on the host that runs the command, and so is what is known of them
	Simulated     bool     // its machines exist on paper only: nothing answers SSH, so none becomes a node

	// Lag is how long Get and List may miss what was made or changed: absence means nothing before it is over. Zero if
	// a call sees all that calls before it did.
	Lag time.Duration
}
