package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// PlanDestroy lists all that the owner has at the vendor. It needs no secrets: ownership is the vendor's tags.
func (e *Engine) PlanDestroy(ctx context.Context) (*plan.Plan, error) {
	if err := e.look(ctx); err != nil {
		return nil, err
	}
	for _, n := range e.world.Networks {
		if uid := n.Tags[uidTag]; e.State.Exists() {
			if err := e.State.CheckUID(uid); err != nil {
				return nil, err
			}
		}
	}
	return plan.Destroy(e.Cluster.Name, e.world.Networks, e.world.Machines), nil
}

// Destroy removes what the plan lists, all machines at once and then the network, looks again, and removes the state if
// nothing is left.
func (e *Engine) Destroy(ctx context.Context, p *plan.Plan, stop <-chan struct{}) error {
	b := &builder{e: e, p: p}
	var machines, all []string
	for _, c := range p.Changes {
		if c.Kind == plan.Machine {
			machines = append(machines, c.Address)
			b.machine(c)
		}
	}
	for _, c := range p.Changes {
		if c.Kind == plan.Network {
			all = append(all, c.Address)
			b.add(c.Address, machines, func(ctx context.Context) error { return b.deleteNetwork(ctx, c) })
		}
	}
	b.add(auditStep, append(all, machines...), e.audit)
	if b.err != nil {
		return b.err
	}
	if err := e.run(ctx, &b.g, stop); err != nil {
		return err
	}
	return e.State.Remove()
}

// auditStep looks at the end whether anything is left.
const auditStep = "audit"

func (b *builder) deleteNetwork(ctx context.Context, c plan.Change) error {
	for _, n := range b.e.world.Networks {
		if n.Name != c.Name {
			continue
		}
		if err := b.e.intent(c); err != nil {
			return err
		}
		if err := b.e.Provider.Networks().Delete(ctx, n.ID); err != nil {
			return err
		}
		return b.e.done(c, n.ID, "")
	}
	return nil
}

// audit lists once more what the owner has.
func (e *Engine) audit(ctx context.Context) error {
	if err := e.look(ctx); err != nil {
		return err
	}
	var left []string
	for _, c := range plan.Destroy(e.Cluster.Name, e.world.Networks, e.world.Machines).Changes {
		left = append(left, fmt.Sprintf("- %s (%s)", c.Address, c.Name))
	}
	if len(left) > 0 {
		return diag.New(diag.DestroyLeft, "After everything in the plan was removed, the vendor still lists:\n\n%s", strings.Join(left, "\n")).
			Next("Somebody else may be making machines for this cluster. Run the same command again:", "provision destroy "+e.Cluster.File)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outcomes[auditStep] = "0 objects left"
	return nil
}
