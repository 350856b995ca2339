package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// leave moves a node's pods away and takes it out of the cluster. One that does not run has no pods to move: they are started
// elsewhere when it is forgotten.
func (e *Engine) leave(ctx context.Context, c plan.Change) error {
	defer e.becomes(c.Name, false)
	k, err := e.kube(ctx)
	if err != nil {
		return err
	}
	n, there := e.world.Nodes[c.Name]
	if !there || !n.Ready {
		return k.forget(ctx, c.Name)
	}
	if err := e.drain(ctx, c.Name, e.drainTime(c)); err != nil {
		return err
	}
	return k.forget(ctx, c.Name)
}

// drainTime is how long the pods of a node that is no longer in the file may take: what its pool says, if that is left.
func (e *Engine) drainTime(c plan.Change) time.Duration {
	for _, p := range e.Cluster.Pools {
		if strings.HasPrefix(c.Address, "node."+p.Name+"[") {
			return p.Drain
		}
	}
	return 5 * time.Minute
}

// drain moves a node's pods away, honouring disruption budgets for so long. A node whose machine is gone has none to move.
func (e *Engine) drain(ctx context.Context, node string, limit time.Duration) error {
	k, err := e.kube(ctx)
	if err != nil {
		return err
	}
	err = k.drain(ctx, node, int(limit.Seconds()))
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		d := diag.Wrap(err, diag.DrainBlocked, "The pods of %s did not leave within %v, so the machine stays. The node is cordoned: it gets no new pods.", node, limit).
			Next("See what holds them (a disruption budget, or no room elsewhere), mend it and run the same command again, or let the node take pods again:",
				e.again(), "provision kubectl "+e.Cluster.File+" -- uncordon "+node)
		d.Output = lines(exit.Stderr)
		return d
	}
	return err
}

// uncordon lets pods come to a node again.
func (e *Engine) uncordon(ctx context.Context, node string) error {
	k, err := e.kube(ctx)
	if err != nil {
		return err
	}
	return k.uncordon(ctx, node)
}
