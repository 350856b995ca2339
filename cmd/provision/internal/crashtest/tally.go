package crashtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Verdict is what one case showed.
type Verdict struct {
	Disturbed bool     // the run was killed, or a fault struck it: else the case shows only that a plain run works
	Converged bool     // the one plain run after it ended well and made the world what it should be
	Orphans   int      // objects that nobody asked for
	Twice     int      // objects that were made again
	Questions int      // that were asked
	Lost      int      // secrets
	Problems  []string // in words, for the person who mends it
}

// OK says that nothing is to be complained of.
func (v Verdict) OK() bool { return len(v.Problems) == 0 }

// A Tally counts verdicts by group. It is safe for concurrent use; the zero Tally is empty.
type Tally struct {
	mu   sync.Mutex
	rows map[string]*row
}

type row struct{ cases, disturbed, converged, orphans, twice, questions, lost, bad int }

// Add counts a verdict.
func (t *Tally) Add(group string, v Verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = map[string]*row{}
	}
	r := t.rows[group]
	if r == nil {
		r = &row{}
		t.rows[group] = r
	}
	r.cases++
	if v.Disturbed {
		r.disturbed++
	}
	if v.Converged {
		r.converged++
	}
	if !v.OK() {
		r.bad++
	}
	r.orphans, r.twice, r.questions, r.lost = r.orphans+v.Orphans, r.twice+v.Twice, r.questions+v.Questions, r.lost+v.Lost
}

// String is the table, with a line for each group, in the order of their names, and a sum.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	const format = "%-46s %7v %9v %9v %7v %10v %9v %12v %7v\n"
	fmt.Fprintf(&b, format, "", "cases", "disturbed", "converged", "orphans", "made twice", "questions", "lost secrets", "failed")
	var all row
	for _, g := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[g]
		fmt.Fprintf(&b, format, g, r.cases, r.disturbed, r.converged, r.orphans, r.twice, r.questions, r.lost, r.bad)
		all = row{all.cases + r.cases, all.disturbed + r.disturbed, all.converged + r.converged, all.orphans + r.orphans, all.twice + r.twice,
			all.questions + r.questions, all.lost + r.lost, all.bad + r.bad}
	}
	fmt.Fprintf(&b, format, "all", all.cases, all.disturbed, all.converged, all.orphans, all.twice, all.questions, all.lost, all.bad)
	return b.String()
}
