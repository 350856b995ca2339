package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
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
}

// work reads the flags, and the file if it is a saved plan, where one is taken.
func (a *app) work(file, verb string, takesPlan bool) (work, error) {
	if verb == "" {
		verb = "apply"
	}
	w := work{verb: verb, file: file, only: a.flags.only, accept: a.flags.accept, replace: a.flags.replace}
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
	if verb == "destroy" && len(w.only)+len(w.replace) > 0 {
		return work{}, diag.New(diag.BadFlags, "A destroy is of the whole cluster: --only and --replace are not for it. Nothing was changed.").
			Next("To remove a part, change the file and apply it.")
	}
	b, err := os.ReadFile(file)
	if err != nil || !plan.IsSaved(b) {
		return w, nil // what is wrong with the file, loading it will say
	}
	if !takesPlan {
		return work{}, diag.New(diag.BadFlags, "%s is a saved plan, and this takes a cluster's file. Nothing was changed.", file).Next("To execute the plan:", "provision apply "+file)
	}
	return a.savedWork(w, b)
}

// options are the engine's for this work.
func (w work) options(events func(ui.Event)) engine.Options {
	return engine.Options{Events: events, Keep: w.keep, Replace: w.replace, Accept: w.accept}
}

func (a *app) savedWork(w work, b []byte) (work, error) {
	s, err := plan.DecodeSaved(b)
	if err != nil {
		return work{}, diag.Wrap(err, diag.PlanFile, "%s: %s. Nothing was changed.", w.file, err).Next("Make a new one:", "provision plan --out "+w.file)
	}
	if len(a.flags.only)+len(a.flags.keep)+len(a.flags.replace)+len(a.flags.accept) > 0 {
		return work{}, diag.New(diag.BadFlags, "A saved plan is executed as it is; --only, --keep, --replace and --accept are for making one.")
	}
	file := s.File
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, file); err == nil && !strings.HasPrefix(rel, "..") {
			file = rel
		}
	}
	return work{verb: s.Verb, file: file, only: s.Only, keep: s.Keep, replace: s.Replace, accept: s.Accept, saved: &s, path: w.file}, nil
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
		if errors.Is(err, context.Canceled) {
			return nil, diag.New(diag.Interrupted, "Nothing was changed.")
		}
		return nil, err
	}
	if len(w.only) > 0 {
		full := p
		var unmatched []string
		if p, unmatched = p.Only(w.only); len(unmatched) > 0 && w.saved == nil {
			return nil, a.unknownAddress(full, unmatched)
		}
	}
	if err := a.forbidden(p); err != nil || w.saved == nil {
		return p, err
	}
	return p, w.fits(s, p)
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

// fits says whether the saved plan is what has to be done now.
func (w work) fits(s *session, now *plan.Plan) error {
	again := "provision plan " + w.file + " --out " + w.path
	if w.verb == "destroy" {
		again = "provision plan --destroy " + w.file + " --out " + w.path
	}
	if uid := s.engine.UID(); w.saved.UID != "" && uid != "" && w.saved.UID != uid || w.saved.Plan.Cluster != s.cluster.Name {
		return diag.New(diag.PlanFile, "The plan %s was made for another cluster. Nothing was changed.", w.path).Next("Make a new one:", again)
	}
	if w.saved.Program != version {
		return diag.New(diag.PlanFile, "The plan %s was made by provision %s, and this is %s, which may do other things for the same words. Nothing was changed.", w.path, w.saved.Program, version).Next("Make a new one:", again)
	}
	if d, err := plan.Digest(s.cluster); err != nil || d != w.saved.Config {
		return diag.New(diag.PlanFile, "%s does not say what it said when the plan %s was made, or other values of variables were given. Nothing was changed.", w.file, w.path).
			Next("Give the same --var and --var-file as then, or make a new plan:", again)
	}
	if !now.Empty() && slices.ContainsFunc(s.state.Records(), func(r state.Record) bool { return r.Type == state.Note && r.Address == w.note()+" done" }) {
		return diag.New(diag.PlanStale, "The plan %s was executed to its end before. Nothing was changed by this command.", w.path).Next("Make a new plan and look at it:", again)
	}
	begun := slices.ContainsFunc(s.state.Records(), func(r state.Record) bool { return r.Type == state.Note && r.Address == w.note() })
	if diffs := plan.Compare(w.saved.Plan, now, begun); len(diffs) > 0 {
		return diag.New(diag.PlanStale, "Since the plan %s was made, this has changed:\n\n- %s\n\nNothing was changed by this command.", w.path, strings.Join(diffs, "\n- ")).
			Next("Make a new plan and look at it:", again)
	}
	return nil
}

// note is the address of the journal's note that a saved plan was begun: what is missing from it later, was done.
func (w work) note() string { return "plan " + w.saved.ID() }

// begin notes that a saved plan is begun.
func (w work) begin(st *state.State) error {
	if w.saved == nil {
		return nil
	}
	return st.Append(state.Record{Type: state.Note, Address: w.note()})
}

// end notes that a saved plan was executed to its end. After a destroy there is nothing to note it in.
func (w work) end(st *state.State) error {
	if w.saved == nil || w.verb == "destroy" {
		return nil
	}
	return st.Append(state.Record{Type: state.Note, Address: w.note() + " done"})
}

// save writes the plan to a file.
func (a *app) save(out string, s *session, w work, p *plan.Plan) error {
	file, err := filepath.Abs(w.file)
	if err != nil {
		return err
	}
	sum, err := plan.Digest(s.cluster)
	if err != nil {
		return err
	}
	b, err := plan.Saved{Program: version, Verb: w.verb, UID: s.engine.UID(), File: file, Config: sum, Only: w.only, Keep: w.keep, Replace: w.replace, Accept: w.accept, Plan: p}.Encode()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(out); err == nil && !plan.IsSaved(have) && len(bytes.TrimSpace(have)) > 0 {
		return diag.New(diag.BadFlags, "--out %s: there is a file, and it is no plan. Nothing was written.", out)
	}
	return replaceFile(out, b)
}

// replaceFile writes a file that only its owner reads, whole or not at all.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".provision-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
