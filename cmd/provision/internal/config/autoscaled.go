package config

import (
	"slices"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// number reads how many machines a pool has: either count, or min and max and the types to choose from.
func (r *reader) number(p *Pool) {
	for _, name := range []string{"min", "max", "machines"} {
		r.knows(name)
	}
	has := func(name string) bool { return r.b.Body.Attributes[name] != nil }
	switch {
	case has("max") || has("min"):
		r.between(p)
		if a := r.attr("count"); a != nil {
			r.l.report(r.l.diag(diag.BadCount, a.SrcRange, r.in, "A pool has either a count, or min and max between which the cluster itself decides."))
		}
	case has("machines"):
		a := r.attr("machines")
		r.l.report(r.l.diag(diag.UnknownAttribute, a.NameRange, r.in, "Several types of machine are for a pool with min and max, where the cluster chooses. One with a count has one type: machine = \"small\"."))
	default:
		r.need("count", "count = 2")
		r.count(p)
	}
}

// count reads a fixed number of machines.
func (r *reader) count(p *Pool) {
	n, place, ok := r.whole("count")
	if !ok {
		return
	}
	p.Count = n
	if n < 0 || n > maxNodes {
		p.Count = 0
		r.l.report(r.l.diag(diag.BadCount, place, r.in, "A pool has from 0 to %d machines, not %d.", maxNodes, n))
	}
}

// between reads the numbers between which the cluster decides, and what it chooses from.
func (r *reader) between(p *Pool) {
	r.need("max", "max = 5")
	most, place, ok := r.whole("max")
	if ok && (most < 1 || most > maxNodes) {
		r.l.report(r.l.diag(diag.BadCount, place, r.in, "The most machines that a pool may have are from 1 to %d, not %d.", maxNodes, most))
		ok = false
	}
	if ok {
		p.Max = most
	}
	least, place, given := r.whole("min")
	switch {
	case !given:
	case least < 0:
		r.l.report(r.l.diag(diag.BadCount, place, r.in, "A pool cannot have fewer than 0 machines."))
	case ok && least > most:
		r.l.report(r.l.diag(diag.BadCount, place, r.in, "The pool should have at least %d machines and at most %d.", least, most))
	default:
		p.Min = least
	}
	r.choice(p)
}

// choice reads the types to choose from.
func (r *reader) choice(p *Pool) {
	a := r.b.Body.Attributes["machines"]
	if a == nil {
		return // one type: machine
	}
	if p.Machine != "" {
		r.l.report(r.l.diag(diag.BadValue, a.SrcRange, r.in, "A pool has either one type of machine, or several: machine or machines."))
	}
	types := r.texts("machines")
	if len(types) == 0 && !slices.Contains(r.bad, "machines") {
		r.l.report(r.l.diag(diag.BadValue, a.SrcRange, r.in, "The list of machine types is empty."))
	}
	for _, t := range types {
		r.notEmpty(t, "machines")
		if slices.Contains(p.Machines, t.text) {
			r.l.report(r.l.diag(diag.BadValue, t.place, r.in, "The machine type %q is there twice.", t.text))
		}
		p.Machines = append(p.Machines, t.text)
	}
}
