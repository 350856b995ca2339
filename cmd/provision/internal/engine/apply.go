package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/graph"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Addresses of steps that are not changes of their own.
const (
	apiStep   = "api"         // the cluster's API answers
	roleStep  = "join tokens" // and the roles that joining needs
	addonStep = "add-ons"
	settle    = "node labels" // what a kubelet may not set itself
)

// Apply executes the plan: everything that can run at once does. The error is the diagnostics of all that failed.
func (e *Engine) Apply(ctx context.Context, p *plan.Plan, stop <-chan struct{}) error {
	if p.Empty() {
		return nil
	}
	if err := e.begin(); err != nil {
		return err
	}
	b := &builder{e: e, p: p, members: map[string]plan.Member{}}
	for _, m := range plan.Members(e.Cluster) {
		b.members[m.Name] = m
	}
	if err := b.steps(); err != nil {
		return err
	}
	return e.run(ctx, &b.g, stop)
}

// begin makes what has to be on disk before the first object exists.
func (e *Engine) begin() (err error) {
	if e.secrets == nil {
		e.secrets, err = makeSecrets(e.State, e.Cluster.Name)
	}
	return err
}

// A builder turns the changes of one plan into steps.
type builder struct {
	e       *Engine
	p       *plan.Plan
	g       graph.Graph
	members map[string]plan.Member
	tokens  tokens // of the nodes that join in this apply
	err     error
}

func (b *builder) add(address string, after []string, run func(context.Context) error) {
	if err := b.g.Add(graph.Step{Address: address, After: after, Run: run}); err != nil && b.err == nil {
		b.err = err
	}
}

// has returns the address if the plan changes it, for use in After.
func (b *builder) has(addresses ...string) []string {
	var in []string
	for _, a := range addresses {
		if _, ok := b.p.Find(a); ok {
			in = append(in, a)
		}
	}
	return in
}

func (b *builder) steps() error {
	var joining []string
	for _, c := range b.p.Changes {
		if c.Kind == plan.Node && (c.Action == plan.Create || c.Action == plan.Replace) {
			joining = append(joining, c.Name)
		}
	}
	if b.tokens, b.err = newTokens(joining); b.err != nil {
		return b.err
	}
	for _, c := range b.p.Changes {
		switch c.Kind {
		case plan.Network:
			b.network(c)
		case plan.Machine:
			b.machine(c)
		case plan.Node:
			b.node(c)
		}
	}
	if b.e.want.Nodes {
		b.cluster()
	}
	return b.err
}

func (b *builder) network(c plan.Change) {
	b.add(c.Address, nil, func(ctx context.Context) error {
		spec := plan.NetworkSpec(b.e.Cluster)
		spec.Tags = map[string]string{uidTag: b.e.want.UID}
		if err := b.e.intent(c); err != nil {
			return err
		}
		n, err := b.e.Provider.Networks().Create(ctx, spec)
		if err != nil && providers.KindOf(err) != providers.Exists {
			return err
		}
		b.e.setNetwork(n)
		return b.e.done(c, n.ID, n.CIDR.String())
	})
}

func (b *builder) machine(c plan.Change) {
	switch c.Action {
	case plan.Create:
		b.add(c.Address, b.has("network."+plan.NetworkName), func(ctx context.Context) error { return b.createMachine(ctx, c) })
	case plan.Replace:
		b.add(c.Address, b.has("network."+plan.NetworkName), func(ctx context.Context) error {
			if err := b.deleteMachine(ctx, c); err != nil {
				return err
			}
			return b.createMachine(ctx, c)
		})
	case plan.Delete:
		node := "node." + c.Address[len("machine."):]
		b.add(c.Address, b.has(node), func(ctx context.Context) error { return b.deleteMachine(ctx, c) })
	}
}

func (b *builder) createMachine(ctx context.Context, c plan.Change) error {
	e := b.e
	spec := b.members[c.Name].MachineSpec(e.Cluster, e.networkID())
	spec.AuthorizedKeys = []string{e.secrets.public}
	if err := e.intent(c); err != nil {
		return err
	}
	m, err := e.Provider.Machines().Create(ctx, spec)
	if err != nil && providers.KindOf(err) != providers.Exists {
		return err
	}
	e.hangUp(m.Name)
	e.setMachine(m)
	return e.done(c, m.ID, fmt.Sprintf("%s %s", m.Type, m.Private))
}

func (b *builder) deleteMachine(ctx context.Context, c plan.Change) error {
	m, ok := b.e.machine(c.Name)
	if !ok {
		return nil
	}
	b.e.hangUp(c.Name)
	if err := b.e.intent(c); err != nil {
		return err
	}
	if err := b.e.Provider.Machines().Delete(ctx, m.ID); err != nil {
		return err
	}
	return b.e.done(c, m.ID, "")
}

// node adds the steps of one node's change. A node that joins takes three: install (which needs only the machine), join
// (which needs the API and a token), and, once for all, the labels.
func (b *builder) node(c plan.Change) {
	if c.Action == plan.Delete {
		b.add(c.Address, nil, func(ctx context.Context) error { return b.e.leave(ctx, c) })
		return
	}
	m := b.members[c.Name]
	machine := m.Address(plan.Machine)
	switch c.Action {
	case plan.Create, plan.Replace:
		after := b.has(machine)
		if m.Role == templates.Worker {
			after = append(after, b.controlPlaneMachines()...)
		}
		b.add(c.Address+" install", after, func(ctx context.Context) error { return b.e.install(ctx, c, m) })
		b.add(c.Address, []string{c.Address + " install", roleStep}, func(ctx context.Context) error { return b.e.join(ctx, c, m, b.tokens[c.Name]) })
	case plan.Restart:
		b.add(c.Address, b.before(c), func(ctx context.Context) error { return b.e.restart(ctx, c, m) })
	case plan.Update:
		b.add(c.Address, nil, func(ctx context.Context) error { return b.e.dress(ctx, m) })
	}
}

// controlPlaneMachines are the machines whose addresses every node's configuration holds.
func (b *builder) controlPlaneMachines() []string {
	var as []string
	for _, m := range b.e.controlPlane() {
		as = append(as, b.has(m.Address(plan.Machine))...)
	}
	return as
}

// before orders restarts: the control plane one machine after another, then the workers one after another.
func (b *builder) before(c plan.Change) []string {
	var last []string
	for _, o := range b.p.Changes {
		if o.Address == c.Address {
			break
		}
		if o.Kind == plan.Node && o.Action == plan.Restart {
			last = []string{o.Address}
		}
	}
	return last
}

// cluster adds the steps that speak to the cluster's API.
func (b *builder) cluster() {
	var installs, nodes []string
	for _, c := range b.p.Changes {
		if c.Kind != plan.Node || c.Action == plan.Delete {
			continue
		}
		if m := b.members[c.Name]; m.Role == templates.ControlPlane {
			if c.Action == plan.Create || c.Action == plan.Replace {
				installs = append(installs, c.Address+" install")
			} else if c.Action == plan.Restart {
				installs = append(installs, c.Address)
			}
		}
		if c.Action == plan.Create || c.Action == plan.Replace {
			nodes = append(nodes, c.Address)
		}
	}
	var addons []plan.Change
	for _, c := range b.p.Changes {
		if c.Kind == plan.Addon {
			addons = append(addons, c)
		}
	}
	if len(nodes)+len(addons) == 0 {
		return
	}
	b.add(apiStep, installs, b.e.waitAPI)
	b.add(roleStep, []string{apiStep}, func(ctx context.Context) error { return b.e.roles(ctx, b.tokens) })
	b.addons(addons)
	if len(nodes) > 0 {
		b.add(settle, nodes, func(ctx context.Context) error { return b.e.dressAll(ctx, b.tokens.names()) })
	}
}

// addons are applied in one call; each has a step so that a plan's addresses are a run's.
func (b *builder) addons(changes []plan.Change) {
	var names []string
	for _, c := range changes {
		names = append(names, c.Name)
		b.add(c.Address, []string{addonStep}, nil)
	}
	if len(names) > 0 {
		b.add(addonStep, []string{roleStep}, func(ctx context.Context) error { return b.e.applyAddons(ctx, names) })
	}
}

// deadlines of the steps' waits.
const (
	askTimeout    = 10 * time.Second
	keepAlive     = 5 * time.Second // a machine that misses three is gone
	redialTimeout = 15 * time.Second
	bootTimeout   = 2 * time.Minute
	apiTimeout    = 3 * time.Minute
	joinTimeout   = 5 * time.Minute
)
