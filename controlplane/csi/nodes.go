package csi

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
)

// nodesKept is how long a list of machines is believed about machines that are in it. Who is not in it is looked for again.
const nodesKept = time.Minute

// A nodes knows which machine a node is. It asks for all machines in one call, and only when it must.
type nodes struct {
	list func(context.Context) ([]providers.Machine, error)

	mu     sync.Mutex
	asked  time.Time
	byName map[string]providers.ID
	byID   map[providers.ID]string
	in     []string // zones that have machines, sorted
}

// machine returns the machine that a node is; NotFound if there is none. Where fresh is set no list of before is believed.
func (n *nodes) machine(ctx context.Context, node string, fresh bool) (providers.ID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, ok := n.byName[node]; ok && !fresh && time.Since(n.asked) < nodesKept {
		return id, nil
	}
	if err := n.refresh(ctx); err != nil {
		return "", err
	}
	if id, ok := n.byName[node]; ok {
		return id, nil
	}
	return "", status.Errorf(codes.NotFound, "node %s: the cluster has no machine of that name", node)
}

// names returns the names of nodes by the machines that they are. Machines that the cluster does not have are left out.
func (n *nodes) names(ctx context.Context, machines []providers.ID) (map[providers.ID]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := func(m providers.ID) bool { return n.byID[m] != "" }
	if slices.ContainsFunc(machines, func(m providers.ID) bool { return !known(m) }) {
		if err := n.refresh(ctx); err != nil {
			return nil, err
		}
	}
	found := map[providers.ID]string{}
	for _, m := range machines {
		if known(m) {
			found[m] = n.byID[m]
		}
	}
	return found, nil
}

// zones returns those that have machines, sorted.
func (n *nodes) zones(ctx context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.asked) >= nodesKept {
		if err := n.refresh(ctx); err != nil {
			return nil, err
		}
	}
	return slices.Clone(n.in), nil
}

// refresh asks the vendor. The lock is held: who comes meanwhile waits for this answer.
func (n *nodes) refresh(ctx context.Context) error {
	all, err := n.list(ctx)
	if err != nil {
		return err
	}
	n.asked, n.byName, n.byID, n.in = time.Now(), map[string]providers.ID{}, map[providers.ID]string{}, nil
	for _, m := range all {
		n.byName[m.Name], n.byID[m.ID] = m.ID, m.Name
		if m.Zone != "" {
			n.in = append(n.in, m.Zone)
		}
	}
	slices.Sort(n.in)
	n.in = slices.Compact(n.in)
	return nil
}
