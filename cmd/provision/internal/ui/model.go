package ui

import (
	"slices"
	"strings"
	"time"
)

// step is what is known of one step.
type step struct {
	address     string
	kind        Type // of the last event that changed its state; Begin while it waits
	text        string
	cause       string
	since       time.Time // when it started
	took        time.Duration
	done, total int64 // bytes
}

// running says whether the step is at work.
func (s *step) running() bool { return s.kind == Started }

// group is the steps of one pool, or of one kind.
type group struct {
	name  string
	steps []*step
}

// model is what the events so far add up to.
type model struct {
	steps  map[string]*step
	groups []*group
	long   int // columns of the longest address
}

// apply takes an event in and returns its step, or nil if it is about none, and whether the step changed its state or its
// text.
func (m *model) apply(e Event) (s *step, changed bool) {
	switch e.Type {
	case Begin:
		for _, a := range e.Steps {
			m.step(a)
		}
		return nil, false
	case Started:
		s = m.step(e.Address)
		s.kind, s.since, s.text = Started, e.Time, clean(e.Text)
		return s, true
	case Progress:
		s = m.step(e.Address)
		text := clean(e.Text)
		changed = text != s.text
		s.text, s.done, s.total = text, e.Done, e.Total
		return s, changed
	case Done, Failed, Blocked:
		s = m.step(e.Address)
		s.kind, s.text, s.cause, s.took = e.Type, clean(e.Text), e.Cause, e.Took
		s.done, s.total = 0, 0
		return s, true
	}
	return nil, false
}

// step returns the step of that address, new or known.
func (m *model) step(address string) *step {
	if s, ok := m.steps[address]; ok {
		return s
	}
	if m.steps == nil {
		m.steps = map[string]*step{}
	}
	s := &step{address: address, kind: Begin}
	m.steps[address] = s
	m.long = max(m.long, columns(clean(address)))
	name := groupOf(address)
	i := slices.IndexFunc(m.groups, func(g *group) bool { return g.name == name })
	if i < 0 {
		i, m.groups = len(m.groups), append(m.groups, &group{name: name})
	}
	m.groups[i].steps = append(m.groups[i].steps, s)
	return s
}

// groupOf returns the pool of an address such as machine.workers[1], or else its kind: network of network.main.
func groupOf(address string) string {
	kind, rest, ok := strings.Cut(address, ".")
	if !ok {
		return "cluster"
	}
	if pool, _, ok := strings.Cut(rest, "["); ok {
		return pool
	}
	return kind
}

// counts is how many are in which state.
type counts struct{ total, done, failed, blocked, running int }

// count sums the steps up.
func (m *model) count() (c counts) {
	for _, s := range m.steps {
		c.add(s.kind)
	}
	return c
}

func (c *counts) add(kind Type) {
	c.total++
	switch kind {
	case Done:
		c.done++
	case Failed:
		c.failed++
	case Blocked:
		c.blocked++
	case Started:
		c.running++
	}
}

// count sums the members of a pool up: workers[1] is done when all steps that name it are. A step that names no member is
// one.
func (g *group) count() (c counts) {
	members := map[string]Type{}
	for _, s := range g.steps {
		name := s.address
		if from, to := strings.Index(name, "["), strings.Index(name, "]"); from >= 0 && to > from {
			name = name[from : to+1]
		}
		if was, ok := members[name]; !ok || rank(s.kind) > rank(was) {
			members[name] = s.kind
		}
	}
	for _, kind := range members {
		c.add(kind)
	}
	return c
}

// rank orders the states of a member's steps: the highest is the member's.
func rank(kind Type) int { return slices.Index([]Type{Done, Begin, Started, Blocked, Failed}, kind) }
