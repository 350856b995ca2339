package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = errors.New("broken")

// sleeper makes a step that takes so long, or less if its context ends.
func sleeper(address string, d time.Duration, err error, after ...string) Step {
	return Step{Address: address, After: after, Run: func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return fmt.Errorf("%s gave up: %w", address, ctx.Err())
		}
	}}
}

func add(t *testing.T, g *Graph, steps ...Step) {
	t.Helper()
	for _, s := range steps {
		if err := g.Add(s); err != nil {
			t.Fatal(err)
		}
	}
}

// cluster is a network, machines that need it, and nodes that need the machines.
func cluster(t *testing.T, fail string) *Graph {
	g := &Graph{}
	err := func(a string) error {
		if a == fail {
			return errBroken
		}
		return nil
	}
	add(t, g, sleeper("net", time.Second, err("net")))
	for i := range 3 {
		m := fmt.Sprintf("m%d", i)
		add(t, g, sleeper(m, time.Duration(i+2)*time.Second, err(m), "net"))
	}
	for i := range 3 {
		add(t, g, sleeper(fmt.Sprintf("n%d", i), time.Second, nil, fmt.Sprintf("m%d", i)))
	}
	add(t, g, sleeper("addon", time.Second, nil, "n0", "n1", "n2"))
	return g
}

func states(r Result) string {
	var s []string
	for _, st := range r.Steps {
		word := string(st.State)
		if st.State == Blocked {
			word += " by " + st.Cause
		}
		s = append(s, st.Address+" "+word)
	}
	return strings.Join(s, ", ")
}

func mustRun(t *testing.T, ctx context.Context, g *Graph, o Options) Result {
	t.Helper()
	r, err := g.Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustRun(t, t.Context(), cluster(t, ""), Options{})
		if r.Count(Done) != 8 || r.Err() != nil || r.Stopped {
			t.Errorf("got %s, error %v", states(r), r.Err())
		}
		if want := (1 + 4 + 1 + 1) * time.Second; r.Elapsed != want {
			t.Errorf("took %v; want %v, the longest chain", r.Elapsed, want)
		}
		var path []string
		for _, s := range r.CriticalPath() {
			path = append(path, fmt.Sprintf("%s %v-%v", s.Address, s.Start, s.End))
		}
		want := "net 0s-1s, m2 1s-5s, n2 5s-6s, addon 6s-7s"
		if got := strings.Join(path, ", "); got != want {
			t.Errorf("critical path %s; want %s", got, want)
		}
	})
}

func TestWidth(t *testing.T) {
	for _, width := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			var now, most atomic.Int32
			g := &Graph{}
			for i := range 9 {
				add(t, g, Step{Address: fmt.Sprint(i), Run: func(context.Context) error {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Second)
					now.Add(-1)
					return nil
				}})
			}
			r := mustRun(t, t.Context(), g, Options{Width: width})
			if int(most.Load()) != width || r.Elapsed != time.Duration((9+width-1)/width)*time.Second {
				t.Errorf("width %d: at most %d at once, in %v", width, most.Load(), r.Elapsed)
			}
		})
	}
}

func TestWidthOneIsDepthFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		r := mustRun(t, t.Context(), cluster(t, ""), Options{Width: 1, Observe: func(e Event) {
			if e.State == Running {
				ran = append(ran, fmt.Sprintf("%s@%v", e.Address, e.At))
			}
		}})
		want := "net@0s m0@1s n0@3s m1@4s n1@7s m2@8s n2@12s addon@13s"
		if got := strings.Join(ran, " "); got != want || r.Elapsed != 14*time.Second {
			t.Errorf("ran %s in %v; want %s in 14s", got, r.Elapsed, want)
		}
	})
}

func TestFailure(t *testing.T) {
	for _, c := range []struct{ fail, want string }{
		{"m1", "net done, m0 done, n0 done, m1 failed, n1 blocked by m1, m2 done, n2 done, addon blocked by m1"},
		{"net", "net failed, m0 blocked by net, n0 blocked by net, m1 blocked by net, n1 blocked by net, m2 blocked by net, n2 blocked by net, addon blocked by net"},
	} {
		synctest.Test(t, func(t *testing.T) {
			seen := map[string]int{}
			r := mustRun(t, t.Context(), cluster(t, c.fail), Options{Observe: func(e Event) {
				if e.State == Blocked {
					seen[e.Address]++
					if e.Cause != c.fail || e.Err != nil {
						t.Errorf("%s is blocked by %q with error %v; want %s and none", e.Address, e.Cause, e.Err, c.fail)
					}
				}
			}})
			if got := states(r); got != c.want {
				t.Errorf("%s fails:\ngot  %s\nwant %s", c.fail, got, c.want)
			}
			if len(seen) != r.Count(Blocked) {
				t.Errorf("%d steps were reported blocked; %d are", len(seen), r.Count(Blocked))
			}
			for a, n := range seen {
				if n != 1 {
					t.Errorf("%s was reported blocked %d times", a, n)
				}
			}
			if err := r.Err(); !errors.Is(err, errBroken) || err.Error() != c.fail+": broken" {
				t.Errorf("Err = %q; want the one cause alone", err)
			}
		})
	}
}

// TestTwoFailures: what depends on both names the one that failed first.
func TestTwoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Graph{}
		add(t, g, sleeper("late", 2*time.Second, errBroken), sleeper("early", time.Second, errBroken), sleeper("x", 0, nil, "late", "early"))
		r := mustRun(t, t.Context(), g, Options{})
		if got, want := states(r), "late failed, early failed, x blocked by early"; got != want {
			t.Errorf("got %s; want %s", got, want)
		}
		var se *StepError
		if err := r.Err(); err.Error() != "late: broken\nearly: broken" || !errors.As(err, &se) || se.Address != "late" {
			t.Errorf("Err = %q", r.Err())
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(2500*time.Millisecond, func() { close(stop) })
		r := mustRun(t, t.Context(), cluster(t, ""), Options{Stop: stop})
		want := "net done, m0 done, n0 not started, m1 done, n1 not started, m2 done, n2 not started, addon not started"
		if got := states(r); got != want || !r.Stopped || r.Err() != nil {
			t.Errorf("got %s, stopped %v, error %v; want %s", got, r.Stopped, r.Err(), want)
		}
		if r.Elapsed != 5*time.Second {
			t.Errorf("took %v; want 5s, when the last that ran was done", r.Elapsed)
		}
	})
}

func TestStopBeforeStart(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	r := mustRun(t, t.Context(), build(t, "a", "b: a"), Options{Stop: stop})
	if r.Count(NotStarted) != 2 || !r.Stopped {
		t.Errorf("got %s, stopped %v", states(r), r.Stopped)
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3500*time.Millisecond, func() { cancel(errors.New("second interrupt")) })
		g := cluster(t, "")
		g.steps[g.index["m2"]].Run = func(ctx context.Context) error { // fails for a reason of its own as it is cut off
			<-ctx.Done()
			return errBroken
		}
		r := mustRun(t, ctx, g, Options{})
		want := "net done, m0 done, n0 interrupted, m1 interrupted, n1 not started, m2 failed, n2 blocked by m2, addon blocked by m2"
		if got := states(r); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		if r.Elapsed != 3500*time.Millisecond || !r.Stopped {
			t.Errorf("took %v, stopped %v; want 3.5s, true", r.Elapsed, r.Stopped)
		}
	})
}

// TestOwnDeadline: a step that runs into a deadline of its own has failed; the run's context has nothing to do with it.
func TestOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Graph{}
		add(t, g, Step{Address: "a", Run: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		}})
		if r := mustRun(t, t.Context(), g, Options{}); states(r) != "a failed" {
			t.Errorf("got %s; want a failed", states(r))
		}
	})
}

// TestRunAgain: a graph keeps nothing of a run.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := cluster(t, "m0")
		first, second := states(mustRun(t, t.Context(), g, Options{})), states(mustRun(t, t.Context(), g, Options{}))
		if first != second {
			t.Errorf("first %s\nthen  %s", first, second)
		}
	})
}

// TestEventsAreOrdered: Observe is called by one goroutine, times never go back, and no step starts before what it needs.
func TestEventsAreOrdered(t *testing.T) {
	g := &Graph{}
	for i := range 500 {
		var after []string
		if i >= 10 {
			after = []string{fmt.Sprint(i - 10), fmt.Sprint(i / 2)}
		}
		add(t, g, Step{Address: fmt.Sprint(i), After: after})
	}
	var events []Event // no lock: the race detector tells if one is needed
	r := mustRun(t, t.Context(), g, Options{Width: 16, Observe: func(e Event) { events = append(events, e) }})
	if r.Count(Done) != 500 || len(events) != 1000 {
		t.Fatalf("%d done, %d events", r.Count(Done), len(events))
	}
	done := map[string]bool{}
	for i, e := range events {
		if i > 0 && e.At < events[i-1].At {
			t.Errorf("event %d is at %v, the one before at %v", i, e.At, events[i-1].At)
		}
		for _, a := range g.steps[g.index[e.Address]].After {
			if !done[a] {
				t.Errorf("%s %s before %s is done", e.Address, e.State, a)
			}
		}
		done[e.Address] = e.State == Done
	}
	if !slices.IsSortedFunc(events, func(a, b Event) int { return int(a.At - b.At) }) {
		t.Error("events are not in order of time")
	}
}

// chains is a graph of n steps: a start, chains of ten, and an end that needs them all.
func chains(b *testing.B, n int) *Graph {
	g := &Graph{}
	must := func(s Step) {
		if err := g.Add(s); err != nil {
			b.Fatal(err)
		}
	}
	must(Step{Address: "start"})
	var ends []string
	for i := range n - 2 {
		after := "start"
		if i%10 > 0 {
			after = fmt.Sprintf("step[%d]", i-1)
		}
		address := fmt.Sprintf("step[%d]", i)
		must(Step{Address: address, After: []string{after}})
		if i%10 == 9 || i == n-3 {
			ends = append(ends, address)
		}
	}
	must(Step{Address: "end", After: ends})
	return g
}

func BenchmarkAddAndRun(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := chains(b, n).Run(b.Context(), Options{Width: 64})
				if err != nil || r.Count(Done) != n {
					b.Fatalf("%d of %d done, %v", r.Count(Done), n, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/step")
		})
	}
}

// TestBarred: once it is said that no step may start, none does, however soon after.
func TestBarred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		barred, began := false, 0
		g := &Graph{}
		for _, a := range []string{"a", "b", "c"} {
			add(t, g, Step{Address: a, Run: func(context.Context) error { barred = true; return nil }})
		}
		r := mustRun(t, t.Context(), g, Options{Width: 1, Barred: func() bool { return barred }, Observe: func(e Event) {
			if e.State == Running {
				began++
			}
		}})
		if got, want := states(r), "a done, b not started, c not started"; got != want || began != 1 || !r.Stopped {
			t.Errorf("got %s, %d began, stopped %v; want %s", got, began, r.Stopped, want)
		}
	})
}
