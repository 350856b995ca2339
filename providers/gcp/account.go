package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/provisionhq/provision/providers"
)

// account is what Google knows of whoever asks.
type account struct{ p *Provider }

// Check looks at all that it can find out, at the same time, and changes nothing.
func (w account) Check(ctx context.Context, n providers.Need) (_ providers.Report, err error) {
	defer about(providers.CheckVerb, providers.AccountNoun, w.p.o.Project, &err)
	if err := ctx.Err(); err != nil {
		return providers.Report{}, err
	}
	a := &audit{p: w.p, need: n, report: providers.Report{Place: "project " + w.p.o.Project + ", " + w.p.o.Region}}
	looks := []func(context.Context) error{a.identified, a.permitted, a.limited, a.imaged, a.bordered, a.unnamed}
	err = together(slices.Collect(func(yield func(func() error) bool) {
		for _, look := range looks {
			if !yield(func() error { return look(ctx) }) {
				return
			}
		}
	})...)
	if ctx.Err() != nil {
		return providers.Report{}, ctx.Err()
	}
	if err != nil {
		return providers.Report{}, err
	}
	return a.sorted(), nil
}

// An audit is one Check: what is needed, and what was found so far.
type audit struct {
	p    *Provider
	need providers.Need

	mu     sync.Mutex
	report providers.Report

	once  sync.Once
	types map[string]kind // by zone and name
	err   error           // why they could not be looked up
}

// add writes something into the report.
func (a *audit) add(write func(*providers.Report)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	write(&a.report)
}

// problem adds one, once.
func (a *audit) problem(k providers.Kind, n providers.Noun, name, field, format string, args ...any) {
	p := providers.Problem{Kind: k, Noun: n, Name: name, Field: field, Text: fmt.Sprintf(format, args...)}
	a.add(func(r *providers.Report) {
		if !slices.Contains(r.Problems, p) {
			r.Problems = append(r.Problems, p)
		}
	})
}

// refused adds what a look of the provider's own was refused for, as a problem of the object; other errors it returns.
func (a *audit) refused(err error, n providers.Noun, name, field string) error {
	if err == nil {
		return nil
	}
	switch k := kindOf(err); k {
	case providers.Invalid, providers.NotFound, providers.Conflict, providers.Exists, providers.Unsupported:
		a.problem(k, n, name, field, "%s", strings.TrimPrefix(kinded(err).Error(), string(k)+": "))
		return nil
	}
	return err
}

// unseen notes what the account may not look at. Credentials that are of no use at all, and services that do not answer, are errors.
func (a *audit) unseen(what string, err error) error {
	if kindOf(err) != providers.Denied || statusOf(err) != http.StatusForbidden && statusOf(err) != 0 || strings.Contains(err.Error(), "oauth2:") || errors.As(err, new(*stranger)) {
		return err
	}
	a.add(func(r *providers.Report) { r.Unseen = append(r.Unseen, what+": "+kinded(err).Error()) })
	return nil
}

// sorted is the report in the order that people read.
func (a *audit) sorted() providers.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.report
	slices.Sort(r.Missing)
	slices.Sort(r.Unseen)
	slices.SortFunc(r.Limits, func(x, y providers.Limit) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(r.Problems, func(x, y providers.Problem) int {
		return strings.Compare(fmt.Sprint(x.Noun, x.Name, x.Field, x.Text), fmt.Sprint(y.Noun, y.Name, y.Field, y.Text))
	})
	return r
}

// zone is where a machine of the need goes.
func (a *audit) zone(s providers.MachineSpec) string {
	n := &network{tags: map[string]string{}}
	for _, of := range a.need.Networks {
		n.tags[zonesTag] = strings.Join(of.Zones, " ")
	}
	zone, _ := machines{a.p}.zone(s, n) // it has no error
	return zone
}

// names are those of what is needed, by what Google would call it.
func names[S providers.Described](n providers.Noun, all []S) map[string]string {
	m := map[string]string{}
	for _, s := range all {
		m[vendorName(n, s.Key(), "")] = s.Key().Name
	}
	return m
}
