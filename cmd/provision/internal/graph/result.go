package graph

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A State is what became of a step.
type State string

// The states. Running is seen only in events.
const (
	NotStarted  State = "not started" // the run was stopped before its turn
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Blocked     State = "blocked"     // something that it depends on failed
	Interrupted State = "interrupted" // it ran when the run's context ended, and gave up
)

// A Result is what became of a run.
type Result struct {
	Steps   []StepResult // every step of the graph, in depth-first order
	Elapsed time.Duration
	Stopped bool // Stop, Barred or the context ended it early
}

// A StepResult is what became of one step. Times are since the run began.
type StepResult struct {
	Address string
	State   State
	Err     error         // of Failed and Interrupted, as the step returned it
	Cause   string        // of Blocked: the address of the step whose failure is the root of it
	Start   time.Duration // zero if it never started
	End     time.Duration

	after []int // positions in Result.Steps
}

// Took returns how long the step ran.
func (s StepResult) Took() time.Duration { return s.End - s.Start }

// Count returns how many steps are in the state.
func (r Result) Count(s State) int {
	n := 0
	for i := range r.Steps {
		if r.Steps[i].State == s {
			n++
		}
	}
	return n
}

// Of returns the steps in any of the states, in depth-first order.
func (r Result) Of(states ...State) []StepResult {
	var ss []StepResult
	for _, s := range r.Steps {
		if slices.Contains(states, s.State) {
			ss = append(ss, s)
		}
	}
	return ss
}

// Err returns a *StepError for each step that failed or was interrupted, joined, or nil. Blocked steps have none: the
// root cause stands for them.
func (r Result) Err() error {
	var errs []error
	for _, s := range r.Of(Failed, Interrupted) {
		errs = append(errs, &StepError{Address: s.Address, Err: s.Err})
	}
	return errors.Join(errs...)
}

// A StepError is the failure of one step.
type StepError struct {
	Address string
	Err     error
}

// Error names the step and what it returned.
func (e *StepError) Error() string { return fmt.Sprintf("%s: %v", e.Address, e.Err) }

// Unwrap returns what the step returned.
func (e *StepError) Unwrap() error { return e.Err }

// CriticalPath returns the chain of steps that decided how long the run took: the one that ended last, before it the one
// of its dependencies that ended last, and so on to a step that needed nothing; first to last. A gap between the end of
// one and the start of the next is time spent waiting for a free place.
func (r Result) CriticalPath() []StepResult {
	last := r.latest(nil)
	var path []StepResult
	for last >= 0 {
		path = append(path, r.Steps[last])
		if len(r.Steps[last].after) == 0 {
			break
		}
		last = r.latest(r.Steps[last].after)
	}
	slices.Reverse(path)
	return path
}

// latest returns which of the positions, or of all steps for nil, ended last among those that ran, or -1.
func (r Result) latest(of []int) int {
	best := -1
	consider := func(i int) {
		s := r.Steps[i]
		ran := s.State == Done || s.State == Failed || s.State == Interrupted
		if ran && (best < 0 || s.End > r.Steps[best].End) {
			best = i
		}
	}
	if of == nil {
		for i := range r.Steps {
			consider(i)
		}
	}
	for _, i := range of {
		consider(i)
	}
	return best
}
