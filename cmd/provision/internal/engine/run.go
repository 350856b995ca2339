package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/graph"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
)

// run runs the steps and tells about them. The error is the diagnostics of all that failed.
func (e *Engine) run(ctx context.Context, g *graph.Graph, stop <-chan struct{}) error {
	order, err := g.Order()
	if err != nil {
		return err
	}
	e.Events(ui.Event{Type: ui.Begin, Steps: order})
	offset := time.Since(e.start)
	until, lost, release := e.until(stop)
	defer release()
	res, err := g.Run(ctx, graph.Options{Width: e.Width, Stop: until, Barred: lost, Observe: e.observe})
	if err != nil {
		return err
	}
	var ds diag.Diagnostics
	fenced := lost()
	if fenced {
		ds = append(ds, e.fenced(res))
	}
	for _, s := range res.Of(graph.Failed) {
		ds = append(ds, e.explain(s.Address, e.stopped(ctx, s))...)
	}
	if !fenced && res.Stopped && res.Count(graph.NotStarted)+res.Count(graph.Interrupted) > 0 {
		ds = append(ds, e.interrupted(res))
	}
	e.Events(ui.Event{Type: ui.Summary, Text: summary(res), Took: time.Since(e.start), Timings: e.timings(res, offset), Counts: ui.Counts{
		Done: res.Count(graph.Done), Failed: res.Count(graph.Failed) + res.Count(graph.Interrupted), Blocked: res.Count(graph.Blocked),
		NotStarted: res.Count(graph.NotStarted),
	}})
	return together(ds).Err()
}

// until returns a channel that closes when no new step may start: a person asked to stop, or the lease on the state is lost.
func (e *Engine) until(stop <-chan struct{}) (until <-chan struct{}, lost func() bool, release func()) {
	ch, done := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case <-stop:
			close(ch)
			e.Events(ui.Event{Type: ui.Log, Text: "Stopping: steps that run are let finish, and no new one is begun. Interrupt once more to cut them off."})
		case <-e.State.Lost():
			close(ch)
		case <-done:
		}
	}()
	lost = func() bool {
		select {
		case <-e.State.Lost():
			return true
		default:
			return false
		}
	}
	return ch, lost, func() { close(done) }
}

// fenced says that the lease was lost, and what was not begun then.
func (e *Engine) fenced(res graph.Result) diag.Diagnostic {
	text := "This command lost its lease on the cluster's state: it was stopped, or could not reach the state, for longer than the lease lasts, and somebody else may be at work now. No new step was started; nothing that this command wrote since counts."
	if cut := addresses(res, graph.Interrupted); len(cut) > 0 {
		text += "\n\nCut off while it ran:\n\n" + list(cut)
	}
	if left := addresses(res, graph.NotStarted, graph.Blocked); len(left) > 0 {
		text += "\n\nNot begun:\n\n" + list(left)
	}
	return diag.New(diag.StateFenced, "%s", text).
		Next("See who works on the cluster, and run the same command again:", "provision state show "+e.Cluster.File, e.again())
}

// addresses are those of the steps in any of the states.
func addresses(res graph.Result, states ...graph.State) (as []string) {
	for _, s := range res.Of(states...) {
		as = append(as, s.Address)
	}
	return as
}

// stopped looks whether the machine of a step that lost its connection still runs, and says so if it does not.
func (e *Engine) stopped(ctx context.Context, s graph.StepResult) error {
	var lost *ssh.LostError
	var away *ssh.UnreachableError
	if !errors.As(s.Err, &lost) && !errors.As(s.Err, &away) {
		return s.Err
	}
	m, ok := e.member(s.Address)
	if !ok || !strings.HasPrefix(s.Address, string(plan.Node)+".") {
		return s.Err
	}
	mach, ok := e.machine(m.Name)
	if !ok {
		return s.Err
	}
	now, err := e.Provider.Machines().Get(ctx, mach.ID)
	if err == nil && now.State == providers.Stopped {
		return diag.Wrap(s.Err, diag.MachineDied, "The machine %s stopped while it was set up. What was done on it is kept.", m.Name).
			Next("Run the same command again; it starts the machine and goes on:", e.again())
	}
	if errors.Is(err, providers.NotFound) {
		return diag.Wrap(s.Err, diag.MachineDied, "The machine %s (%s) is gone at the vendor: it was removed, or ended by itself, while it was set up.", m.Name, mach.ID).
			Next("See at the vendor why. Run the same command again; it makes the machine anew and goes on:", e.again())
	}
	return s.Err
}

// observe turns the graph's events into the event stream.
func (e *Engine) observe(ev graph.Event) {
	out := ui.Event{Address: ev.Address, Took: ev.Took, Cause: ev.Cause}
	switch ev.State {
	case graph.Running:
		out.Type = ui.Started
	case graph.Done:
		out.Type, out.Text = ui.Done, e.outcome(ev.Address)
	case graph.Failed:
		out.Type, out.Text = ui.Failed, firstLine(ev.Err)
	case graph.Interrupted:
		out.Type, out.Text = ui.Failed, "cut off"
	case graph.Blocked:
		out.Type = ui.Blocked
	}
	e.Events(out)
}

// interrupted says what was left when the person asked to stop, once or twice.
func (e *Engine) interrupted(res graph.Result) diag.Diagnostic {
	return Interrupted(res.Count(graph.Done), addresses(res, graph.Interrupted), addresses(res, graph.NotStarted, graph.Blocked), e.again())
}

// Interrupted says what was left when a person asked to stop: how many steps were done, which were cut off because the person
// asked twice, and which were not begun.
func Interrupted(done int, cut, left []string, again string) diag.Diagnostic {
	var parts []string
	if len(cut) == 0 {
		parts = append(parts, "Steps that ran were let finish, and no new one was begun.")
	} else {
		parts = append(parts, "Cut off while it ran:", list(cut))
	}
	parts = append(parts, fmt.Sprintf("%s done and kept.", map[bool]string{true: "1 step is", false: fmt.Sprintf("%d steps are", done)}[done == 1]))
	if len(left) > 0 {
		parts = append(parts, "Not begun:", list(left))
	}
	if len(cut) > 0 {
		parts = append(parts, "The state is safe: it was noted before each call that the call was to be made, and the next run looks at the vendor what came of it.")
	}
	return diag.New(diag.Interrupted, "%s", strings.Join(parts, "\n\n")).Next("Run the same command again to go on:", again)
}

// list writes addresses as the items of a list, the first of many.
func list(addresses []string) string {
	items := addresses
	more := ""
	if n := len(items) - 12; n > 0 {
		items, more = items[:12], fmt.Sprintf("\n- and %d more", n)
	}
	return "- " + strings.Join(items, "\n- ") + more
}

func summary(res graph.Result) string {
	took := res.Elapsed.Round(100 * time.Millisecond)
	if res.Count(graph.Done) == len(res.Steps) {
		return fmt.Sprintf("Done: %s in %v.", diag.Count(len(res.Steps), "step"), took)
	}
	cut := ""
	if n := res.Count(graph.Interrupted); n > 0 {
		cut = fmt.Sprintf("%d cut off, ", n)
	}
	return fmt.Sprintf("Stopped after %v: %s done, %d failed, %s%d not tried.", took, diag.Count(res.Count(graph.Done), "step"), res.Count(graph.Failed), cut,
		res.Count(graph.Blocked)+res.Count(graph.NotStarted))
}

// timings are where the time went: the phases inside steps, and the steps that have none.
func (e *Engine) timings(res graph.Result, offset time.Duration) []ui.Span {
	e.mu.Lock()
	defer e.mu.Unlock()
	critical, phased := map[string]bool{}, map[string]bool{}
	for _, s := range res.CriticalPath() {
		critical[s.Address] = true
	}
	spans := append([]ui.Span(nil), e.spans...)
	for i := range spans {
		phased[spans[i].Address] = true
		spans[i].Critical = critical[spans[i].Address]
	}
	for _, s := range res.Of(graph.Done, graph.Failed) {
		if !phased[s.Address] && s.Took() >= time.Millisecond {
			spans = append(spans, ui.Span{Address: s.Address, Start: offset + s.Start, Took: s.Took(), Critical: critical[s.Address]})
		}
	}
	return spans
}

// intent is on disk before a call that makes or removes something.
func (e *Engine) intent(c plan.Change) error {
	return e.note(state.Intent, c, entry{Action: c.Action, Name: c.Name})
}

// made notes what a call made or changed, and what it was asked to be.
func (e *Engine) made(c plan.Change, en entry, outcome string) error {
	en.Action, en.Name = c.Action, c.Name
	e.tell(c.Address, outcome)
	return e.note(state.Done, c, en)
}

// removed notes that an object is gone.
func (e *Engine) removed(c plan.Change, id providers.ID) error {
	return e.note(state.Forgotten, c, entry{Action: c.Action, Name: c.Name, ID: id})
}

func (e *Engine) note(kind string, c plan.Change, en entry) error {
	en.Plan = e.Saved
	b, err := json.Marshal(en)
	if err != nil {
		return err
	}
	return e.State.Append(state.Record{Type: kind, Address: c.Address, Data: b})
}

// tell sets what is shown of a step that is done.
func (e *Engine) tell(address, outcome string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outcomes[address] = outcome
}

func (e *Engine) outcome(address string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.outcomes[address]
}
