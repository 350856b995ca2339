package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// setAside takes out of the world what bears the cluster's name and the UID of another, and was not made with this state: it
// is somebody else's. What was made with it and bears another UID by now was changed by somebody, and stays. Where nothing bears
// the state's own UID, nothing is set aside: then it is the state that is of another cluster, unless a destroy has removed all
// that was.
func (e *Engine) setAside(m *memory) {
	e.others, e.mixed = nil, false
	uid := e.State.UID()
	if !e.State.KnowsUID() || !e.bears(uid) && !(e.destroying && m.over()) {
		return
	}
	e.mixed = true
	known := m.ids()
	foreign := func(k plan.Kind, o providers.Meta) bool {
		u := o.Tags[plan.UIDTag]
		if u == "" || u == uid || known[o.ID] {
			return false
		}
		e.others = append(e.others, fmt.Sprintf("%s %s (ID %s, UID %s)", k, o.Name, o.ID, u))
		return true
	}
	w := &e.world
	w.Networks = without(w.Networks, plan.Network, foreign)
	w.Machines = without(w.Machines, plan.Machine, foreign)
	w.Balancers = without(w.Balancers, plan.Balancer, foreign)
	w.Volumes = without(w.Volumes, plan.Volume, foreign)
	w.Snapshots = without(w.Snapshots, plan.Snapshot, foreign)
	e.index()
}

func without[O providers.Identified](all []O, k plan.Kind, foreign func(plan.Kind, providers.Meta) bool) []O {
	return slices.DeleteFunc(all, func(o O) bool { return foreign(k, o.GetMeta()) })
}

// bears says whether a network or a machine bears that UID.
func (e *Engine) bears(uid string) bool {
	return uid != "" && (slices.ContainsFunc(e.world.Networks, func(n providers.Network) bool { return n.Tags[plan.UIDTag] == uid }) ||
		slices.ContainsFunc(e.world.Machines, func(m providers.Machine) bool { return m.Tags[plan.UIDTag] == uid }))
}

// over says whether all that was made has been removed again, as far as anybody knows.
func (m *memory) over() bool {
	for address, d := range m.made {
		if d.ID != "" && !m.leaving[address] {
			return false
		}
	}
	return len(m.removed)+len(m.leaving) > 0
}

// ids are the vendor's IDs of what was made and not removed since.
func (m *memory) ids() map[providers.ID]bool {
	ids := map[providers.ID]bool{}
	for _, d := range m.made {
		if d.ID != "" {
			ids[d.ID] = true
		}
	}
	return ids
}

// strangers warns of what was set aside.
func (e *Engine) strangers() {
	if len(e.others) == 0 {
		return
	}
	d := diag.New(diag.ObjectForeign, "At %s there is what bears the name of the cluster %q and the UID of another, and was not made with this state, whose UID is %s:\n\n- %s\n\nIt is left alone.",
		e.Provider.Name(), e.Cluster.Name, e.State.UID(), strings.Join(e.others, "\n- ")).
		Next("Two clusters of one name disturb each other: find out whose it is, and give one of the two another name. If it is of a cluster that is gone, remove it at the vendor.")
	d.Severity = diag.Warning
	e.warnings = append(e.warnings, d)
}
