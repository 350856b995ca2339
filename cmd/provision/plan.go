package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/spf13/cobra"
)

func (a *app) planCommand() *cobra.Command {
	var detailed, destroy bool
	var out string
	c := a.command("plan [FILE]", "Show what apply would change", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		if err := noArgs(c, rest); err != nil {
			return err
		}
		err := a.plan(ctx, file, out, destroy, detailed)
		if r := a.rehearsal; r != nil && r.fresh { // a plan leaves nothing behind
			err = errors.Join(err, r.end(ctx))
		}
		return err
	})
	c.Long = `Show what apply would change, with the reason and the line of the file that asks for it. Nothing is changed.

  provision plan cluster.hcl --out next.plan     save the plan; "provision apply next.plan" does exactly that, or refuses
  provision plan --forbid replace,delete         fail if something would be replaced or deleted
  provision plan --only 'workers[*]'             look at some addresses, and at what they cannot do without
  provision plan --detailed-exitcode             exit with 4 if there are changes`
	f := c.Flags()
	f.BoolVar(&detailed, "detailed-exitcode", false, "exit with 4 if there are changes")
	f.BoolVar(&a.flags.json, "json", false, "write the plan as JSON to stdout")
	f.StringVar(&out, "out", "", "save the plan to this file, for apply")
	f.BoolVar(&destroy, "destroy", false, "plan what destroy would remove")
	f.StringSliceVar(&a.flags.keep, "keep", nil, "with --destroy, leave these: volumes (and their snapshots), or snapshots")
	a.choiceFlags(c)
	a.rehearseFlag(c)
	a.complete(c)
	a.programFlags(c)
	return c
}

func (a *app) plan(ctx context.Context, file, out string, destroy, detailed bool) error {
	w, err := a.work(file, map[bool]string{true: "destroy"}[destroy], false)
	if err != nil {
		return err
	}
	if out != "" {
		if err := checkOut(out); err != nil {
			return err
		}
	}
	s, err := a.open(ctx, w.file, true, a.options(w, a.early), w.opening)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := a.planned(ctx, s, w)
	if err != nil {
		return err
	}
	if out != "" {
		if err := a.save(out, s, w, p); err != nil {
			return err
		}
	}
	if a.flags.json {
		err = a.printJSON(p)
	} else {
		_, err = fmt.Fprint(a.out, ui.PlanText(planLines(p), p.Summary(), a.planNotes(p), a.style(a.out)))
	}
	if err == nil && out != "" && !a.flags.json {
		fmt.Fprintf(a.err, "\nSaved. To do exactly this:\n\n    %s\n", a.paste("provision apply "+word(out)))
	}
	if err == nil && detailed && !p.Empty() {
		return exitError(exitChanges)
	}
	return err
}

// showPlan shows a plan that is about to be executed.
func (a *app) showPlan(p *plan.Plan) {
	fmt.Fprint(a.err, ui.PlanText(planLines(p), p.Summary(), a.planNotes(p), a.style(a.err)))
}

// planLines gives a plan's changes the form in which they are shown.
func planLines(p *plan.Plan) []ui.PlanLine {
	symbols := map[plan.Action]string{plan.Create: ui.Create, plan.Update: ui.Update, plan.Restart: ui.Restart, plan.Replace: ui.Replace, plan.Delete: ui.Delete}
	ls := make([]ui.PlanLine, len(p.Changes))
	for i, c := range p.Changes {
		l := ui.PlanLine{Symbol: symbols[c.Action], Address: c.Address}
		if len(c.Fields) == 0 || c.Drift {
			l.Details = []string{c.Reason}
		}
		for _, f := range c.Fields {
			l.Details = append(l.Details, fmt.Sprintf("%s: %s → %s", f.Name, orNone(f.From), orNone(f.To)))
		}
		if c.Cause != nil {
			l.Cause = c.Cause.String()
		}
		ls[i] = l
	}
	return ls
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func mustJSON(d diag.Diagnostic) json.RawMessage {
	b, err := json.Marshal(d)
	if err != nil {
		return nil
	}
	return b
}
