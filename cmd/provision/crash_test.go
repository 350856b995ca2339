//go:build linux && amd64

package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
	"github.com/provisionhq/provision/providers"
)

// The rig that proves that an apply survives anything. Without flags the tests take a sample in which every kind of boundary
// is met; `make crash` takes all.
var (
	crashFull = flag.Bool("crash.full", false, "kill at every boundary, not at a sample of them")
	crashOnly = flag.String("crash.only", "", "take only cases whose name has this in it")
	crashShow = flag.Int("crash.show", 3, "how many cases that failed to show in full")
	crashKeep = flag.String("crash.keep", "", "folder to keep the sites of cases that failed in")
)

// A moment is the n-th boundary of a kind: the order of calls differs from run to run, how many of a kind there are hardly does.
type moment struct {
	kind string
	n    int
}

func (m moment) String() string { return fmt.Sprintf("%s (%d)", m.kind, m.n) }

// is returns a function that says of each boundary, in turn, whether it is the moment.
func (m moment) is() func(crashtest.Boundary) bool {
	left := m.n
	return func(b crashtest.Boundary) bool {
		if b.Kind() != m.kind {
			return false
		}
		left--
		return left == 0
	}
}

// killAt kills at a moment.
func (r *crashRig) killAt(m moment, act crashtest.Action) disturbance {
	return func(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
		now := m.is()
		o, err := s.Watch(crashtest.Watch{Sockets: r.sockets, At: func(_ int, b crashtest.Boundary) crashtest.Action {
			if now(b) {
				return act
			}
			return crashtest.Go
		}}, args...)
		return o, o.Exit.Acted, err
	}
}

// moments lists those of an undisturbed run: all, or the first and the last of each kind and some between.
func (r *crashRig) moments(s scenario) (ms []moment) {
	r.t.Helper()
	bs := r.boundaries(s)
	of, met := map[string]int{}, map[string]int{}
	for _, b := range bs {
		of[b.Kind()]++
	}
	for i, b := range bs {
		k := b.Kind()
		met[k]++
		if n := met[k]; *crashFull || n == 1 || n == of[k] || i%r.stride == 0 {
			ms = append(ms, moment{k, n})
		}
	}
	if *crashFull { // another order may bring a few more
		for _, k := range slices.Sorted(maps.Keys(of)) {
			ms = append(ms, moment{k, of[k] + 1}, moment{k, of[k] + 2})
		}
	}
	return ms
}

// boundaries lists those of an undisturbed run.
func (r *crashRig) boundaries(s scenario) (bs []crashtest.Boundary) {
	r.t.Helper()
	site, err := r.begin(s)
	if err != nil {
		r.t.Fatal(err)
	}
	defer os.RemoveAll(site.Dir)
	o, err := site.Watch(crashtest.Watch{Sockets: r.sockets, At: func(_ int, b crashtest.Boundary) crashtest.Action { bs = append(bs, b); return crashtest.Go }}, s.args...)
	if err != nil || !o.OK() {
		r.t.Fatalf("watched and not disturbed: %v %v", o, err)
	}
	return bs
}

// TestCrash disturbs the command in every way that there is.
func TestCrash(t *testing.T) {
	r := newCrashRig(t, builtIn)
	for _, part := range []struct {
		name string
		run  func(*crashRig)
	}{
		{"Order", (*crashRig).order},
		{"Boundaries", (*crashRig).killedAtBoundaries},
		{"Random", (*crashRig).killedAtRandom},
		{"Faults", (*crashRig).faults},
		{"Throttled", (*crashRig).throttled},
		{"Lag", (*crashRig).lag},
		{"Interrupted", (*crashRig).interruptedOnce},
		{"InterruptedTwice", (*crashRig).interruptedTwice},
	} {
		t.Run(part.name, func(t *testing.T) {
			r.t = t
			part.run(r)
		})
	}
	t.Logf("\n%s", r.tally.String())
}

// killedAtBoundaries kills the program before and after each call by which it changes its state or the vendor, and in the
// middle of each write.
func (r *crashRig) killedAtBoundaries() {
	var cases []crash
	met, n := map[string]bool{}, 0
	add := func(s scenario, m moment, how string, act crashtest.Action) {
		n++
		if *crashFull || !met[how+m.kind] || n%r.thin == 0 { // every kind somewhere
			cases = append(cases, crash{scenario: s, group: s.name + r.where() + ": killed", name: how + m.String(), disturb: r.killAt(m, act)})
			met[how+m.kind] = true
		}
	}
	for _, s := range r.scenarios {
		for _, m := range r.moments(s) {
			add(s, m, "", crashtest.Kill)
			if strings.HasPrefix(m.kind, "before") && strings.Contains(m.kind, "write") {
				add(s, m, "torn ", crashtest.Tear)
			}
		}
	}
	if n := len(cases); !*crashFull && r.most > 0 && n > r.most {
		cases = every(cases, (n+r.most-1)/r.most)
	}
	r.each(runtime.NumCPU(), cases)
}

// killedAtRandom kills the program at random moments, in a vendor that answers at once and in one that takes a while.
func (r *crashRig) killedAtRandom() {
	count := 80 / r.thin
	if *crashFull {
		count = 1000
	}
	ss := r.variable()
	rnd := rand.New(rand.NewPCG(1, 2))
	var cases []crash
	for i := range count {
		s := ss[i%len(ss)]
		c := crash{scenario: s, group: s.name + r.where() + ": killed at random", name: fmt.Sprintf(" %d", i)}
		within := r.took[s.name]
		if i%2 == 1 {
			c.options, within = `{"latency":{"create":"4ms","delete":"4ms","update":"4ms","list":"1ms"}}`, within+40*time.Millisecond
		}
		c.disturb = killAfter(time.Duration(rnd.Int64N(int64(within))))
		if i%5 == 4 {
			c.group, c.disturb = s.name+r.where()+": killed twice", twice(c.disturb, killAfter(time.Duration(rnd.Int64N(int64(within)))))
		}
		cases = append(cases, c)
	}
	r.each(runtime.NumCPU(), cases)
}

// twice disturbs a run, and then the run that was to mend it.
func twice(first, second disturbance) disturbance {
	return func(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
		if _, _, err := first(s, args); err != nil {
			return crashtest.Outcome{}, false, err
		}
		return second(s, args)
	}
}

// killAfter kills the program after some time.
func killAfter(d time.Duration) disturbance {
	return func(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
		o, err := s.Killed(d, args...)
		return o, o.Exit.Signal != 0, err
	}
}

// faults lets the n-th call fail, for every n and with each kind of error, before the vendor did anything and after
// it had done all.
func (r *crashRig) faults() {
	var quick, slow []crash
	for _, s := range r.variable() {
		n := r.calls(s)
		for i := 1; i <= n; i++ {
			for _, k := range providers.Kinds() {
				for _, after := range []bool{false, true} {
					c := crash{scenario: s, group: s.name + ": call fails", name: fmt.Sprintf("call %d: %s", i, k), disturb: fault(fmt.Sprintf(`{"faults":[{"nth":%d,"error":%q,"after":%v}]}`, i, k, after))}
					if after {
						c.group, c.name = s.name+": reply lost", c.name+", after its effect"
					}
					if k == providers.Capacity {
						slow = append(slow, c)
					} else {
						quick = append(quick, c)
					}
				}
			}
		}
	}
	if !*crashFull {
		quick, slow = every(quick, 17), nil
	}
	r.both(quick, 2*runtime.NumCPU(), slow)
}

func every(cs []crash, n int) (some []crash) {
	for i, c := range cs {
		if i%n == 0 {
			some = append(some, c)
		}
	}
	return some
}

// fault runs the program with a vendor that has other options this once.
func fault(options string) disturbance {
	return func(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
		o, err := s.Run(append(slices.Clone(args), "--var", "options="+options)...)
		return o, true, err
	}
}

// calls counts the calls to the vendor that a scenario takes.
func (r *crashRig) calls(s scenario) int {
	for n := 1; n < 200; n++ {
		site, err := r.begin(s)
		if err != nil {
			r.t.Fatal(err)
		}
		o, _, err := fault(fmt.Sprintf(`{"faults":[{"nth":%d,"error":"denied"}]}`, n))(site, s.args)
		os.RemoveAll(site.Dir)
		if err != nil {
			r.t.Fatal(err)
		}
		if o.OK() {
			return n - 1
		}
	}
	r.t.Fatalf("%s takes no end of calls", s.name)
	return 0
}

// throttled throttles three calls of ten, and kills some of the runs too.
func (r *crashRig) throttled() {
	count := 1
	if *crashFull {
		count = 30
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	var cases []crash
	for _, s := range r.variable() {
		ms := r.moments(s)
		for i := range count {
			c := crash{scenario: s, group: s.name + ": 30 % throttled", name: fmt.Sprint("seed ", i), options: throttledOptions(rnd), disturb: plainly}
			if i%2 == 0 {
				c.disturb = r.killAt(ms[rnd.IntN(len(ms))], crashtest.Kill)
			}
			cases = append(cases, c)
		}
	}
	r.each(16, cases)
}

// plainly disturbs nothing but what the options do.
func plainly(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
	o, err := s.Run(args...)
	return o, true, err
}

func throttledOptions(rnd *rand.Rand) string {
	var faults string
	for n := 1; n < 300; n++ {
		if rnd.IntN(10) < 3 {
			faults += fmt.Sprintf(`{"nth":%d,"error":"throttled","retry_after":"5ms"},`, n)
		}
	}
	return `{"faults":[` + faults[:len(faults)-1] + `]}`
}

// lag kills the program where the vendor's lists are late.
func (r *crashRig) lag() {
	var quick, slow []crash
	for _, s := range r.variable() {
		for k, m := range r.moments(s) {
			lag := []string{"200ms", "1s", "3s"}[k%3]
			if *crashFull && k%100 == 50 {
				lag = "60s"
			}
			if !*crashFull && k%9 != 0 {
				continue
			}
			c := crash{scenario: s, group: s.name + ": reads lag", name: lag + ", killed " + m.String(), options: fmt.Sprintf(`{"lag":%q}`, lag), disturb: r.killAt(m, crashtest.Kill)}
			if lag == "60s" {
				slow = append(slow, c)
			} else {
				quick = append(quick, c)
			}
		}
	}
	r.both(quick, 16, slow)
}

// both runs quick cases on so many goroutines and slow ones, which wait most of the time, beside them.
func (r *crashRig) both(quick []crash, width int, slow []crash) {
	var wg sync.WaitGroup
	wg.Go(func() { r.each(64, slow) })
	r.each(width, quick)
	wg.Wait()
}
