//go:build linux && amd64

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
)

// A look is one case while it is looked at.
type look struct {
	r                *crashRig
	c                crash
	site             *crashtest.Site
	args, then       []string
	v                crashtest.Verdict
	disturbed, after crashtest.Outcome
	keys             bool // a machine was made before the disturbance ended, so the key to it has to be kept
}

func (l *look) problem(format string, args ...any) {
	l.v.Problems = append(l.v.Problems, fmt.Sprintf(format, args...))
}

func (l *look) all() {
	var err error
	if l.disturbed, l.v.Disturbed, err = l.c.disturb(l.site, l.args); err != nil {
		l.problem("the disturbed run: %v", err)
		return
	}
	if len(l.disturbed.Exit.Orphans) > 0 {
		l.problem("processes outlived the program: %v", l.disturbed.Exit.Orphans)
	}
	if l.disturbed.Exit.Late {
		l.problem("the disturbed run took too long")
	}
	had, err := l.secrets()
	if err != nil {
		l.problem("secrets after the disturbance: %v", err)
	}
	l.keyed(had)
	if l.after, err = l.site.Run(l.then...); err != nil {
		l.problem("the run after it: %v", err)
		return
	}
	l.settled(had)
}

// secrets reads what the state has, wherever it is.
func (l *look) secrets() (map[string][]string, error) {
	if l.r.bucket != nil {
		if err := l.r.bucket.fetch(l.site); err != nil {
			return nil, err
		}
	}
	return l.site.Secrets()
}

// keyed checks that no machine is there before the key to it is safe.
func (l *look) keyed(had map[string][]string) {
	w, err := l.site.World("demo")
	if err != nil {
		l.problem("the vendor: %v", err)
		return
	}
	for k := range w.Objects {
		if !strings.HasPrefix(k, "machine ") {
			continue
		}
		l.keys = !l.c.lost
		if len(had) == 0 && !l.c.destroys() && !l.c.lost { // a vendor whose machines do not answer has nothing to bring keys back from
			l.v.Lost++
			l.problem("%s is there and no secret is saved", k)
		}
	}
}

// settled looks at what the run after the disturbance made.
func (l *look) settled(had map[string][]string) {
	if l.disturbed.Asked() || l.after.Asked() {
		l.v.Questions++
		l.problem("it asked")
	}
	if !l.after.OK() {
		l.problem("the run after it ended with %d", l.after.Exit.Code)
	}
	w, err := l.site.World(owners...)
	if err != nil {
		l.problem("the vendor: %v", err)
		return
	}
	d := w.Compare(l.r.ends[l.c.scenario.name])
	l.v.Orphans, l.v.Twice = len(d.Orphans), len(d.Twice)
	if !d.None() {
		l.problem("the vendor has:\n%v", d)
	}
	l.v.Converged = l.after.OK() && d.None()
	l.litter()
	if l.c.destroys() {
		left := l.site.Left()
		if l.r.bucket != nil {
			left = l.r.bucket.left(l.site)
		}
		if len(left) > 0 {
			l.problem("the state is left: %v", left)
		}
		return
	}
	has, err := l.secrets()
	if err != nil {
		l.problem("secrets: %v", err)
	}
	if lost := crashtest.Lost(had, has); l.keys && len(lost) > 0 || len(has) == 0 {
		l.v.Lost += max(1, len(lost))
		l.problem("lost of %d secrets: %v", len(had), lost)
	}
	l.unchanged()
}

// litter checks that what the killed run left is swept away, at the latest by a run an hour later.
func (l *look) litter() {
	left := func() (left []string) {
		for _, f := range l.site.Files() {
			if !slices.Contains(l.r.files[l.c.scenario.name], f) {
				left = append(left, f)
			}
		}
		return left
	}
	if len(left()) == 0 {
		return
	}
	if err := l.site.Age(time.Hour); err != nil {
		l.problem("%v", err)
	}
	later := [][]string{l.then}
	if l.c.destroys() { // there is nothing to do any more: with a new cluster there is
		later = [][]string{{"apply", "--auto-approve"}, l.then}
	}
	for _, args := range later {
		if o, err := l.site.Run(args...); err != nil || !o.OK() {
			l.problem("an hour later: %v %v", o, err)
		}
	}
	if left := left(); len(left) > 0 {
		l.problem("left behind: %v", left)
	}
}

// unchanged checks that there is nothing left to do.
func (l *look) unchanged() {
	args := append([]string{"plan", "--detailed-exitcode"}, l.then[2:]...)
	o, err := l.site.Run(args...)
	if err != nil || !o.OK() {
		l.v.Converged = false
		l.problem("it is not settled: %v %v", o, err)
	}
}
