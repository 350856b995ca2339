package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/spf13/cobra"
)

func (a *app) applyCommand() *cobra.Command {
	c := a.command("apply [FILE|PLAN]", "Show what will change, ask, and make the cluster as the file says", a.apply)
	c.Long = `Show what will change, ask, and make the cluster as the file says. Killed or interrupted at any moment, the same command
goes on where it ended. PLAN is a file that "provision plan --out" made: it is executed exactly as it was shown, or refused.`
	a.workFlags(c)
	a.choiceFlags(c)
	a.complete(c)
	c.ValidArgsFunction = files(true)
	return c
}

// choiceFlags are the flags that say what of a plan is wanted.
func (a *app) choiceFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&a.flags.only, "only", nil, "change only these addresses and what they need: machine.workers[2], workers[2], 'workers[*]'")
	f.StringSliceVar(&a.flags.replace, "replace", nil, "replace these machines, whatever they are like, one of a pool after another: machine.workers[2], 'control-plane[*]'")
	f.StringSliceVar(&a.flags.accept, "accept", nil, "accept what is lost by the plan for good: data-loss")
	f.BoolVar(&a.flags.noCheck, "skip-preflight", false, "do not ask the vendor whether permissions and quotas are enough for what is made")
	f.StringSliceVar(&a.flags.forbid, "forbid", nil, "refuse a plan with these actions: create, update, restart, replace, delete")
}

// workFlags are the flags of verbs that change things.
func (a *app) workFlags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&a.flags.autoApprove, "auto-approve", false, "do not ask")
	f.BoolVar(&a.flags.timings, "timings", false, "show at the end where the time went")
	f.BoolVar(&a.flags.json, "json", false, "write events as NDJSON to stdout")
	c.Annotations = map[string]string{streams: "events"}
	f.IntVar(&a.flags.width, "parallelism", 512, "steps at once; what the vendor allows is kept to besides")
	a.programFlags(c)
	a.rehearseFlag(c)
}

// programFlags are the flags of verbs that need bundle and node agent.
func (a *app) programFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.flags.bundle, "bundle", "", "path of the bundle (default: beside the program)")
	f.StringVar(&a.flags.agent, "agent", "", "path of the node agent (default: beside the program)")
}

func (a *app) apply(ctx context.Context, c *cobra.Command, file string, rest []string) error {
	if err := noArgs(c, rest); err != nil {
		return err
	}
	w, err := a.work(file, "apply", true)
	if err != nil {
		return err
	}
	if w.saved != nil && a.flags.rehearse {
		return diag.New(diag.BadFlags, "%s is a plan of the cluster itself, and cannot be rehearsed. Nothing was changed.", file).Next("To rehearse the cluster's file:", "provision apply --rehearse "+word(w.file))
	}
	return a.do(ctx, w)
}

// untouched says of an interrupt that came before anything was done that nothing was.
func untouched(err error) error {
	if errors.Is(err, context.Canceled) {
		return diag.Wrap(err, diag.Interrupted, "Nothing was changed.").Next("Run the same command again.")
	}
	return err
}

// do plans, shows the plan, asks, and does it: what apply and destroy have in common. Where a state was lost and the vendor's
// lists were late to show what there is, it begins again when they do.
func (a *app) do(ctx context.Context, w work) error {
	err := a.doOnce(ctx, w)
	var late *late
	for range 2 {
		if !errors.As(err, &late) {
			break
		}
		if err = a.await(ctx, late.Lag); err == nil {
			err = a.doOnce(ctx, w)
		}
	}
	return err
}

// late is the error of a run that began with no state, and found a cluster that the vendor's lists had not shown. Nothing was
// changed, and what it kept of itself is removed.
type late struct{ *engine.LateError }

// afresh removes a state with which nothing was made, if it is not this cluster's.
func (a *app) afresh(s *session, w work, err error) error {
	found := s.engine.Late()
	if found == nil {
		errors.As(err, &found)
	}
	if found == nil || w.saved != nil {
		return err
	}
	s.engine.Close()
	if err := s.state.Remove(); err != nil {
		return err
	}
	return &late{found}
}

// await waits until the vendor's lists show what was there before now.
func (a *app) await(ctx context.Context, lag time.Duration) error {
	if lag > 0 && !a.flags.json {
		fmt.Fprintf(a.err, "The cluster was there already, and the vendor's lists did not show it yet. Looking again in %v.\n", lag)
	}
	waiting, done := a.untilStopped(ctx)
	defer done()
	select {
	case <-time.After(lag):
		return nil
	case <-waiting.Done():
		return diag.New(diag.Interrupted, "Nothing was changed.").Next("Run the same command again to go on.")
	}
}

func (a *app) doOnce(ctx context.Context, w work) error {
	events := &stream{before: a.early}
	s, err := a.open(ctx, w.file, false, a.options(w, events.send), w.opening)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := a.planned(ctx, s, w)
	if err != nil {
		return a.afresh(s, w, err)
	}
	switch {
	case a.flags.json:
	case p.Empty() && w.verb == "destroy" && len(p.Kept) == 0:
		fmt.Fprintf(a.err, "Nothing to destroy: %s has nothing of a cluster named %q.\n", s.provider.Name(), s.cluster.Name)
	default:
		a.showPlan(p)
		if p.Empty() && s.engine.Ended() {
			fmt.Fprintf(a.err, "The plan %s was executed to its end before.\n", w.path)
		}
	}
	if p.Empty() && w.verb == "apply" {
		return a.unchanged(p)
	}
	if err := a.approve(ctx, w, p); err != nil {
		return err
	}
	if err := s.engine.Begin(); err != nil {
		return err
	}
	r := a.renderer()
	events.to(r)
	a.cut.begin(r, events, w.again())
	if a.flags.json {
		r.Event(planEvent(p))
	}
	execute := s.engine.Apply
	if w.verb == "destroy" {
		execute = s.engine.Destroy
	}
	if err = execute(ctx, p, a.stop); err == nil && w.verb != "destroy" { // after a destroy there is nothing to note it in
		err = s.engine.End()
	}
	if err = a.ended(r, events, err); err == nil {
		return nil
	}
	return a.afresh(s, w, err)
}

// ended ends the rendering of a run that ended so.
func (a *app) ended(r ui.Renderer, events *stream, err error) error {
	a.cut.end()
	if a.flags.json && err != nil {
		tell(r, a.diagnostics(err))
	}
	if cerr := r.Close(); cerr != nil { // the stream does not tell of it
		return errors.Join(err, cerr)
	}
	if a.flags.timings && !a.flags.json {
		fmt.Fprint(a.err, "\n", ui.TimingsText(events.timings, a.narrow(a.err)))
	}
	if a.flags.json && err != nil {
		return exitError(diag.AsDiagnostics(err).ExitCode())
	}
	return err
}

// tell writes diagnostics into the stream of events.
func tell(r ui.Renderer, ds diag.Diagnostics) {
	for _, d := range ds {
		r.Event(ui.Event{Type: ui.Diagnostic, Text: d.Error(), Detail: mustJSON(d)})
	}
}

// unchanged tells programs that there is nothing to do; a person has read it in the plan.
func (a *app) unchanged(p *plan.Plan) error {
	if !a.flags.json {
		return nil
	}
	r := a.renderer()
	r.Event(planEvent(p))
	r.Event(ui.Event{Type: ui.Summary, Text: p.Summary()})
	return r.Close()
}

// approve asks the one question, unless told not to.
func (a *app) approve(ctx context.Context, w work, p *plan.Plan) error {
	if a.flags.autoApprove || p.Empty() || w.saved != nil { // a saved plan was looked at before
		return nil
	}
	if a.flags.json {
		return diag.New(diag.PlanRefused, "With --json there is nobody to ask. Nothing was changed.").Next("Say so if the plan is right:", a.commandLine()+" --auto-approve")
	}
	if _, terminal := size(a.in); !terminal {
		return diag.New(diag.PlanRefused, "There is no terminal to ask on. Nothing was changed.").Next("Say so if the plan is right:", a.commandLine()+" --auto-approve")
	}
	asking, answered := a.untilStopped(ctx)
	defer answered()
	ok, err := ui.Confirm(asking, a.in, a.err, "Do this?")
	if err != nil {
		return untouched(err)
	}
	if !ok {
		return diag.New(diag.PlanRefused, "The answer was not yes. Nothing was changed.")
	}
	return nil
}
