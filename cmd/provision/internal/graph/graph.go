// Package graph runs steps in the order of their dependencies, many at once. It knows nothing of clouds: a step is an
// address, the addresses it needs done before it, and a function.
package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Step is one piece of work.
type Step struct {
	Address string                      // its name, unique in the graph
	After   []string                    // addresses of the steps that must be done before it starts
	Run     func(context.Context) error // does the work; has to return soon after ctx ends. Nil does nothing
}

// A Graph is a set of steps. The zero Graph is empty and ready to use. It must not be changed while it runs, and is not
// safe for concurrent use otherwise; it may be run more than once.
type Graph struct {
	steps []Step
	index map[string]int
}

// Add puts a step into the graph, in time that depends only on the step. The steps that it comes after may be added
// later. The error is a *DuplicateError; the graph is then as it was.
func (g *Graph) Add(s Step) error {
	if _, ok := g.index[s.Address]; ok {
		return &DuplicateError{Address: s.Address}
	}
	if g.index == nil {
		g.index = map[string]int{}
	}
	g.index[s.Address] = len(g.steps)
	g.steps = append(g.steps, s)
	return nil
}

// Len returns the number of steps.
func (g *Graph) Len() int { return len(g.steps) }

// Order returns the addresses in depth-first order: from each step that nothing depends on, in the order of Add, first
// what it needs and then itself. So one chain ends before the next begins. Run with Width 1 takes exactly this order.
// The error is an *UnknownError for each dependency that is not in the graph, joined, or a *CycleError.
func (g *Graph) Order() ([]string, error) {
	ns, err := g.nodes()
	if err != nil {
		return nil, err
	}
	as := make([]string, len(ns))
	for i, n := range ns {
		as[i] = n.step.Address
	}
	return as, nil
}

// A DuplicateError says that two steps have one address.
type DuplicateError struct{ Address string }

// Error names the address.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("two steps have the address %s", e.Address)
}

// An UnknownError says that a step comes after one that is not in the graph.
type UnknownError struct{ Address, After string }

// Error names both.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s comes after %s, which is no step", e.Address, e.After)
}

// A CycleError says that steps wait for one another in a circle.
type CycleError struct {
	Addresses []string // each comes after the next, and the last after the first
}

// Error lists the circle.
func (e *CycleError) Error() string {
	return fmt.Sprintf("steps wait for one another: %s after %s", strings.Join(e.Addresses, " after "), e.Addresses[0])
}

// A node is a step in a graph that is known to be sound, with its edges as positions in depth-first order.
type node struct {
	step       *Step
	after      []int // what it needs
	before     []int // what needs it
	wait       int   // how many of after are not done yet
	StepResult       // as far as it is known
}

// nodes checks the graph and returns its steps in depth-first order.
func (g *Graph) nodes() ([]node, error) {
	after, err := g.edges()
	if err != nil {
		return nil, err
	}
	needed := make([]bool, len(g.steps))
	for _, as := range after {
		for _, a := range as {
			needed[a] = true
		}
	}
	w := walk{after: after, mark: make([]mark, len(g.steps)), order: make([]int, 0, len(g.steps))}
	for i := range g.steps {
		if !needed[i] {
			w.visit(i)
		}
	}
	if w.cycle != nil || len(w.order) < len(g.steps) { // what is left is needed by something, without end: it hangs on a circle
		return nil, g.cycle(&w)
	}
	at := make([]int, len(g.steps))
	for pos, i := range w.order {
		at[i] = pos
	}
	ns := make([]node, len(g.steps))
	for pos, i := range w.order {
		n := &ns[pos]
		n.step, n.wait = &g.steps[i], len(after[i])
		n.StepResult = StepResult{Address: n.step.Address, State: NotStarted}
		for _, a := range after[i] {
			n.after = append(n.after, at[a])
			ns[at[a]].before = append(ns[at[a]].before, pos)
		}
	}
	return ns, nil
}

// edges resolves After to positions, each once.
func (g *Graph) edges() ([][]int, error) {
	var unknown []error
	after := make([][]int, len(g.steps))
	for i, s := range g.steps {
		for _, a := range s.After {
			n, ok := g.index[a]
			if !ok {
				unknown = append(unknown, &UnknownError{Address: s.Address, After: a})
				continue
			}
			after[i] = append(after[i], n)
		}
		slices.Sort(after[i])
		after[i] = slices.Compact(after[i])
	}
	return after, errors.Join(unknown...)
}

type mark byte

const (
	unseen mark = iota
	open        // on the path from the start to here
	closed
)

// A walk visits steps depth first.
type walk struct {
	after [][]int
	mark  []mark
	order []int // visited, each behind what it needs
	path  []int
	cycle []int // the first circle met
}

func (w *walk) visit(i int) {
	switch {
	case w.cycle != nil || w.mark[i] == closed:
		return
	case w.mark[i] == open:
		w.cycle = slices.Clone(w.path[slices.Index(w.path, i):])
		return
	}
	w.mark[i] = open
	w.path = append(w.path, i)
	for _, a := range w.after[i] {
		w.visit(a)
	}
	w.path = w.path[:len(w.path)-1]
	w.mark[i] = closed
	w.order = append(w.order, i)
}

// cycle names the circle that a walk met, or finds one among the steps that it could not reach.
func (g *Graph) cycle(w *walk) error {
	for i := range g.steps {
		w.visit(i)
	}
	first := slices.Index(w.cycle, slices.Min(w.cycle)) // begin at the step that was added first
	e := &CycleError{}
	for k := range w.cycle {
		e.Addresses = append(e.Addresses, g.steps[w.cycle[(first+k)%len(w.cycle)]].Address)
	}
	return e
}
