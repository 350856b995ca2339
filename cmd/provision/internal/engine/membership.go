package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
	"golang.org/x/sync/errgroup"
)

// Names of the parts of a membership change, behind its address.
const (
	removePart = " remove"
	addPart    = " add"
	drainPart  = " drain"
	installing = " install"
)

// endpointStep gives every node the addresses that the control plane has in the end.
const endpointStep = "node endpoints"

// memberships adds the steps that change etcd's members, one after another. It sets what nodes wait for that are to know the
// new members.
func (b *builder) memberships() {
	last := ""
	many := len(b.p.OfKind(plan.Etcd)) > 1
	for _, c := range b.membersInOrder() {
		if c.Action == plan.Create && b.founding {
			b.add(c.Address, []string{apiStep}, nil)
			continue
		}
		if c.Action == plan.Delete {
			node := string(plan.Node) + c.Address[len(plan.Etcd):]
			b.add(c.Address, append(some(last), b.has(node)...), func(ctx context.Context) error { return b.e.etcdRemove(ctx, c) })
			last = c.Address
			continue
		}
		last = b.membership(c, last)
		if b.moved++; many && c.Action == plan.Replace {
			last = b.spread(c, last)
		}
	}
	b.chain = some(last)
}

func some(address string) []string {
	if address == "" {
		return nil
	}
	return []string{address}
}

// membership adds the steps of one member that joins, or takes the place of another, and returns the last of them.
func (b *builder) membership(c plan.Change, last string) string {
	place := strings.TrimPrefix(c.Address, string(plan.Etcd)+".")
	machine, node := "machine."+place, "node."+place
	before := some(last)
	b.previous[c.Address] = last
	if c.Action == plan.Replace {
		after := slices.Concat(before, b.drains(node))
		b.add(c.Address+removePart, after, func(ctx context.Context) error { return b.e.etcdRemove(ctx, c) })
		before = []string{c.Address + removePart}
	}
	b.add(c.Address+addPart, slices.Concat(before, b.has(machine)), func(ctx context.Context) error { return b.e.etcdAdd(ctx, c) })
	after := []string{c.Address + addPart}
	n, follows := b.changes[node]
	follows = follows && (n.Action == plan.Create || n.Action == plan.Replace)
	if follows {
		after = append(after, node+installing)
	}
	b.add(c.Address, after, func(ctx context.Context) error { return b.e.etcdPromote(ctx, c) })
	if follows && n.Action == plan.Replace {
		return node
	}
	return c.Address
}

// spread adds the step that tells all who use the API where a machine of the control plane is now, before the next one goes:
// else those who know only the old ones would be without any in the end.
func (b *builder) spread(c plan.Change, last string) string {
	address := endpointStep + " " + strings.TrimPrefix(c.Address, string(plan.Etcd)+".")
	b.add(address, []string{last}, func(ctx context.Context) error {
		if lb, ok := b.changes[plan.BalancerAddress]; ok && lb.Action == plan.Update {
			if err := b.e.setBalancer(ctx, lb); err != nil {
				return err
			}
		}
		return b.e.spread(ctx, address)
	})
	return address
}

// drains is the step that moves a node's pods away before its machine is replaced, if there is one.
func (b *builder) drains(node string) []string {
	if c, ok := b.changes[node]; ok && c.Action == plan.Replace {
		return []string{node + drainPart}
	}
	return nil
}

// down notes that a control-plane machine is not to be asked.
func (e *Engine) down(name string, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.downs[name] = yes
	e.apiHost = ""
}

func (e *Engine) isDown(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.downs[name]
}

// controlMachines are the control plane's machines that are there, those that the file no longer asks for included.
func (e *Engine) controlMachines() []providers.Machine {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ms []providers.Machine
	for _, m := range e.byName {
		if m.Pool == plan.ControlPlanePool && !m.Partial && m.State != providers.Stopped && m.SSH.IsValid() && !e.downs[m.Name] {
			ms = append(ms, m)
		}
	}
	slices.SortFunc(ms, func(a, b providers.Machine) int { return strings.Compare(a.Name, b.Name) })
	return ms
}

// snapshot copies etcd's data to the disk of a node that is part of the quorum, before its members change.
func (e *Engine) snapshot(ctx context.Context, address string, h ssh.Host) error {
	s, err := bootstrap.EtcdSnapshot(ctx, h)
	if err != nil {
		return e.etcdError(err, "A snapshot of etcd could not be made, so its members were left as they are")
	}
	e.Events(ui.Event{Type: ui.Progress, Address: address, Text: fmt.Sprintf("snapshot %s, %d MiB", s.Path, s.Size>>20)})
	return nil
}

// etcdRemove takes a member out of etcd.
func (e *Engine) etcdRemove(ctx context.Context, c plan.Change) error {
	if err := e.intent(c); err != nil {
		return err
	}
	leaving := c.Action == plan.Delete || c.Action == plan.Replace
	h, r, err := e.quorumWithout(ctx, c.Address, c.Name)
	if err != nil {
		return err
	}
	if _, ok := r.Find(c.Name); ok {
		if err := e.snapshot(ctx, c.Address, h); err != nil {
			return err
		}
		if err := bootstrap.EtcdRemove(ctx, h, c.Name); err != nil {
			return e.etcdError(err, fmt.Sprintf("The member %s of etcd was not removed", c.Name))
		}
	}
	if leaving {
		e.down(c.Name, true)
	}
	if c.Action == plan.Delete {
		return e.removed(c, "")
	}
	return e.wipe(ctx, c)
}

// wipe puts aside the data of a member that is of no use, on a machine that stays.
func (e *Engine) wipe(ctx context.Context, c plan.Change) error {
	host := e.world.Hosts[c.Name]
	if host.Etcd != templates.EtcdRemoved && host.Etcd != templates.EtcdForeign && host.Etcd != templates.EtcdLost {
		return nil
	}
	m, ok := e.machine(c.Name)
	if !ok {
		return nil
	}
	h, err := e.host(ctx, m)
	if err != nil {
		return err
	}
	if err := bootstrap.EtcdWipe(ctx, h); err != nil {
		return e.etcdError(err, fmt.Sprintf("The data of etcd on %s, which is of no use, was not put aside", c.Name))
	}
	return nil
}

// etcdAdd takes the machine of a member into etcd, without a vote.
func (e *Engine) etcdAdd(ctx context.Context, c plan.Change) error {
	if err := e.intent(c); err != nil {
		return err
	}
	m, ok := e.machine(c.Name)
	if !ok {
		return fmt.Errorf("machine %s is not there: %w", c.Name, providers.NotFound)
	}
	h, r, err := e.quorumWithout(ctx, c.Address, c.Name)
	if err != nil {
		return err
	}
	if i, ok := r.Find(m.Private.String()); ok && (i.Name == c.Name || i.Name == "") {
		return nil // an earlier command was cut off here
	}
	if err := e.snapshot(ctx, c.Address, h); err != nil {
		return err
	}
	if i, ok := r.Find(c.Name); ok && i.Address != m.Private { // of the machine that was there before
		if err := bootstrap.EtcdRemove(ctx, h, i.ID); err != nil {
			return e.etcdError(err, fmt.Sprintf("The member of etcd on the machine that %s was before was not removed", c.Name))
		}
	}
	if _, err := bootstrap.EtcdAdd(ctx, h, c.Name, m.Private); err != nil {
		return e.etcdError(err, fmt.Sprintf("The member %s was not taken into etcd", c.Name))
	}
	return nil
}

// etcdPromote gives a member its vote when it is in step.
func (e *Engine) etcdPromote(ctx context.Context, c plan.Change) error {
	h, _, err := e.quorumWithout(ctx, c.Address, c.Name)
	if err != nil {
		return err
	}
	say := func(line string) { e.Events(ui.Event{Type: ui.Progress, Address: c.Address, Text: line}) }
	if err := bootstrap.EtcdPromote(ctx, h, c.Name, promoteTimeout, say); err != nil {
		return e.etcdError(err, fmt.Sprintf("The member %s of etcd got no vote", c.Name))
	}
	e.down(c.Name, false)
	return e.made(c, entry{}, "votes")
}

// etcdError explains what a node said of a change of members.
func (e *Engine) etcdError(err error, what string) error {
	d := diag.Wrap(err, diag.EtcdFailed, "%s.", what).Next("The lines above are the node's own. What blocks machines from one another, doctor finds. When the cause is mended, go on:", "provision doctor "+e.Cluster.File, e.again())
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		d.Output = lines(exit.Stderr)
	} else {
		d.Detail += " " + upper(firstLine(err)) + "."
	}
	return d
}

// reconfigure gives a running node its configuration; nothing restarts that need not.
func (e *Engine) reconfigure(ctx context.Context, address string, m plan.Member) error {
	t, err := e.target(ctx, m, noToken)
	if err != nil {
		return err
	}
	t.JoinEtcd = true // whatever is there, or not: it founds nothing
	return bootstrap.Run(ctx, t, bootstrap.Reconfigure(), e.report(address))
}

// spread gives the nodes that there are the addresses that the control plane has now. A node that cannot be told is told at
// the end.
func (e *Engine) spread(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(e.Width)
	for _, m := range e.members() {
		if !e.isNode(m.Name) {
			continue
		}
		g.Go(func() error {
			if err := e.reconfigure(ctx, address, m); err != nil {
				e.Events(ui.Event{Type: ui.Progress, Address: address, Text: fmt.Sprintf("%s is told later: %s", m.Name, firstLine(err))})
			}
			return nil
		})
	}
	return g.Wait()
}

// becomes notes that a machine is a node from now on, or no longer is one.
func (e *Engine) becomes(name string, node bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes[name] = node
}

// isNode says whether a machine is a node that runs.
func (e *Engine) isNode(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now, ok := e.nodes[name]; ok {
		return now
	}
	h := e.world.Hosts[name]
	return h.Node != nil && h.Running
}
