package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// Warnings are what a person should know of the plan that was made last, and nothing is refused for.
func (e *Engine) Warnings() diag.Diagnostics { return e.warnings }

// missing are the network and the machines that the journal knows, if the vendor shows no network and no machine of the
// cluster at all. What was being removed here is not among them: it may well be gone.
func (e *Engine) missing() []string {
	if len(e.world.Networks)+len(e.world.Machines) > 0 {
		return nil
	}
	m := e.remember()
	var all []string
	for address, d := range m.made {
		kind, _, _ := strings.Cut(address, ".")
		if k := plan.Kind(kind); d.ID != "" && !m.leaving[address] && (k == plan.Network || k == plan.Machine) {
			all = append(all, fmt.Sprintf("- %s (%s, ID %s)", address, d.Name, d.ID))
		}
	}
	slices.Sort(all)
	return all
}

// shown is how many lines of a list a message has.
const shown = 12

// gone refuses to take for granted that the cluster is gone, where the vendor shows nothing of it and at least so many
// objects were made: more often the vendor was asked in the wrong place. A plan only says so.
func (e *Engine) gone(least int, what string) error {
	all := e.missing()
	if len(all) < max(least, 1) || slices.Contains(e.Accept, DataLoss) {
		return nil
	}
	list := strings.Join(all[:min(len(all), shown)], "\n")
	if n := len(all) - shown; n > 0 {
		list += fmt.Sprintf("\n- and %d more", n)
	}
	on := e.again()
	if e.Saved != "" { // that is executed as it is
		on = "provision plan " + e.Cluster.File
		if e.destroying {
			on = "provision plan --destroy " + e.Cluster.File
		}
	}
	d := diag.New(diag.ClusterGone, "The state in %s knows %d objects of the cluster %q, and %s shows none of them:\n\n%s\n\n%s Nothing was changed.",
		e.State.Place(), len(all), e.Cluster.Name, e.Provider.Name(), list, what).
		Next("See whether the account, the region and the path are those that the cluster was made with. If it is gone for good, say so:", on+" --accept "+DataLoss)
	if !e.ReadOnly {
		return d
	}
	d.Severity = diag.Warning
	e.warnings = append(e.warnings, d)
	return nil
}
