// Package engine turns a plan into steps and runs them. It is the one place where plan, graph, providers, state and
// bootstrap meet.
package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
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
	Width    int            // steps at once; 0 means 512
	ReadOnly bool           // the state is not to be written: for plans, and for verbs that use a cluster
	Keep     []plan.Kind    // what a destroy leaves
	Replace  []string       // patterns of the addresses of machines to replace, whatever they are like
	Saved    string         // ID of the saved plan that is executed; empty if it is none
	Again    string         // the command that goes on, for advice; empty: the verb with the cluster's file
	Asked    string         // the command that was given, where it only looks; empty: as Again
	Accept   []string       // what a person accepts to lose: DataLoss
	NoCheck  bool           // Preflight asks nothing
	Inside   *Inside        // how a cloud agent on the cluster's own machines reaches the vendor; nil: it cannot, and there is none
	Events   func(ui.Event) // gets the event stream; safe for concurrent use
}

// Inside is how a vendor is reached from a cluster's own machines.
type Inside struct {
	Options map[string]any // the provider's attributes there
	Blind   bool           // not at all: see templates.Cloud

	// Program returns the path of the plug-in's program for nodes of an architecture; nil: the vendor is built in.
	Program   func(arch string) (string, error)
	Sensitive []string // names of the plug-in's Options that no log may show
}

// An Engine makes a cluster be as its file says. Its methods are to be called one after another; a method runs many
// steps at once by itself.
type Engine struct {
	Options
	programs   *bootstrap.Programs
	plugin     *ssh.Source       // the vendor's program for control-plane nodes; nil: it is built in, or no cloud agent needs it
	manifests  map[string][]byte // of the add-ons, by name
	secrets    *secrets
	destroying bool                   // what runs is a destroy
	all        []plan.Member          // that the file asks for
	places     map[string]plan.Member // the same, by address without its kind: workers[2]

	jumping sync.Mutex
	jumps   map[string]ssh.Host // open connections to bastions, by address

	mu       sync.Mutex
	downs    map[string]bool     // control-plane machines that are not to be asked now, by name
	nodes    map[string]bool     // whether a machine is a node, where that has changed since the world was looked at, by name
	apiHost  string              // the control-plane machine that served the API when it was asked last
	hosts    map[string]ssh.Host // open connections, by machine name
	world    plan.World
	byName   map[string]providers.Machine // the world's machines as they are now
	want     plan.Want
	asked    *inquiry // of the vendor, while hosts were asked; nil if there was none
	spans    []ui.Span
	late     *LateError
	others   []string          // what bears the cluster's name and another's UID, and was taken out of the world
	mixed    bool              // the world has the state's UID, so what bears another in it was changed by somebody
	warnings diag.Diagnostics  // of the plan that was made last
	outcomes map[string]string // what to show of a step that is done, by address
	start    time.Time
}

// New returns an engine. Close ends its connections.
func New(o Options) *Engine {
	if o.Width == 0 {
		o.Width = 512
	}
	if o.Events == nil {
		o.Events = func(ui.Event) {}
	}
	e := &Engine{Options: o, downs: map[string]bool{}, nodes: map[string]bool{}, hosts: map[string]ssh.Host{}, jumps: map[string]ssh.Host{}, outcomes: map[string]string{}, byName: map[string]providers.Machine{}, start: time.Now()}
	e.all = plan.Members(o.Cluster)
	e.places = make(map[string]plan.Member, len(e.all))
	for _, m := range e.all {
		e.places[m.Place()] = m
	}
	return e
}

// members are the machines that the file asks for.
func (e *Engine) members() []plan.Member { return e.all }

// member finds the member that an address is about: node.workers[2], machine.workers[2] install.
func (e *Engine) member(address string) (plan.Member, bool) {
	address, _, _ = strings.Cut(address, " ")
	_, place, _ := strings.Cut(address, ".")
	m, ok := e.places[place]
	return m, ok
}

// Close ends all connections to machines.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.hosts {
		h.Close()
	}
	e.hosts = map[string]ssh.Host{}
	e.jumping.Lock()
	defer e.jumping.Unlock()
	for _, h := range e.jumps {
		h.Close()
	}
	e.jumps = map[string]ssh.Host{}
	return nil
}

// UID is the cluster's own ID, as the state or the vendor has it; after Plan.
func (e *Engine) UID() string { return e.want.UID }

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
	m, ok := e.byName[name]
	return m, ok
}

// setMachine notes what a create returned.
func (e *Engine) setMachine(m providers.Machine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byName[m.Name] = m
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

// machines returns all machines by name, as they are now.
func (e *Engine) machines() map[string]providers.Machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.byName)
}

// machinesFor returns the machines that the member's configuration is made from: its own and the control plane's.
func (e *Engine) machinesFor(m plan.Member) map[string]providers.Machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	ms := map[string]providers.Machine{}
	for _, name := range append(plan.ControlPlaneNames(e.Cluster), m.Name) {
		if o, ok := e.byName[name]; ok {
			ms[name] = o
		}
	}
	return ms
}

// controlPlane returns the members that run the control plane.
func (e *Engine) controlPlane() []plan.Member { return e.all[:e.Cluster.ControlPlane.Count] }

// serves notes that a control-plane machine serves the API.
func (e *Engine) serves(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.downs[name] {
		e.apiHost = name
	}
}

// kube returns the cluster's API through a control-plane machine that serves it.
func (e *Engine) kube(ctx context.Context) (kube, error) {
	e.mu.Lock()
	known := e.apiHost
	e.mu.Unlock()
	if m, ok := e.machine(known); ok && known != "" {
		if h, err := e.host(ctx, m); err == nil {
			return kube{h, e.otherServing}, nil
		}
	}
	var ms []providers.Machine
	for _, m := range e.controlPlane() {
		if mach, ok := e.machine(m.Name); ok && !mach.Partial && mach.State != providers.Stopped && !e.isDown(m.Name) {
			ms = append(ms, mach)
		}
	}
	return e.firstServing(ctx, ms)
}

// otherServing is a control-plane machine that serves the API, when the connection to the one that did is lost.
func (e *Engine) otherServing(ctx context.Context) (ssh.Host, error) {
	e.mu.Lock()
	e.apiHost = ""
	e.mu.Unlock()
	k, err := e.kube(ctx)
	return k.host, err
}

// firstServing asks all of the machines at once and takes the first that serves the API. Of a single one it takes for granted
// that it does.
func (e *Engine) firstServing(ctx context.Context, ms []providers.Machine) (kube, error) {
	type answer struct {
		k   kube
		m   providers.Machine
		err error
	}
	answers := make(chan answer, len(ms))
	for _, m := range ms {
		go func() {
			h, err := e.host(ctx, m)
			if err == nil && len(ms) > 1 {
				err = kube{host: h}.answers(ctx)
			}
			answers <- answer{kube{h, e.otherServing}, m, err}
		}()
	}
	last := fmt.Errorf("no control-plane machine is there")
	for range ms {
		a := <-answers
		if a.err == nil {
			e.serves(a.m.Name)
			return a.k, nil
		}
		last = a.err
	}
	return kube{}, last
}
