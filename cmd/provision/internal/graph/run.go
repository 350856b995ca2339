package graph

import (
	"container/heap"
	"context"
	"errors"
	"time"
)

// Options says how a graph runs.
type Options struct {
	Width   int             // steps at once; 0 or less means as many as are ready
	Stop    <-chan struct{} // when it closes or sends, no new step starts; those that run go on to their end. May be nil
	Barred  func() bool     // asked before each step; once it says yes, none starts, as after Stop. May be nil
	Observe func(Event)     // told of every change of a step, in order, one call at a time. May be nil
}

// An Event is a change of one step.
type Event struct {
	Address string
	State   State         // Running, Done, Failed, Blocked or Interrupted
	At      time.Duration // since the run began
	Took    time.Duration // how long the step ran, when it ended
	Err     error         // of Failed and Interrupted
	Cause   string        // of Blocked: the address of the step whose failure is the root of it
}

// Run runs the steps, each as soon as all that it comes after are done and the width allows; of several that could start,
// the first in depth-first order does. It returns when no step runs any more.
//
// A step that fails blocks those that depend on it, however far, and no other. When ctx ends, no new step starts, and
// steps that then return an error count as Interrupted.
//
// The error is about the graph itself, as in Order: then nothing ran. What became of the steps is in the Result.
func (g *Graph) Run(ctx context.Context, o Options) (Result, error) {
	ns, err := g.nodes()
	if err != nil {
		return Result{}, err
	}
	r := &run{Options: o, nodes: ns, ended: make(chan ended), start: time.Now()}
	if r.Width <= 0 {
		r.Width = len(ns)
	}
	if r.Observe == nil {
		r.Observe = func(Event) {}
	}
	for i := range ns {
		if ns[i].wait == 0 {
			r.ready = append(r.ready, i) // in order, so already a heap
		}
	}
	r.loop(ctx)
	return r.result(), nil
}

// A run is the state of one Run. Only the goroutine that called Run touches it.
type run struct {
	Options
	nodes   []node
	ready   ints
	running int
	stopped bool
	ended   chan ended
	start   time.Time
}

// ended is what a step's goroutine has to say at its end.
type ended struct {
	i   int
	err error
}

func (r *run) loop(ctx context.Context) {
	stop, cancel := r.Stop, ctx.Done()
	for {
		for !r.stopped && r.running < r.Width && len(r.ready) > 0 {
			select {
			case <-stop:
				r.stopped = true
			case <-cancel:
				r.stopped = true
			default:
				if r.Barred != nil && r.Barred() {
					r.stopped = true
					break
				}
				r.begin(ctx, heap.Pop(&r.ready).(int))
			}
		}
		if r.running == 0 {
			return
		}
		select {
		case <-stop:
			r.stopped, stop = true, nil
		case <-cancel:
			r.stopped, cancel = true, nil
		case e := <-r.ended:
			r.end(ctx, e)
		}
	}
}

func (r *run) begin(ctx context.Context, i int) {
	n := &r.nodes[i]
	r.running++
	n.State, n.Start = Running, time.Since(r.start)
	r.Observe(Event{Address: n.Address, State: Running, At: n.Start})
	go func() {
		var err error
		if n.step.Run != nil {
			err = n.step.Run(ctx)
		}
		r.ended <- ended{i, err}
	}()
}

func (r *run) end(ctx context.Context, e ended) {
	n := &r.nodes[e.i]
	r.running--
	n.End, n.Err = time.Since(r.start), e.err
	switch {
	case e.err == nil:
		n.State = Done
	case ctx.Err() != nil && (errors.Is(e.err, ctx.Err()) || errors.Is(e.err, context.Cause(ctx))):
		n.State = Interrupted
	default:
		n.State = Failed
	}
	r.Observe(Event{Address: n.Address, State: n.State, At: n.End, Took: n.Took(), Err: n.Err})
	switch n.State {
	case Done:
		r.release(n)
	case Failed:
		r.block(n)
	}
}

// release makes ready what waited for n alone.
func (r *run) release(n *node) {
	for _, b := range n.before {
		if r.nodes[b].wait--; r.nodes[b].wait == 0 {
			heap.Push(&r.ready, b)
		}
	}
}

// block marks all that depends on the failed step n, each step once in the whole run.
func (r *run) block(n *node) {
	var todo ints
	add := func(is []int) {
		for _, i := range is {
			if r.nodes[i].State == NotStarted {
				r.nodes[i].State, r.nodes[i].Cause = Blocked, n.Address
				heap.Push(&todo, i)
			}
		}
	}
	add(n.before)
	for len(todo) > 0 {
		b := &r.nodes[heap.Pop(&todo).(int)]
		r.Observe(Event{Address: b.Address, State: Blocked, At: n.End, Cause: n.Address})
		add(b.before)
	}
}

func (r *run) result() Result {
	res := Result{Steps: make([]StepResult, len(r.nodes)), Elapsed: time.Since(r.start), Stopped: r.stopped}
	for i := range r.nodes {
		res.Steps[i] = r.nodes[i].StepResult
		res.Steps[i].after = r.nodes[i].after
	}
	return res
}

// ints is a heap of positions, the smallest first.
type ints []int

func (h ints) Len() int           { return len(h) }
func (h ints) Less(i, j int) bool { return h[i] < h[j] }
func (h ints) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ints) Push(x any)        { *h = append(*h, x.(int)) }
func (h *ints) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
