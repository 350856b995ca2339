package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
)

// look lists the owner's objects, and waits, at most for the vendor's lag, while the lists cannot show yet what the journal
// says was made a moment ago. wanted are addresses that the coming plan makes anyway.
func (e *Engine) look(ctx context.Context, wanted map[string]bool) error {
	m := e.remember()
	e.world.Known = m.known()
	lag, begun, told := e.Provider.Caps().Lag, time.Now(), time.Time{}
	for {
		asked := time.Now() // a list shows what was there a lag before it was asked for, however long it takes
		if err := e.list(ctx); err != nil {
			return err
		}
		m.drop(&e.world)
		what, until := m.behind(e.world, lag, asked, wanted)
		if what == "" || asked.Sub(begun) > lag+slack {
			break
		}
		if time.Since(told) > beat {
			told = time.Now()
			e.Events(ui.Event{Type: ui.Progress, Address: lookStep, Text: fmt.Sprintf("waiting until the vendor's lists show %s: at most %v", what, time.Until(until).Round(time.Second))})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(max(lag/20, 50*time.Millisecond), 2*time.Second)):
		}
	}
	if err := e.findStrays(ctx, m); err != nil {
		return err
	}
	e.setAside(m)
	return nil
}

// lookStep is the address of events that come before there is a plan.
const lookStep = "vendor"

// list lists the owner's objects of every kind that the vendor has, at once.
func (e *Engine) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	caps := e.Provider.Caps()
	g, ctx := errgroup.WithContext(e.observed(ctx, lookStep))
	w := &e.world
	g.Go(func() error { return listInto(ctx, e, e.Provider.Networks(), &w.Networks) })
	g.Go(func() error { return listInto(ctx, e, e.Provider.Machines(), &w.Machines) })
	if caps.LoadBalancers {
		g.Go(func() error { return listInto(ctx, e, e.Provider.LoadBalancers(), &w.Balancers) })
	}
	if caps.Volumes {
		g.Go(func() error { return listInto(ctx, e, e.Provider.Volumes(), &w.Volumes) })
	}
	if caps.Snapshots {
		g.Go(func() error { return listInto(ctx, e, e.Provider.Volumes().Snapshots(), &w.Snapshots) })
	}
	if err := g.Wait(); err != nil {
		return e.vendorError("list "+e.Cluster.Name, err)
	}
	e.index()
	return nil
}

func listInto[S, O any](ctx context.Context, e *Engine, kind providers.Objects[S, O], to *[]O) (err error) {
	*to, err = kind.List(ctx, e.owner())
	return err
}

// findStrays asks for objects that were made and are not listed: somebody may have taken their tags away. Those that bear no
// owner are ours again; another owner's are not touched.
func (e *Engine) findStrays(ctx context.Context, m *memory) error {
	seen := m.index(e.world)
	var missing []string
	for address, d := range m.made {
		kind, _, _ := strings.Cut(address, ".")
		_, network := seen.networks[d.ID]
		_, machine := seen.machines[d.ID]
		if d.ID != "" && !network && !machine && !seen.named(address) && (kind == string(plan.Network) || kind == string(plan.Machine)) {
			missing = append(missing, address)
		}
	}
	slices.Sort(missing)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.Width)
	for _, address := range missing {
		g.Go(func() error { return e.findStray(gctx, address, m.made[address].entry) })
	}
	if err := g.Wait(); err != nil {
		return e.vendorError("look for what was made before", err)
	}
	e.index()
	return nil
}

func (e *Engine) findStray(ctx context.Context, address string, en entry) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var err error
	if kind, _, _ := strings.Cut(address, "."); plan.Kind(kind) == plan.Network {
		var n providers.Network
		if n, err = e.Provider.Networks().Get(ctx, en.ID); err == nil && e.ours(&n.Meta, en) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.world.Networks = append(e.world.Networks, n)
		}
	} else {
		var o providers.Machine
		if o, err = e.Provider.Machines().Get(ctx, en.ID); err == nil && e.ours(&o.Meta, en) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.world.Machines = append(e.world.Machines, o)
		}
	}
	if errors.Is(err, providers.NotFound) {
		return nil
	}
	return err
}

// ours says whether an object that was made here, and is not listed, is still the cluster's, and gives it its name back.
func (e *Engine) ours(m *providers.Meta, en entry) bool {
	if m.Owner != "" && m.Owner != e.owner() {
		return false
	}
	if m.Name == "" {
		m.Name = en.Name
	}
	return m.Name == en.Name
}

// index sorts the world's objects by name, for those who look for one.
func (e *Engine) index() {
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.SortFunc(e.world.Networks, func(a, b providers.Network) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(e.world.Machines, func(a, b providers.Machine) int { return strings.Compare(a.Name, b.Name) })
	e.byName = make(map[string]providers.Machine, len(e.world.Machines))
	for _, m := range e.world.Machines {
		e.byName[m.Name] = m
	}
}

// wanted are the addresses of the machines and the network that the file asks for.
func (e *Engine) wanted() map[string]bool {
	w := map[string]bool{plan.NetworkAddress(plan.NetworkName): true}
	for _, m := range e.members() {
		w[m.Address(plan.Machine)] = true
	}
	return w
}

// observed returns a context that tells, as progress of the address, what a call to the vendor waits for.
func (e *Engine) observed(ctx context.Context, address string) context.Context {
	return providers.WithObserver(ctx, func(w providers.Wait) {
		e.Events(ui.Event{Type: ui.Progress, Address: address, Text: w.String()})
	})
}
