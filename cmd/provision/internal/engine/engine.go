// Package engine turns a plan into steps and runs them. It is the one place where plan, graph, providers, state and
// bootstrap meet.
package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
)

// Options is what an Engine works with. All are borrowed: the caller closes them after the engine.
type Options struct {
	Provider providers.Provider
	State    *state.State
	Cluster  *config.Cluster
	Bundle   string         // path of the bundle; may be empty for a vendor whose machines have no SSH
	Agent    string         // path of the node agent that goes with it
	Width    int            // steps at once; 0 means 64
	Events   func(ui.Event) // gets the event stream; safe for concurrent use
}

// An Engine makes a cluster be as its file says. Its methods are to be called one after another; a method runs many
// steps at once by itself.
type Engine struct {
	Options
	programs  *bootstrap.Programs
	manifests map[string][]byte // of the add-ons, by name
	secrets   *secrets

	mu       sync.Mutex
	hosts    map[string]ssh.Host // open connections, by machine name
	world    plan.World
	want     plan.Want
	spans    []ui.Span
	outcomes map[string]string // what to show of a step that is done, by address
	start    time.Time
}

// New returns an engine. Close ends its connections.
func New(o Options) *Engine {
	if o.Width == 0 {
		o.Width = 64
	}
	if o.Events == nil {
		o.Events = func(ui.Event) {}
	}
	return &Engine{Options: o, hosts: map[string]ssh.Host{}, outcomes: map[string]string{}, start: time.Now()}
}

// Close ends all connections to machines.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.hosts {
		h.Close()
	}
	e.hosts = map[string]ssh.Host{}
	return nil
}

// owner is the cluster's name at the vendor.
func (e *Engine) owner() providers.Owner { return providers.Owner(e.Cluster.Name) }

// host returns the open connection to a machine, or opens it, waiting until the machine answers.
func (e *Engine) host(ctx context.Context, m providers.Machine) (ssh.Host, error) {
	e.mu.Lock()
	h, ok := e.hosts[m.Name]
	e.mu.Unlock()
	if ok {
		return h, nil
	}
	h, err := e.dial(ctx, m)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if other, ok := e.hosts[m.Name]; ok {
		h.Close()
		return other, nil
	}
	e.hosts[m.Name] = h
	return h, nil
}

// hangUp forgets the connection to a machine, which is about to go away or to restart.
func (e *Engine) hangUp(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h, ok := e.hosts[name]; ok {
		h.Close()
		delete(e.hosts, name)
	}
}

// machine returns the machine of that name as the world has it now.
func (e *Engine) machine(name string) (providers.Machine, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.world.Machines {
		if m.Name == name {
			return m, true
		}
	}
	return providers.Machine{}, false
}

// setMachine notes what a create returned.
func (e *Engine) setMachine(m providers.Machine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.world.Machines {
		if e.world.Machines[i].Name == m.Name {
			e.world.Machines[i] = m
			return
		}
	}
	e.world.Machines = append(e.world.Machines, m)
}

// setNetwork notes what a create returned.
func (e *Engine) setNetwork(n providers.Network) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.world.Networks = append(slices.DeleteFunc(e.world.Networks, func(o providers.Network) bool { return o.Name == n.Name }), n)
}

// networkID is the ID of the cluster's network; empty if it is not there.
func (e *Engine) networkID() providers.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.world.Networks {
		if n.Name == plan.NetworkName {
			return n.ID
		}
	}
	return ""
}

// machines returns all machines by name.
func (e *Engine) machines() map[string]providers.Machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	ms := make(map[string]providers.Machine, len(e.world.Machines))
	for _, m := range e.world.Machines {
		ms[m.Name] = m
	}
	return ms
}

// controlPlane returns the members that run the control plane.
func (e *Engine) controlPlane() []plan.Member {
	var cps []plan.Member
	for _, m := range plan.Members(e.Cluster) {
		if m.Pool == &e.Cluster.ControlPlane {
			cps = append(cps, m)
		}
	}
	return cps
}

// kube returns the cluster's API through the first control-plane machine that is there.
func (e *Engine) kube(ctx context.Context) (kube, error) {
	for _, m := range firstReady(e.controlPlane(), e.world.Nodes) {
		mach, ok := e.machine(m.Name)
		if !ok || mach.Partial {
			continue
		}
		h, err := e.host(ctx, mach)
		if err != nil {
			return kube{}, err
		}
		return kube{h}, nil
	}
	return kube{}, fmt.Errorf("no control-plane machine is there")
}
