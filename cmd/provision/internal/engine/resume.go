package engine

import (
	"encoding/json"
	"slices"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
)

// Types of the journal's records of saved plans. Their address is the plan's ID; compacting keeps them.
const (
	planBegun = "plan-begun"
	planDone  = "plan-done"
)

// Begin notes that the saved plan is begun, unless it was before.
func (e *Engine) Begin() error {
	if e.Saved == "" || e.noted(planBegun) {
		return nil
	}
	return e.State.Append(state.Record{Type: planBegun, Address: e.Saved})
}

// End notes that the saved plan was executed to its end.
func (e *Engine) End() error {
	if e.Saved == "" {
		return nil
	}
	return e.State.Append(state.Record{Type: planDone, Address: e.Saved})
}

// Ended says whether the saved plan was executed to its end before.
func (e *Engine) Ended() bool { return e.Saved != "" && e.noted(planDone) }

func (e *Engine) noted(kind string) bool {
	return slices.ContainsFunc(e.State.Records(), func(r state.Record) bool { return r.Type == kind && r.Address == e.Saved })
}

// Done reads in the journal what an earlier execution of the saved plan has done, if there was one. Others are told among the
// addresses of p, which may be nil.
func (e *Engine) Done(p *plan.Plan) plan.Done {
	d := plan.Done{Touched: map[string]bool{}, Replaced: map[string]bool{}, Made: map[string]bool{}}
	if e.Saved == "" {
		return d
	}
	ours := map[string]bool{}
	if p != nil {
		for _, c := range p.Changes {
			ours[c.Address] = true
		}
	}
	for _, r := range e.State.Records() {
		var en entry
		switch {
		case r.Type == planBegun && r.Address == e.Saved:
			d.Begun = true
		case !d.Begun || json.Unmarshal(r.Data, &en) != nil:
		case en.Plan == e.Saved:
			d.Touched[r.Address] = true
			// What makes the new object begins by noting that it creates: records of the old one may be compacted away.
			if r.Type == state.Done || r.Type == state.Forgotten || en.Action == plan.Create {
				d.Replaced[r.Address] = true
			}
			d.Made[r.Address] = r.Type == state.Done
		case ours[r.Address] && !slices.Contains(d.Others, r.Address):
			d.Others = append(d.Others, r.Address)
		}
	}
	return d
}
