package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
)

// work is what a verb is asked to do, from its flags or from a saved plan.
type work struct {
	verb    string // "apply" or "destroy"
	file    string // the cluster's
	only    []string
	keep    []plan.Kind
	replace []string
	accept  []string
	saved   *plan.Saved // nil: the plan is made now
	path    string      // of the saved plan
	place   *plan.Place // of the state, if flags or the environment say it
}

// work reads the flags, and the file if it is a saved plan, where one is taken.
func (a *app) work(file, verb string, takesPlan bool) (work, error) {
	if verb == "" {
		verb = "apply"
	}
	w := work{verb: verb, file: file, only: a.flags.only, accept: a.flags.accept, replace: a.flags.replace, place: a.place()}
	if err := a.checkAccept(); err != nil {
		return work{}, err
	}
	for _, k := range a.flags.keep {
		switch k {
		case "volumes", "volume":
			w.keep = append(w.keep, plan.Volume, plan.Snapshot)
		case "snapshots", "snapshot":
			w.keep = append(w.keep, plan.Snapshot)
		default:
			return work{}, diag.New(diag.BadFlags, "--keep takes volumes or snapshots; %q is neither.%s", k, diag.DidYouMean(k, []string{"volumes", "snapshots"}))
		}
	}
	for _, f := range a.flags.forbid {
		if !slices.Contains(plan.Actions(), plan.Action(f)) {
			return work{}, diag.New(diag.BadFlags, "--forbid takes create, update, restart, replace and delete; %q is none of them.%s", f, diag.DidYouMean(f, []string{"create", "update", "restart", "replace", "delete"}))
		}
	}
	if verb == "apply" && len(w.keep) > 0 {
		return work{}, diag.New(diag.BadFlags, "--keep says what a destroy leaves: it goes with --destroy. Nothing was changed.").Next("See what a destroy would remove:", "provision plan --destroy "+word(file)+" --keep "+word(a.flags.keep[0]))
	}
	if verb == "destroy" && len(w.only)+len(w.replace) > 0 {
		return work{}, diag.New(diag.BadFlags, "A destroy is of the whole cluster: --only and --replace are not for it. Nothing was changed.").
			Next("To remove a part, change the file and apply it.")
	}
	b, err := regular(file)
	if errors.Is(err, errNoFile) || errors.Is(err, errLarge) {
		return w, diag.Wrap(err, diag.PlanFile, "%s is neither a plan file nor a cluster file: %s. Nothing was changed.", file, err)
	}
	if err != nil { // loading it will say what is wrong
		return w, nil
	}
	if !plan.IsSaved(b) {
		return w, neither(file, b, takesPlan)
	}
	if !takesPlan {
		return work{}, diag.New(diag.BadFlags, "%s is a saved plan, and this takes a cluster's file. Nothing was changed.", file).Next("To execute the plan:", "provision apply "+file)
	}
	return a.savedWork(w, b)
}

// neither says that a file is no plan and nothing that could be a cluster's either. What ends in .hcl is the latter, whatever
// is in it.
func neither(file string, b []byte, takesPlan bool) error {
	if strings.HasSuffix(file, ".hcl") || config.Plausible(b) {
		return nil
	}
	what, mend := "is not a cluster file", []string{}
	if takesPlan {
		what, mend = "is neither a plan file nor a cluster file", []string{"provision plan --out " + word(file)}
	}
	if len(bytes.TrimSpace(b)) == 0 {
		what += ": it is empty"
	}
	d := diag.New(diag.PlanFile, "%s %s. Nothing was changed.", file, what)
	if len(mend) > 0 {
		return d.Next("A plan file is made by:", mend...)
	}
	return d.Next("Name a cluster's file, whose name ends in .hcl.")
}

// again is the command that goes on with the work.
func (w work) again() string {
	if w.saved != nil {
		return "provision apply " + word(w.path)
	}
	return "provision " + w.verb + " " + word(w.file)
}

// options are the engine's for this work.
func (a *app) options(w work, events func(ui.Event)) engine.Options {
	o := engine.Options{Events: events, NoCheck: a.flags.noCheck, Keep: w.keep, Replace: w.replace, Accept: w.accept}
	if w.saved != nil {
		o.Saved, o.Again = w.saved.ID(), w.again()
	}
	return o
}

// planned makes the plan that the work asks for, and refuses it if it has what is forbidden or is not the saved one.
func (a *app) planned(ctx context.Context, s *session, w work) (*plan.Plan, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // nothing is changed yet: the first interrupt ends it
		select {
		case <-a.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	look := s.engine.Plan
	if w.verb == "destroy" {
		look = s.engine.PlanDestroy
	}
	p, err := look(ctx)
	if err != nil {
		return nil, untouched(err)
	}
	if ds := s.engine.Warnings(); len(ds) > 0 {
		a.warn(ds)
	}
	if len(w.only) > 0 {
		full := p
		var unmatched []string
		if p, unmatched = p.Only(w.only); len(unmatched) > 0 && w.saved == nil {
			return nil, a.unknownAddress(full, unmatched)
		}
	}
	s.engine.Price(p)
	if err := a.forbidden(p); err != nil {
		return nil, err
	}
	if w.saved != nil {
		if err := a.fits(w, s, p); err != nil {
			return nil, err
		}
	}
	ds, err := s.engine.Preflight(ctx, p)
	if len(ds) > 0 {
		a.warn(ds)
	}
	return p, untouched(err)
}

func (a *app) unknownAddress(p *plan.Plan, unmatched []string) error {
	var known []string
	for _, c := range p.Changes {
		known = append(known, c.Address)
	}
	has := "It has no changes at all."
	if n := len(known); n > 0 {
		has = "It has:\n\n- " + strings.Join(known[:min(n, 12)], "\n- ")
		if n > 12 {
			has += fmt.Sprintf("\n- and %d more", n-12)
		}
	}
	return diag.New(diag.UnknownAddress, "The plan changes nothing of the address %q.%s %s", unmatched[0], diag.DidYouMean(unmatched[0], known), has)
}

func (a *app) forbidden(p *plan.Plan) error {
	var actions []plan.Action
	for _, f := range a.flags.forbid {
		actions = append(actions, plan.Action(f))
	}
	var found []string
	for _, c := range p.With(actions...) {
		found = append(found, fmt.Sprintf("- %s: %s (%s)", c.Address, c.Action, reason(c)))
	}
	if len(found) == 0 {
		return nil
	}
	return diag.New(diag.PlanForbidden, "--forbid %s was given, and the plan has:\n\n%s\n\nNothing was changed.", strings.Join(a.flags.forbid, ","), strings.Join(found, "\n"))
}

func reason(c plan.Change) string {
	if len(c.Fields) == 0 {
		return c.Reason
	}
	f := c.Fields[0]
	return fmt.Sprintf("%s: %s → %s", f.Name, orNone(f.From), orNone(f.To))
}
