package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
)

// vendor makes one call that changes something at the vendor: the intent is on disk before, and it tells
// every few seconds what it waits for. The provider has a deadline for it, behind the wait for its turn.
func (e *Engine) vendor(ctx context.Context, c plan.Change, what string, call func(context.Context) error) error {
	if err := e.intent(c); err != nil {
		return err
	}
	defer e.waiting(c.Address, "the vendor is to "+what, callTimeout)()
	return call(e.observed(ctx, c.Address))
}

// waiting tells now and then what a step waits for, until what it returns is called.
func (e *Engine) waiting(address, what string, limit time.Duration) (stop func()) {
	done, start := make(chan struct{}), time.Now()
	timer := time.AfterFunc(beat, func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			e.Events(ui.Event{Type: ui.Progress, Address: address, Text: fmt.Sprintf("%s: %v of at most %v", what, time.Since(start).Round(time.Second), limit)})
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		timer.Stop()
		close(done)
	}
}

// refused says whether a create made nothing that is ours. What exists already is the cluster's own, if the vendor returns it; else the
// name is somebody else's.
func refused(m providers.Meta, err error) bool {
	return err != nil && (providers.KindOf(err) != providers.Exists || m.ID == "")
}

func (e *Engine) createNetwork(ctx context.Context, c plan.Change) error {
	c.Action = plan.Create // also as the second half of a replacement: the first is behind us
	spec := plan.NetworkSpec(e.Cluster, e.want.UID)
	var n providers.Network
	err := e.vendor(ctx, c, "create it", func(ctx context.Context) (err error) {
		n, err = e.Provider.Networks().Create(ctx, spec)
		return err
	})
	if refused(n.Meta, err) {
		return err
	}
	if err := e.elses(n.Meta); err != nil {
		return err
	}
	e.setNetwork(n)
	if err := e.made(c, entry{ID: n.ID, Network: &spec}, n.CIDR.String()); err != nil {
		return err
	}
	return e.astray(n.CIDR).Err() // the vendor chose the range
}

func (e *Engine) updateNetwork(ctx context.Context, c plan.Change) error {
	have, ok := e.network(c.Name)
	if !ok {
		return fmt.Errorf("network %s is not there: %w", c.Name, providers.NotFound)
	}
	spec := plan.NetworkSpec(e.Cluster, e.want.UID)
	asked := spec
	asked.Tags = merged(have.Tags, spec.Tags)
	for _, z := range have.Zones { // machines may still be in it
		if !slices.Contains(asked.Zones, z) {
			asked.Zones = append(slices.Clone(asked.Zones), z)
		}
	}
	var n providers.Network
	err := e.vendor(ctx, c, "change it", func(ctx context.Context) (err error) {
		n, err = e.Provider.Networks().Update(ctx, have.ID, asked)
		return err
	})
	if err != nil {
		return err
	}
	e.setNetwork(n)
	return e.made(c, entry{ID: n.ID, Network: &spec}, "changed")
}

func (e *Engine) deleteNetwork(ctx context.Context, c plan.Change) error {
	n, ok := e.network(c.Name)
	if !ok {
		return nil
	}
	if err := e.vendor(ctx, c, "delete it", func(ctx context.Context) error { return e.Provider.Networks().Delete(ctx, n.ID) }); err != nil {
		return err
	}
	return e.removed(c, n.ID)
}

// merged are the tags that are there with those that are wanted: the others are somebody else's and stay.
func merged(have, want map[string]string) map[string]string {
	all := maps.Clone(have)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, want)
	return all
}

func (e *Engine) createMachine(ctx context.Context, c plan.Change) error {
	m, ok := e.member(c.Address)
	if !ok {
		return fmt.Errorf("%s is not in the file", c.Address)
	}
	c.Action = plan.Create // also as the second half of a replacement: the first is behind us
	spec := m.MachineSpec(e.Cluster, e.want.Identity, e.networkID())
	asked := spec
	asked.AuthorizedKeys = []string{e.secrets.public}
	var o providers.Machine
	err := e.vendor(ctx, c, "create it", func(ctx context.Context) (err error) {
		o, err = e.Provider.Machines().Create(ctx, asked)
		return err
	})
	if refused(o.Meta, err) {
		return err
	}
	if err := e.elses(o.Meta); err != nil {
		return err
	}
	e.hangUp(o.Name)
	e.setMachine(o)
	if err := e.runs(o); err != nil {
		return err
	}
	return e.made(c, entry{ID: o.ID, Machine: &spec}, fmt.Sprintf("%s %s", o.Type, o.Private))
}

// runs is an error if a machine that the vendor says is made does not run.
func (e *Engine) runs(m providers.Machine) error {
	if m.State != providers.Stopped && !m.Partial {
		return nil
	}
	return diag.New(diag.MachineDied, "Provider %s made or started the machine %s (%s), and yet says that it is %s and not whole. What was done is kept.", e.Provider.Name(), m.Name, m.ID, cmp.Or(m.State, "stopped")).
		Next("Look at the machine at the vendor. When it runs, or is removed, run the same command again to go on:", e.again())
}

func (e *Engine) updateMachine(ctx context.Context, c plan.Change) error {
	m, ok := e.member(c.Address)
	have, there := e.machine(c.Name)
	if !ok || !there {
		return fmt.Errorf("machine %s is not there: %w", c.Name, providers.NotFound)
	}
	if c.Moves() {
		if err := e.leaves(ctx, m); err != nil {
			return err
		}
	}
	spec := m.MachineSpec(e.Cluster, e.want.Identity, have.Network)
	asked := spec
	asked.Tags = merged(have.Tags, spec.Tags)
	var o providers.Machine
	err := e.vendor(ctx, c, "change it", func(ctx context.Context) (err error) {
		o, err = e.Provider.Machines().Update(ctx, have.ID, asked)
		return err
	})
	if err != nil {
		return err
	}
	e.setMachine(o)
	if c.Moves() {
		e.hangUp(o.Name)
		return e.made(c, entry{ID: o.ID, Machine: &spec}, "moved to "+o.Private.String())
	}
	return e.made(c, entry{ID: o.ID, Machine: &spec}, "changed")
}

func (e *Engine) deleteMachine(ctx context.Context, c plan.Change) error {
	m, ok := e.machine(c.Name)
	if !ok {
		return nil
	}
	e.hangUp(c.Name)
	if err := e.vendor(ctx, c, "delete it", func(ctx context.Context) error { return e.Provider.Machines().Delete(ctx, m.ID) }); err != nil {
		return err
	}
	return e.removed(c, m.ID)
}

// network returns the network of that name.
func (e *Engine) network(name string) (providers.Network, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.world.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return providers.Network{}, false
}
