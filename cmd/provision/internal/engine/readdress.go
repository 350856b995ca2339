package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Where the file gives the network another range, each machine in turn gets an address of it while it lives on: its pods leave
// it, the vendor changes its address, its node is configured anew (certificates, etcd's peer, the kubelet's address), and
// all others are told, before the next one moves. So etcd keeps its quorum and whoever knows one API server knows another.

// movesAfter is what the move of a machine waits for: that the one before it has arrived, and is a node again.
func (b *builder) movesAfter(c plan.Change) []string {
	node := string(plan.Node) + strings.TrimPrefix(c.Address, string(plan.Machine))
	return append(some(b.before[node]), b.balancerMade()...)
}

// leaves prepares a node for another address of its machine: pods go elsewhere, and nothing is asked of it meanwhile.
func (e *Engine) leaves(ctx context.Context, m plan.Member) error {
	switch n, there := e.world.Nodes[m.Name]; {
	case m.Role == templates.ControlPlane && e.Cluster.ControlPlane.Count > 1:
		e.down(m.Name, true)
	case m.Role == templates.Worker && there && n.Ready:
		return e.drain(ctx, m.Name, m.Pool.Drain)
	}
	return nil
}

// arrived ends the move of a machine whose node is ready at its new address: all others learn where it is, and the control plane
// is as it was before.
func (e *Engine) arrived(ctx context.Context, address string, m plan.Member) error {
	if m.Role != templates.ControlPlane {
		return nil
	}
	e.down(m.Name, false)
	if err := e.spread(ctx, address); err != nil {
		return err
	}
	mach, ok := e.machine(m.Name)
	if !ok {
		return fmt.Errorf("machine %s is not there: %w", m.Name, providers.NotFound)
	}
	return e.steady(ctx, address, mach)
}

// steady waits until all members of etcd are well, and know the machine at its address: only then another one may move.
func (e *Engine) steady(ctx context.Context, address string, m providers.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, quorumTimeout)
	defer cancel()
	defer e.waiting(address, "all members of etcd are to be well", quorumTimeout)()
	for {
		w, err := e.askQuorum(ctx, e.controlMachines())
		if err == nil {
			if err = unsteady(w.said, m); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return diag.Wrap(err, diag.EtcdFailed, "%s has another address, and etcd is not well with it after %v: %s. No other machine was moved.", m.Name, quorumTimeout, firstLine(err)).
				Next("See what the machines say, mend it, and go on:", "provision status "+e.Cluster.File, e.again())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// unsteady says why etcd is not as it should be with a machine at its address; nil if it is.
func unsteady(r templates.EtcdReport, m providers.Machine) error {
	i, ok := r.Find(m.Name)
	switch {
	case !ok:
		return fmt.Errorf("%s is no member", m.Name)
	case i.Address != m.Private:
		return fmt.Errorf("the members look for %s at %s, and it is at %s", m.Name, i.Address, m.Private)
	}
	for _, i := range r.Members {
		if !i.Healthy {
			return fmt.Errorf("%s: %s", i.Name, i.Problem)
		}
	}
	return nil
}
