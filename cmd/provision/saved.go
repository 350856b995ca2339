package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// savedWork is the work of a saved plan.
func (a *app) savedWork(w work, b []byte) (work, error) {
	s, err := plan.DecodeSaved(b)
	if err != nil {
		return work{}, diag.Wrap(err, diag.PlanFile, "%s: %s. Nothing was changed.", w.file, err).Next("Make a new one:", "provision plan --out "+word(w.file))
	}
	if len(a.flags.only)+len(a.flags.keep)+len(a.flags.replace)+len(a.flags.accept) > 0 {
		return work{}, diag.New(diag.BadFlags, "A saved plan is executed as it is; --only, --keep, --replace and --accept are for making one.")
	}
	if err := a.settle(w.file, s.State); err != nil {
		return work{}, err
	}
	file := filepath.FromSlash(s.File)
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(w.file), file)
	}
	return work{verb: s.Verb, file: file, only: s.Only, keep: s.Keep, replace: s.Replace, accept: s.Accept, saved: &s, path: w.file, place: s.State}, nil
}

// place is where flags, or else the environment, say that the state is; nil if they leave it to the file.
func (a *app) place() *plan.Place {
	f := a.flags.state
	switch url := firstOf(f.url, a.env("PROVISION_STATE")); {
	case f.dir != "":
		dir, err := filepath.Abs(f.dir)
		if err != nil {
			dir = f.dir
		}
		return &plan.Place{Folder: dir}
	case url != "":
		return &plan.Place{URL: url}
	}
	return nil
}

// settle makes the state be where it was when the plan was made. Flags that say another place are refused; the environment
// does not count.
func (a *app) settle(path string, place *plan.Place) error {
	f := &a.flags.state
	if f.dir != "" || f.url != "" {
		if now := a.place(); place == nil || *now != *place {
			return diag.New(diag.BadFlags, "The plan %s was made with the state in %s, and the flags say %s. Nothing was changed.", path, placeWords(place), placeWords(now)).
				Next("A plan knows where its state is; leave the flag out:", "provision apply "+word(path))
		}
	}
	f.settled, f.dir, f.url = true, "", ""
	if place != nil {
		f.dir, f.url = place.Folder, place.URL
	}
	return nil
}

func placeWords(p *plan.Place) string {
	switch {
	case p == nil:
		return "the place that the file says"
	case p.Folder != "":
		return "the folder " + p.Folder
	}
	return p.URL
}

// fits says whether the saved plan, or what is left of it, is what has to be done now.
func (a *app) fits(w work, s *session, now *plan.Plan) error {
	again := w.planCommand(w.replace)
	if uid := s.engine.UID(); w.saved.UID != "" && uid != "" && w.saved.UID != uid || w.saved.Plan.Cluster != s.cluster.Name {
		return diag.New(diag.PlanFile, "The plan %s was made for another cluster. Nothing was changed.", w.path).Next("Make a new one:", again)
	}
	if w.saved.Program != version {
		return diag.New(diag.PlanFile, "The plan %s was made by provision %s, and this is %s, which may do other things for the same words. Nothing was changed.", w.path, w.saved.Program, version).Next("Make a new one:", again)
	}
	if d, err := a.digest(w.file); err != nil || d != w.saved.Config {
		return diag.New(diag.PlanFile, "%s does not say what it said when the plan %s was made, or other values of variables were given. Nothing was changed.", w.file, w.path).
			Next("Give the same --var and --var-file as then, or make a new plan:", again)
	}
	done := s.engine.Done(w.saved.Plan)
	if now.Empty() && done.Begun { // all of it is done, whoever has worked on what since
		return nil
	}
	made, left, replace := done.Left(w.saved.Plan, now)
	if s.engine.Ended() || done.Begun && len(left) == 0 {
		return diag.New(diag.PlanStale, "The plan %s was executed to its end before, and since then the cluster needs something again. Nothing was changed by this command.", w.path).Next("Make a new plan and look at it:", again)
	}
	diffs := plan.Compare(w.saved.Plan, now, done)
	if len(diffs) == 0 {
		return nil
	}
	if !done.Begun {
		return diag.New(diag.PlanStale, "Since the plan %s was made, this has changed:\n\n- %s\n\nNothing was changed by this command.", w.path, strings.Join(diffs, "\n- ")).
			Next("Make a new plan and look at it:", again)
	}
	return diag.New(diag.PlanStale, "The plan %s was begun before, and cannot go on exactly as it was shown. Since then this has changed:\n\n- %s\n\nDone of the plan:\n\n- %s\n\nNot done:\n\n- %s\n\nNothing was changed by this command.",
		w.path, strings.Join(diffs, "\n- "), bullets(made), bullets(left)).
		Next("Make a plan of what is left and look at it; give the same --var and --var-file as then:", w.planCommand(replace))
}

// digest names what the file says, wherever it is and the command runs.
func (a *app) digest(file string) (string, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	c, _, err := a.read(file)
	if err != nil {
		return "", err
	}
	return plan.Digest(c)
}

// bullets are the further items of a list; "nothing" if it is empty.
func bullets(all []string) string {
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, "\n- ")
}

// planCommand is the command that makes a plan like the saved one, with these machines to replace.
func (w work) planCommand(replace []string) string {
	words := []string{"provision", "plan"}
	if w.verb == "destroy" {
		words = append(words, "--destroy")
	}
	words = append(words, word(w.file))
	list := func(flag string, values []string) {
		for _, v := range values {
			words = append(words, flag, word(v))
		}
	}
	list("--only", w.only)
	list("--replace", replace)
	list("--accept", w.accept)
	for _, k := range w.keep {
		words = append(words, "--keep", string(k)+"s")
	}
	switch {
	case w.place == nil:
	case w.place.Folder != "":
		words = append(words, "--state-dir", word(w.place.Folder))
	default:
		words = append(words, "--state", word(w.place.URL))
	}
	return strings.Join(append(words, "--out", word(w.path)), " ")
}

// word writes an argument so that a shell takes it as it is.
func word(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("-_./:=,@%+", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// save writes the plan to a file.
func (a *app) save(out string, s *session, w work, p *plan.Plan) error {
	file, err := from(out, w.file)
	if err != nil {
		return err
	}
	sum, err := a.digest(w.file)
	if err != nil {
		return err
	}
	b, err := plan.Saved{Program: version, Verb: w.verb, UID: s.engine.UID(), File: file, Config: sum, Only: w.only, Keep: w.keep, Replace: w.replace, Accept: w.accept, State: w.place, Records: len(s.state.Records()), Plan: p}.Encode()
	if err != nil {
		return err
	}
	if err := replaceFile(out, b); err != nil {
		return outError(out, err)
	}
	return nil
}

// from is the path of a file from the folder that the plan is in, so that both can be moved together.
func from(out, file string) (string, error) {
	dir, err1 := filepath.Abs(filepath.Dir(out))
	file, err2 := filepath.Abs(file)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(dir, file); err == nil {
		return filepath.ToSlash(rel), nil
	}
	return file, nil
}

// What may be read as a cluster's file or a saved plan.
var (
	errNoFile = errors.New("it is no file")
	errLarge  = fmt.Errorf("it is larger than %d MiB", largest>>20)
)

const largest = 256 << 20

// regular reads a file that is one. A device may have no end, and a pipe can be read only once.
func regular(path string) ([]byte, error) {
	i, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case i.IsDir():
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	case !i.Mode().IsRegular():
		return nil, errNoFile
	case i.Size() > largest:
		return nil, errLarge
	}
	return os.ReadFile(path)
}

// checkOut refuses a place for a plan where none can be, before anything is looked at.
func checkOut(out string) error {
	have, err := regular(out)
	switch {
	case errors.Is(err, errNoFile), errors.Is(err, errLarge):
		return diag.Wrap(err, diag.BadFlags, "--out %s: there is something, and it is no plan: %s. Nothing was written.", out, err)
	case err == nil && !plan.IsSaved(have) && len(bytes.TrimSpace(have)) > 0:
		return diag.New(diag.BadFlags, "--out %s: there is a file, and it is no plan. Nothing was written.", out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return outError(out, err)
	}
	if _, err := os.Stat(filepath.Dir(out)); err != nil {
		return outError(out, err)
	}
	return nil
}

// outError says why a plan was not written, with the path that a person gave.
func outError(out string, err error) error {
	reason := err
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		reason = p.Err
	case errors.As(err, &l):
		reason = l.Err
	}
	id := diag.BadFlags
	if errors.Is(err, fs.ErrPermission) {
		id = diag.FilePermission
	}
	words := reason.Error()
	if errors.Is(err, fs.ErrNotExist) {
		id, words = diag.FileNotFound, "the folder "+filepath.Dir(out)+" does not exist"
	}
	return diag.Wrap(err, id, "--out %s: %s. The plan was not saved, and nothing was changed.", out, words)
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
