package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// together makes one diagnostic of those that say the same of several steps because their cause is none of the steps': the state
// that could not be written. It says what is left: the steps' own changes may be made, and are found again.
func together(ds diag.Diagnostics) diag.Diagnostics {
	var all diag.Diagnostics
	others := map[int][]string{}
	for _, d := range ds {
		same := func(o diag.Diagnostic) bool { return ofState(o) && o.ID == d.ID && o.Detail == d.Detail }
		if i := slices.IndexFunc(all, same); i >= 0 {
			others[i] = append(others[i], d.Address)
			continue
		}
		all = append(all, d)
	}
	for i, steps := range others {
		d := &all[i]
		steps = append([]string{d.Address}, steps...)
		d.Range, d.In, d.Address = nil, "", ""
		n := min(len(steps), 12)
		d.Detail += fmt.Sprintf("\n\nSo these %d steps were not done, or done and not noted; what they made is found by its tags and neither lost nor made twice:\n\n- %s", len(steps), strings.Join(steps[:n], "\n- "))
		if more := len(steps) - n; more > 0 {
			d.Detail += fmt.Sprintf("\n- and %d more", more)
		}
	}
	return all
}

// ofState says whether a diagnostic is about the state, and not about a step.
func ofState(d diag.Diagnostic) bool {
	return strings.HasPrefix(string(d.ID), "state-") || d.ID == diag.DiskFull && len(d.Output) == 0
}
