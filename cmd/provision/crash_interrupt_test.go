//go:build linux && amd64

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
)

// slowVendor takes long enough that steps are left when a person loses patience.
const slowVendor = `{"latency":{"create":"300ms","update":"300ms","delete":"300ms"}}`

// interruptedOnce sends one SIGINT at a boundary: no new step starts, what runs ends, the summary says what is left,
// the exit code is 3, and the next run goes on.
func (r *crashRig) interruptedOnce() {
	var cases []crash
	for _, s := range r.variable() {
		for k, m := range r.moments(s) {
			if *crashFull || k%9 == 0 {
				cases = append(cases, crash{scenario: s, group: s.name + ": interrupted", name: m.String(), disturb: interruptAt(m)})
			}
		}
	}
	r.each(16, cases)
}

// interruptAt sends SIGINT at a moment of a run on a slow vendor, two steps at a time.
func interruptAt(m moment) disturbance {
	return func(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
		var at time.Time
		now := m.is()
		args = append(slices.Clone(args), "--json", "--parallelism", "2", "--var", "options="+slowVendor)
		o, err := s.Watch(crashtest.Watch{At: func(_ int, b crashtest.Boundary) crashtest.Action {
			if now(b) {
				at = time.Now()
				return crashtest.Interrupt
			}
			return crashtest.Go
		}}, args...)
		if err == nil && o.Exit.Acted {
			err = checkInterrupted(o, at)
		}
		return o, o.Exit.Acted && o.Exit.Code == 3, err
	}
}

// An eventLine is what the test reads of an event.
type eventLine struct {
	Type, Address string
	Time          time.Time
	Steps         []string
	Counts        struct{ Done, Failed, NotStarted int }
	Detail        struct{ ID string }
	Diagnostics   []struct{ ID string } // of a command that ended before there were events
}

// checkInterrupted looks at the events of a run that was interrupted then.
func checkInterrupted(o crashtest.Outcome, at time.Time) error {
	steps, running, ended, told := 0, map[string]bool{}, 0, false
	var last eventLine
	for line := range strings.Lines(o.Output) {
		var e eventLine
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return fmt.Errorf("not an event: %q: %w", line, err)
		}
		switch e.Type {
		case "begin":
			steps = len(e.Steps)
		case "step-started":
			running[e.Address] = true
			if late := e.Time.Sub(at); late > 200*time.Millisecond { // of 300 that a call takes
				return fmt.Errorf("step %s began %v after the interrupt", e.Address, late)
			}
		case "step-done", "step-failed":
			if !running[e.Address] {
				return fmt.Errorf("step %s ended and had not begun", e.Address)
			}
			delete(running, e.Address)
			ended++
		case "diagnostic":
			told = told || e.Detail.ID == "interrupted"
		}
		told = told || len(e.Diagnostics) == 1 && e.Diagnostics[0].ID == "interrupted"
		last = e
	}
	switch {
	case len(running) > 0:
		return fmt.Errorf("steps were cut off: %v", running)
	case o.Exit.Code == 0 && ended == steps:
		return nil // the last step had begun
	case o.Exit.Code != 3:
		return fmt.Errorf("exit %d, want 3; %d of %d steps are done", o.Exit.Code, ended, steps)
	case !told:
		return fmt.Errorf("it does not say what is left")
	case steps > 0 && (last.Type != "summary" && last.Type != "diagnostic"):
		return fmt.Errorf("the last event is %q", last.Type)
	}
	return nil
}

// interruptedTwice sends two SIGINT: the command ends at once, whatever runs, and the next run goes on.
func (r *crashRig) interruptedTwice() {
	count := 18
	if *crashFull {
		count = 300
	}
	rnd, ss := rand.New(rand.NewPCG(5, 6)), r.variable()
	var cases []crash
	for i := range count {
		s := ss[i%len(ss)]
		first, second := time.Duration(rnd.IntN(60))*time.Millisecond, time.Duration(5+rnd.IntN(20))*time.Millisecond // two at once are one
		cases = append(cases, crash{scenario: s, group: s.name + ": interrupted twice", name: fmt.Sprintf("after %v and %v", first, second), disturb: interruptTwice(10*time.Millisecond+first, second)})
	}
	r.each(16, cases)
}

// interruptTwice sends SIGINT after some time and again after some more, to a run on a vendor that takes half a minute.
func interruptTwice(first, second time.Duration) disturbance {
	return func(s *crashtest.Site, args []string) (crashtest.Outcome, bool, error) {
		var at time.Time
		o, err := s.Interrupted(func(send func(syscall.Signal)) {
			time.Sleep(first)
			send(syscall.SIGINT)
			time.Sleep(second)
			send(syscall.SIGINT)
			at = time.Now()
			// On a busy computer two can become one on their way.
			go func() { time.Sleep(2 * time.Second); send(syscall.SIGINT) }()
		}, append(slices.Clone(args), "--var", `options={"latency":{"create":"30s","update":"30s","delete":"30s"}}`)...)
		switch took := time.Since(at); {
		case err != nil:
		case took > 10*time.Second: // of 30 that a call takes
			err = fmt.Errorf("it ended %v after the second interrupt", took)
		case o.Exit.Code != 3 && o.Exit.Code != 0 && o.Exit.Signal != syscall.SIGINT: // a program that has just begun has no handler yet
			err = fmt.Errorf("exit %d, want 3", o.Exit.Code)
		}
		return o, o.Exit.Code == 3, err
	}
}
