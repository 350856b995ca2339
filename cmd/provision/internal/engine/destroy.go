package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
	"golang.org/x/sync/errgroup"
)

// PlanDestroy lists all that the owner has at the vendor. It needs no secrets: ownership is the vendor's tags. What the
// journal says was begun and the vendor's lists cannot show yet is waited for.
func (e *Engine) PlanDestroy(ctx context.Context) (*plan.Plan, error) {
	e.destroying, e.warnings = true, nil
	settle := e.prices(ctx)
	err := e.look(ctx, nil)
	if settle(); err != nil {
		return nil, err
	}
	if e.want.UID = e.State.UID(); e.State.KnowsUID() {
		if err := e.checkOwner(); err != nil {
			return nil, err
		}
	} else if e.want.UID = e.vendorUID(); e.want.UID != "" { // so that a destroy that is cut off is gone on with
		if err := e.adopt(e.want.UID); err != nil {
			return nil, err
		}
	}
	e.strangers()
	if err := e.gone(1, "To destroy it here would remove only its state, with its secrets, and leave what runs elsewhere to itself."); err != nil {
		return nil, err
	}
	return plan.Destroy(e.Cluster.Name, e.world, e.Keep...), nil
}

// Destroy removes what the plan lists: balancers and machines at once, then volumes and the network; looks again, and
// removes the state if nothing is left.
func (e *Engine) Destroy(ctx context.Context, p *plan.Plan, stop <-chan struct{}) error {
	b := newBuilder(e, p)
	var first, all []string
	for _, c := range p.Changes {
		all = append(all, c.Address)
		if c.Kind == plan.Balancer || c.Kind == plan.Machine {
			first = append(first, c.Address)
		}
	}
	remembered := e.State.Exists()
	if e.Cluster.Autoscales() {
		b.add(sweepStep, b.controlPlane(p), e.sweep)
		first, all = append(first, sweepStep), append(all, sweepStep)
	}
	for _, c := range p.Changes {
		b.remove(c, first)
	}
	b.add(auditStep, all, func(ctx context.Context) error { return e.audit(ctx, remembered) })
	if b.err != nil {
		return b.err
	}
	if err := e.run(ctx, &b.g, stop); err != nil {
		select {
		case <-stop: // it said what was not begun
			return err
		default:
			return e.rest(ctx, err)
		}
	}
	return e.State.Remove()
}

// sweepStep removes what the cluster made while it was destroyed.
const sweepStep = "sweep"

// controlPlane are the addresses of the plan's machines of the control plane.
func (b *builder) controlPlane(p *plan.Plan) (addresses []string) {
	for _, c := range p.Changes {
		i := slices.IndexFunc(b.e.world.Machines, func(m providers.Machine) bool { return m.Name == c.Name && m.Pool == plan.ControlPlanePool })
		if c.Kind == plan.Machine && i >= 0 {
			addresses = append(addresses, c.Address)
		}
	}
	return addresses
}

// sweep deletes machines of pools that the cluster itself decided on, and that it made after the plan: while machines go, pods look for
// others. With the control plane gone nobody makes more.
func (e *Engine) sweep(ctx context.Context) error {
	ms, err := e.Provider.Machines().List(ctx, providers.Owner(e.Cluster.Name))
	if err != nil {
		return e.vendorError("list machines", err)
	}
	known := map[providers.ID]bool{}
	for _, m := range e.world.Machines {
		known[m.ID] = true
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(e.Width)
	for _, m := range ms {
		uid := m.Tags[plan.UIDTag]
		if known[m.ID] || !e.Cluster.Autoscaled(m.Pool) || uid != "" && uid != e.want.UID {
			continue
		}
		g.Go(func() error {
			return e.vendor(ctx, plan.Change{Address: plan.MachineAddress(e.Cluster.Name, m.Name, m.Pool), Kind: plan.Machine, Name: m.Name}, "delete it",
				func(ctx context.Context) error { return e.Provider.Machines().Delete(ctx, m.ID) })
		})
	}
	return g.Wait()
}

// rest adds to the errors of a destroy what it left.
func (e *Engine) rest(ctx context.Context, err error) error {
	if ctx.Err() != nil || e.look(ctx, nil) != nil { // what is wrong with the vendor was said before
		return err
	}
	left := e.left()
	if len(left) == 0 {
		return err
	}
	d := diag.New(diag.DestroyLeft, "The vendor still lists:\n\n%s\n\nWhy is said above. The state is kept.", strings.Join(left, "\n")).
		Next("Take away what is in the way, and run the same command again:", e.again())
	return append(diag.AsDiagnostics(err), d)
}

// left lists what the owner has and is not to be kept.
func (e *Engine) left() (left []string) {
	for _, c := range plan.Destroy(e.Cluster.Name, e.world, e.Keep...).Changes {
		left = append(left, fmt.Sprintf("- %s (%s, ID %s)", c.Address, c.Name, c.ID))
	}
	return left
}

// auditStep looks at the end whether anything is left.
const auditStep = "audit"

// remove adds the step that deletes an object. first are the objects that others cannot go before.
func (b *builder) remove(c plan.Change, first []string) {
	e := b.e
	switch c.Kind {
	case plan.Machine:
		b.add(c.Address, nil, func(ctx context.Context) error { return e.deleteMachine(ctx, c) })
	case plan.Network:
		b.add(c.Address, first, func(ctx context.Context) error { return e.deleteNetwork(ctx, c) })
	case plan.Balancer:
		b.add(c.Address, nil, func(ctx context.Context) error {
			return e.deleteObject(ctx, c, idOf(e.world.Balancers, c.Name), e.Provider.LoadBalancers().Delete)
		})
	case plan.Volume:
		b.add(c.Address, first, func(ctx context.Context) error {
			return e.deleteObject(ctx, c, idOf(e.world.Volumes, c.Name), e.Provider.Volumes().Delete)
		})
	case plan.Snapshot:
		b.add(c.Address, first, func(ctx context.Context) error {
			return e.deleteObject(ctx, c, idOf(e.world.Snapshots, c.Name), e.Provider.Volumes().Snapshots().Delete)
		})
	}
}

func idOf[O providers.Identified](all []O, name string) providers.ID {
	for _, o := range all {
		if m := o.GetMeta(); m.Name == name {
			return m.ID
		}
	}
	return ""
}

func (e *Engine) deleteObject(ctx context.Context, c plan.Change, id providers.ID, del func(context.Context, providers.ID) error) error {
	if err := e.vendor(ctx, c, "delete it", func(ctx context.Context) error { return del(ctx, id) }); err != nil {
		return err
	}
	return e.removed(c, id)
}

// audit lists once more what the owner has. Without a journal nobody knows what was made a moment ago: then it waits until
// the vendor's lists cannot miss it.
func (e *Engine) audit(ctx context.Context, remembered bool) error {
	if lag := e.Provider.Caps().Lag; lag > 0 && !remembered {
		if err := e.sit(ctx, auditStep, "the vendor's lists may miss what is new", time.Until(e.start.Add(lag))); err != nil {
			return err
		}
	}
	if err := e.look(ctx, nil); err != nil {
		return err
	}
	if left := e.left(); len(left) > 0 {
		return diag.New(diag.DestroyLeft, "After everything in the plan was removed, the vendor still lists:\n\n%s", strings.Join(left, "\n")).
			Next("Somebody else may be making objects for this cluster. Run the same command again:", "provision destroy "+e.Cluster.File)
	}
	outcome := "0 objects left"
	if p := plan.Destroy(e.Cluster.Name, e.world, e.Keep...); len(p.Kept) > 0 {
		outcome = fmt.Sprintf("0 objects left but %d kept: %s", len(p.Kept), strings.Join(p.Kept, ", "))
	}
	if len(e.others) > 0 {
		outcome += "; left alone, as the UID is another cluster's: " + strings.Join(e.others, ", ")
	}
	e.tell(auditStep, outcome)
	return nil
}

// sit waits, and says so.
func (e *Engine) sit(ctx context.Context, address, why string, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	e.Events(ui.Event{Type: ui.Progress, Address: address, Text: fmt.Sprintf("%s: waiting %v", why, d.Round(time.Second))})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
