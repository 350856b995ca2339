package engine

import (
	"context"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// balancer adds the step of the balancer before the API. It needs the machines that it forwards to; the control plane's
// certificates need its address.
func (b *builder) balancer(c plan.Change) {
	switch c.Action {
	case plan.Delete:
		b.add(c.Address, b.chain, func(ctx context.Context) error {
			return b.e.deleteObject(ctx, c, idOf(b.e.world.Balancers, c.Name), b.e.Provider.LoadBalancers().Delete)
		})
	case plan.Update:
		after := b.chain
		if c.Moves() {
			after = b.has(plan.NetworkAddress(plan.NetworkName)) // before the nodes that are to have its address in their certificates
		}
		b.add(c.Address, after, func(ctx context.Context) error { return b.e.setBalancer(ctx, c) })
	default:
		b.add(c.Address, append(b.has(plan.NetworkAddress(plan.NetworkName)), b.cpMade...), func(ctx context.Context) error { return b.e.setBalancer(ctx, c) })
	}
}

// setBalancer makes the balancer, or changes what differs.
func (e *Engine) setBalancer(ctx context.Context, c plan.Change) error {
	spec := plan.BalancerSpec(e.Cluster, e.want.UID, e.networkID(), e.machines())
	have, there := e.world.APIBalancer()
	var lb providers.LoadBalancer
	err := e.vendor(ctx, c, "set the balancer", func(ctx context.Context) (err error) {
		if there && !have.Partial {
			spec.Tags = merged(have.Tags, spec.Tags)
			lb, err = e.Provider.LoadBalancers().Update(ctx, have.ID, spec)
			return err
		}
		lb, err = e.Provider.LoadBalancers().Create(ctx, spec)
		return err
	})
	if refused(lb.Meta, err) {
		return err
	}
	e.mu.Lock()
	e.want.Balancer = plan.BalancerNames(lb)
	e.mu.Unlock()
	return e.made(c, entry{ID: lb.ID}, strings.Join(plan.BalancerNames(lb), ", "))
}
