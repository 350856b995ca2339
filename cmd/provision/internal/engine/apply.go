package engine

import (
	"context"
	"slices"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/graph"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
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
	b := newBuilder(e, p)
	if err := b.steps(); err != nil {
		return err
	}
	return e.run(ctx, &b.g, stop)
}

// A builder turns the changes of one plan into steps.
type builder struct {
	e        *Engine
	p        *plan.Plan
	g        graph.Graph
	changes  map[string]plan.Change // by address
	before   map[string]string      // the restart that each restart waits for
	cpMade   []string               // the control plane's machines that the plan makes
	founding bool                   // the control plane's machines found a new etcd
	leaving  []string               // nodes that go away
	chain    []string               // the last of the membership changes
	drained  map[string]string      // the last node, or machine that is none, of each pool that is replaced
	previous map[string]string      // what each membership change waits for
	moved    int                    // members of etcd that are new, or elsewhere
	tokens   tokens                 // of the nodes that join in this apply
	err      error
}

func newBuilder(e *Engine, p *plan.Plan) *builder {
	b := &builder{e: e, p: p, changes: make(map[string]plan.Change, len(p.Changes)), before: map[string]string{}, drained: map[string]string{}, previous: map[string]string{}}
	last := ""
	for _, c := range p.Changes {
		b.changes[c.Address] = c
		if c.Kind == plan.Node && c.Action == plan.Delete {
			b.leaving = append(b.leaving, c.Address)
		}
		if c.Kind == plan.Node && c.Action == plan.Restart {
			b.before[c.Address], last = last, c.Address
		}
	}
	for _, m := range e.controlPlane() {
		if c, ok := b.changes[m.Address(plan.Machine)]; ok && c.Action == plan.Create {
			b.cpMade = append(b.cpMade, c.Address)
		}
	}
	b.founding = !plan.Founded(e.world) || slices.ContainsFunc(p.Changes, func(c plan.Change) bool { return c.Kind == plan.Etcd && c.Danger != "" })
	return b
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
		if _, ok := b.changes[a]; ok {
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
	b.memberships()
	for _, c := range b.p.Changes {
		switch c.Kind {
		case plan.Certificate:
			b.add(c.Address, nil, func(context.Context) error { return b.e.begin(c) })
		case plan.Network:
			b.network(c)
		case plan.Machine:
			b.machine(c)
		case plan.Node:
			b.node(c)
		case plan.Balancer:
			b.balancer(c)
		}
	}
	if b.e.want.Nodes {
		b.cluster()
	}
	return b.err
}

func (b *builder) network(c plan.Change) {
	switch c.Action {
	case plan.Create:
		b.add(c.Address, b.has(plan.KeysAddress), func(ctx context.Context) error { return b.e.createNetwork(ctx, c) })
	case plan.Replace:
		b.add(c.Address, b.has(plan.KeysAddress), func(ctx context.Context) error {
			if err := b.e.deleteNetwork(ctx, c); err != nil {
				return err
			}
			return b.e.createNetwork(ctx, c)
		})
	case plan.Update:
		b.add(c.Address, nil, func(ctx context.Context) error { return b.e.updateNetwork(ctx, c) })
	}
}

func (b *builder) machine(c plan.Change) {
	before := b.has(plan.KeysAddress, plan.NetworkAddress(plan.NetworkName))
	switch c.Action {
	case plan.Create:
		b.add(c.Address, before, func(ctx context.Context) error { return b.e.createMachine(ctx, c) })
	case plan.Replace:
		node, etcd := "node."+c.Address[len("machine."):], "etcd."+c.Address[len("machine."):]
		before = append(before, b.drains(node)...)
		before = append(before, b.replacedBefore(c)...)
		if m, ok := b.changes[etcd]; ok && m.Action == plan.Replace {
			before = append(before, etcd+removePart)
		}
		b.add(c.Address, before, func(ctx context.Context) error {
			if err := b.e.deleteMachine(ctx, c); err != nil {
				return err
			}
			return b.e.createMachine(ctx, c)
		})
	case plan.Update:
		if c.Moves() {
			before = append(before, b.movesAfter(c)...)
		}
		b.add(c.Address, before, func(ctx context.Context) error { return b.e.updateMachine(ctx, c) })
	case plan.Delete:
		node := string(plan.Node) + c.Address[len(plan.Machine):]
		etcd := string(plan.Etcd) + c.Address[len(plan.Machine):]
		b.add(c.Address, b.has(node, etcd), func(ctx context.Context) error { return b.e.deleteMachine(ctx, c) })
	}
}

// node adds the steps of one node's change. A node that joins takes three: install (which needs only the machine), join
// (which needs the API and a token), and, once for all, the labels. One that is replaced is drained first, one after another
// in each pool.
func (b *builder) node(c plan.Change) {
	if c.Action == plan.Delete {
		b.add(c.Address, nil, func(ctx context.Context) error { return b.e.leave(ctx, c) })
		return
	}
	m, _ := b.e.member(c.Address)
	switch c.Action {
	case plan.Create, plan.Replace:
		if c.Action == plan.Replace {
			b.add(c.Address+drainPart, b.drainsAfter(c, m), func(ctx context.Context) error { return b.e.leave(ctx, c) })
		}
		after := append(b.has(m.Address(plan.Machine)), b.cpMade...)
		if m.Role == templates.ControlPlane {
			after = append(after, b.balancerMade()...)
		}
		b.add(c.Address+installing, after, func(ctx context.Context) error { return b.e.install(ctx, c, m, !b.founding) })
		b.add(c.Address, []string{c.Address + installing, roleStep}, func(ctx context.Context) error { return b.e.join(ctx, c, m, b.tokens[c.Name]) })
	case plan.Restart:
		b.add(c.Address, slices.Concat(b.restartsAfter(c), b.balancerMade(), b.chain), func(ctx context.Context) error { return b.e.restart(ctx, c, m) })
	case plan.Update:
		b.add(c.Address, append(b.balancerMade(), b.chain...), func(ctx context.Context) error { return b.e.update(ctx, c, m) })
	}
}

// balancerMade is the step that makes the balancer before the API, or moves it to another address, if there is one.
func (b *builder) balancerMade() []string {
	if c, ok := b.changes[plan.BalancerAddress]; ok && (c.Action == plan.Create || c.Moves()) {
		return []string{c.Address}
	}
	return nil
}

// chainBefore is what a membership change waits for, so that its node is drained no earlier.
func (b *builder) chainBefore(address string) []string { return some(b.previous[address]) }

// restartsAfter orders restarts: the control plane one machine after another, then the workers one after another, and all
// after the nodes that leave: moving pods away needs the API.
func (b *builder) restartsAfter(c plan.Change) []string {
	after := append(b.has("machine."+c.Address[len("node."):]), b.leaving...)
	if last := b.before[c.Address]; last != "" {
		after = append(after, last)
	}
	return after
}

// cluster adds the steps that speak to the cluster's API.
func (b *builder) cluster() {
	var installs, nodes []string
	for _, c := range b.p.Changes {
		if c.Kind != plan.Node || c.Action == plan.Delete {
			continue
		}
		if m, _ := b.e.member(c.Address); m.Role == templates.ControlPlane {
			installs = append(installs, b.beforeAPI(c, m)...)
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
	if b.moved > 1 || b.moved == 1 && len(nodes) > 1 {
		b.add(endpointStep, append(slices.Clone(b.chain), nodes...), b.e.endpoints)
	}
	if len(nodes) > 0 {
		b.add(settle, nodes, func(ctx context.Context) error { return b.e.dressAll(ctx, b.tokens.names()) })
	}
}

// beforeAPI are the steps of a control-plane node that the API is waited for after. Where etcd's members change, other
// machines serve it meanwhile.
func (b *builder) beforeAPI(c plan.Change, m plan.Member) []string {
	_, joins := b.changes[m.EtcdAddress()]
	switch {
	case c.Action == plan.Restart && len(b.chain) == 0:
		return []string{c.Address}
	case (c.Action == plan.Create || c.Action == plan.Replace) && (b.founding || !joins):
		return []string{c.Address + installing}
	}
	return nil
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
	listTimeout    = 5 * time.Minute  // of one call that reads from the vendor
	callTimeout    = 20 * time.Minute // of one call that makes or removes something
	beat           = 10 * time.Second // between two words of a step that waits
	askTimeout     = 10 * time.Second
	keepAlive      = 5 * time.Second // a machine that misses three is gone
	redialTimeout  = 15 * time.Second
	bootTimeout    = 2 * time.Minute
	probeTimeout   = 2 * time.Second // of a connection that only shows whether somebody listens
	apiTimeout     = 3 * time.Minute
	quorumTimeout  = 3 * time.Minute
	promoteTimeout = 5 * time.Minute
	joinTimeout    = 5 * time.Minute
)
