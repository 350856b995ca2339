// Package fake is a vendor whose objects exist only in memory or in a file: for tests and for rehearsals of plans.
//
// It keeps the whole contract of package providers, sub-calls included: a network takes four of them, so that a Create
// that is cut off leaves a Partial object. Latency, quotas, faults and stale reads come on request (Options). IDs,
// addresses and host keys depend only on owner, name and how often that name was used, so that two runs are alike
// whatever the order of their calls.
package fake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A Fake is a provider. Its methods are safe for concurrent use.
type Fake struct {
	options Options
	faults  *faults
	limits  *buckets
	store   *store
	died    sync.Map // machines of Options.Dies that have, by ID
}

// New returns a vendor in memory, empty. Options that do not hold are without effect; Options.Validate finds them.
func New(o Options) *Fake {
	return made(o, newStore(o.Lag, nil))
}

// Open returns a vendor whose objects are in the file at the path, which is made, with its folder, if it is not there.
// Several processes and several Fakes may use one file at a time: each call sees what the others did before, and what
// it changed is on the disk when it returns. The error wraps providers.Invalid if the options do not hold or the file
// is not one of a Fake, else providers.Unavailable.
func Open(path string, o Options) (*Fake, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := newStore(o.Lag, &journal{path: path})
	if err := s.open(); err != nil {
		return nil, err
	}
	return made(o, s), nil
}

func made(o Options, s *store) *Fake {
	return &Fake{options: o, faults: newFaults(o.Seed, slices.Clone(o.Faults)), limits: newBuckets(o.Limits), store: s}
}

// Name returns "fake".
func (f *Fake) Name() string { return "fake" }

// Caps says that it can everything but what Options.Lacks takes away.
func (f *Fake) Caps() providers.Caps {
	return providers.Caps{
		LoadBalancers: !f.lacks("balancer"),
		UDP:           !f.lacks("balancer") && !f.lacks("udp"),
		Volumes:       !f.lacks("volume"),
		Snapshots:     !f.lacks("volume") && !f.lacks("snapshot"),
		Spot:          !f.lacks("spot"),
		Zones:         zones(),
		Arch:          []string{"amd64", "arm64"},
		Simulated:     true,
		Prices:        f.options.Prices.Clone(),
		Lag:           time.Duration(f.options.Lag),
	}
}

func (f *Fake) lacks(what string) bool { return slices.Contains(f.options.Lacks, what) }

// Networks returns the networks.
func (f *Fake) Networks() providers.Networks {
	return objects[providers.NetworkSpec, providers.Network]{f, networkKind()}
}

// Machines returns the machines. Their SSH is the zero AddrPort, as nothing answers there.
func (f *Fake) Machines() providers.Machines {
	return machines{objects[providers.MachineSpec, providers.Machine]{f, machineKind(f.Caps())}}
}

// LoadBalancers returns the balancers.
func (f *Fake) LoadBalancers() providers.LoadBalancers {
	if f.lacks("balancer") {
		return providers.NoLoadBalancers{}
	}
	return objects[providers.LoadBalancerSpec, providers.LoadBalancer]{f, balancerKind(f.Caps())}
}

// Volumes returns the volumes.
func (f *Fake) Volumes() providers.Volumes {
	if f.lacks("volume") {
		return providers.NoVolumes{}
	}
	return volumes{objects[providers.VolumeSpec, providers.Volume]{f, volumeKind()}}
}

// Stop stops a machine behind its owner's back, as if somebody had pulled its plug: it is listed as Stopped and Partial
// until Create starts it again. NotFound if there is no such machine.
func (f *Fake) Stop(ctx context.Context, id providers.ID) error {
	return f.store.change(ctx, func(s *state) ([]change, error) {
		r, ok := s.machines.rows[id]
		if !ok {
			return nil, fmt.Errorf("stop machine %s: %w", id, providers.NotFound)
		}
		r.Object.State, r.Object.Partial, r.Done = providers.Stopped, true, 1
		return []change{put[providers.Machine]{pick: machineTable, id: id, row: &r}}, nil
	})
}

// SetFaults replaces the faults that the options asked for. Their counts start anew.
func (f *Fake) SetFaults(rules []Fault) { f.faults.set(slices.Clone(rules)) }

// Writes returns how many changes this Fake has made to its objects: what a bill would count.
func (f *Fake) Writes() int { return int(f.store.writes.Load()) }

// zones returns where machines can be placed.
func zones() []string { return []string{"a", "b", "c"} }
