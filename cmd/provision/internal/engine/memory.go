package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/providers"
)

// An entry is what the journal's records of one change hold. None of it is secret.
type entry struct {
	Action  plan.Action            `json:"action,omitempty"`
	Name    string                 `json:"name,omitempty"`
	ID      providers.ID           `json:"id,omitempty"`
	Network *providers.NetworkSpec `json:"network,omitempty"`
	Machine *providers.MachineSpec `json:"machine,omitempty"`
	Plan    string                 `json:"plan,omitempty"` // ID of the saved plan that is executed
}

// A memory is what the journal says of the cluster's objects. What exists is the vendor's to say; the memory tells what
// the vendor's reads cannot show yet, and what somebody else changed.
type memory struct {
	made    map[string]made            // by address: made or changed, and not removed since
	pending map[string]time.Time       // by address: was to be made, and nobody knows what came of it
	removed map[providers.ID]time.Time // is gone, whatever lists say
	leaving map[string]bool            // by address: was to be removed, and nobody knows what came of it
}

type made struct {
	entry
	at time.Time
}

// remember reads the journal.
func (e *Engine) remember() *memory {
	m := &memory{made: map[string]made{}, pending: map[string]time.Time{}, removed: map[providers.ID]time.Time{}, leaving: map[string]bool{}}
	for _, r := range e.State.Records() {
		var en entry
		if r.Type == state.Note || len(r.Data) > 0 && json.Unmarshal(r.Data, &en) != nil {
			continue
		}
		switch r.Type {
		case state.Intent:
			if en.Action == plan.Create || en.Action == plan.Replace {
				m.pending[r.Address] = r.Time
			}
			if en.Action == plan.Delete || en.Action == plan.Replace {
				m.leaving[r.Address] = true
			}
		case state.Done:
			delete(m.pending, r.Address)
			delete(m.leaving, r.Address)
			m.made[r.Address] = made{en, r.Time}
		case state.Forgotten:
			delete(m.leaving, r.Address)
			delete(m.made, r.Address)
			if en.Action != plan.Replace { // what comes in its place is still to be made
				delete(m.pending, r.Address)
			}
			m.removed[en.ID] = r.Time
		}
	}
	return m
}

// known is the memory in the form that plans compare.
func (m *memory) known() map[string]plan.Known {
	ks := make(map[string]plan.Known, len(m.made))
	for a, d := range m.made {
		if d.ID != "" {
			ks[a] = plan.Known{ID: d.ID, Network: d.Network, Machine: d.Machine}
		}
	}
	return ks
}

// drop takes out of the world what is gone and still listed.
func (m *memory) drop(w *plan.World) {
	w.Networks = living(m, w.Networks)
	w.Machines = living(m, w.Machines)
	w.Balancers = living(m, w.Balancers)
	w.Volumes = living(m, w.Volumes)
	w.Snapshots = living(m, w.Snapshots)
}

func living[O providers.Identified](m *memory, all []O) []O {
	if len(m.removed) == 0 {
		return all
	}
	var left []O
	for _, o := range all {
		if _, gone := m.removed[o.GetMeta().ID]; !gone {
			left = append(left, o)
		}
	}
	return left
}

// slack is added to the vendor's lag: records have their time to the millisecond.
const slack = 20 * time.Millisecond

// behind says what the vendor's lists cannot show yet: what was made or changed so lately that they may miss it, and what
// may have been made by a command that was cut off. wanted are the addresses that the coming plan makes anyway, so that
// nothing needs to be known of them. until is when the last of it has to be seen. Empty if there is nothing to wait for.
func (m *memory) behind(w plan.World, lag time.Duration, now time.Time, wanted map[string]bool) (what string, until time.Time) {
	if lag <= 0 {
		return "", until
	}
	note := func(address, why string, at time.Time) {
		end := at.Add(lag + slack)
		if at.After(now) { // the clock of whoever wrote it is ahead
			end = now.Add(lag + slack)
		}
		if end.After(now) && end.After(until) {
			what, until = fmt.Sprintf("%s, %s %v ago", address, why, max(0, now.Sub(at)).Round(time.Second)), end
		}
	}
	seen := m.index(w)
	for address, d := range m.made {
		if !seen.has(address, d.entry) {
			note(address, "made", d.at)
		}
	}
	for address, at := range m.pending {
		if !wanted[address] && !seen.named(address) {
			note(address, "begun", at)
		}
	}
	return what, until
}

// An index finds the world's objects by ID and by address.
type index struct {
	networks map[providers.ID]providers.Network
	machines map[providers.ID]providers.Machine
	names    map[string]bool // kind and name
}

func (m *memory) index(w plan.World) index {
	x := index{map[providers.ID]providers.Network{}, map[providers.ID]providers.Machine{}, map[string]bool{}}
	for _, n := range w.Networks {
		x.networks[n.ID] = n
		x.names[plan.NetworkAddress(n.Name)] = true
	}
	for _, o := range w.Machines {
		x.machines[o.ID] = o
		x.names[plan.MachineAddress(string(o.Owner), o.Name, o.Pool)] = true
	}
	return x
}

func (x index) named(address string) bool { return x.names[address] }

// has says whether the world shows what was made, as it was made.
func (x index) has(address string, en entry) bool {
	switch kind, _, _ := strings.Cut(address, "."); plan.Kind(kind) {
	case plan.Network:
		n, ok := x.networks[en.ID]
		return ok && !n.Partial && (en.Network == nil || len(plan.NetworkFields(*en.Network, n)) == 0)
	case plan.Machine:
		m, ok := x.machines[en.ID]
		return ok && !m.Partial && (en.Machine == nil || len(plan.MachineFields(*en.Machine, m)) == 0)
	}
	return true
}
