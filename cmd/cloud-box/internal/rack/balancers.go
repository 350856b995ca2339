//go:build linux

package rack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/provisionhq/provision/providers"
)

// A Front is a balancer to have.
type Front struct {
	Name    string // the API's, a DNS label, unique in its network
	Network string // the API's
	Address netip.Addr
	Ports   []providers.BalancerPort
	Targets []string // the API's machines; those that do not run are left out
}

// SetFronts makes the network's balancers those that are asked for, and returns where each is reached.
func (r *Rack) SetFronts(ctx context.Context, network string, want []Front) (map[string]netip.Addr, error) {
	n, ok := r.network(network)
	if !ok {
		return nil, nil
	}
	have, err := r.p.LoadBalancers().List(ctx, n.Owner)
	if err != nil {
		return nil, err
	}
	at := map[string]netip.Addr{}
	for _, f := range want {
		b, err := r.front(ctx, n, f, have)
		if err != nil {
			return nil, err
		}
		at[f.Name] = b.Address
	}
	for _, b := range have {
		if _, ok := at[b.Name]; !ok {
			if err := r.p.LoadBalancers().Delete(ctx, b.ID); err != nil {
				return nil, err
			}
		}
	}
	return at, nil
}

// SetFront makes or changes one balancer, and returns where it is reached.
func (r *Rack) SetFront(ctx context.Context, f Front) (netip.Addr, error) {
	n, ok := r.network(f.Network)
	if !ok {
		return netip.Addr{}, fmt.Errorf("the box has no network %q", f.Network)
	}
	have, err := r.p.LoadBalancers().List(ctx, n.Owner)
	if err != nil {
		return netip.Addr{}, err
	}
	r.mu.Lock()
	r.fronts[f.Name] = f
	r.mu.Unlock()
	b, err := r.front(ctx, n, f, have)
	return b.Address, err
}

// refront lets the balancers of SetFront know that a machine has come or gone.
func (r *Rack) refront(ctx context.Context, id string) error {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.fronts))
	r.mu.Unlock()
	var errs []error
	for _, f := range all {
		if slices.Contains(f.Targets, id) {
			_, err := r.SetFront(ctx, f)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// DropFront removes a balancer, whatever network it is in. Removing what is not there succeeds.
func (r *Rack) DropFront(ctx context.Context, name string) error {
	r.mu.Lock()
	delete(r.fronts, name)
	r.mu.Unlock()
	var errs []error
	for _, id := range r.Networks() {
		n, _ := r.network(id)
		have, err := r.p.LoadBalancers().List(ctx, n.Owner)
		errs = append(errs, err)
		for _, b := range have {
			if b.Name == name {
				errs = append(errs, r.p.LoadBalancers().Delete(ctx, b.ID))
			}
		}
	}
	return errors.Join(errs...)
}

// front makes or changes one balancer.
func (r *Rack) front(ctx context.Context, n providers.Network, f Front, have []providers.LoadBalancer) (providers.LoadBalancer, error) {
	spec := providers.LoadBalancerSpec{Owner: n.Owner, Name: f.Name, Network: n.ID, Internal: true, Address: f.Address, Ports: f.Ports}
	for _, id := range f.Targets {
		if t, ok := r.running(id); ok {
			spec.Targets = append(spec.Targets, t)
		}
	}
	if i := slices.IndexFunc(have, func(b providers.LoadBalancer) bool { return b.Name == f.Name && !b.Partial }); i >= 0 {
		return r.p.LoadBalancers().Update(ctx, have[i].ID, spec)
	}
	b, err := r.p.LoadBalancers().Create(ctx, spec)
	if providers.KindOf(err) == providers.Exists {
		err = nil
	}
	return b, err
}

// running returns the local machine behind one that runs.
func (r *Rack) running(id string) (providers.ID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.machines[id]
	if m == nil || m.phase != Running {
		return "", false
	}
	return m.made.ID, true
}
