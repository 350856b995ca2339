package fake

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

// call makes a call of at most so many sub-calls: it takes their time and lets the fault that it meets strike at its
// place. do makes one sub-call and says whether there is more to do.
func (f *Fake) call(ctx context.Context, c providers.Call, steps int, do func() (more bool, err error)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	if err := f.limits.take(c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	fault := f.faults.meet(c)
	wait := f.latency(c) / time.Duration(steps)
	more, err := true, error(nil)
	for i := 0; more; i++ {
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		if fault != nil && !fault.After && i >= fault.Partial {
			break
		}
		if more, err = do(); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	if fault != nil {
		return fmt.Errorf("%s: %w", c, fault.err())
	}
	return nil
}

// latency returns how long the call takes in all.
func (f *Fake) latency(c providers.Call) time.Duration {
	if d, ok := f.options.Latency[string(c.Noun)+"."+string(c.Verb)]; ok {
		return time.Duration(d)
	}
	return time.Duration(f.options.Latency[string(c.Verb)])
}

// sleep waits, or returns the context's error as soon as it has one.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// faults are the rules of what goes wrong and how often each was met.
type faults struct {
	mu     sync.Mutex
	random *rand.Rand
	rules  []rule
}

// A rule is a Fault with what it has seen.
type rule struct {
	Fault
	met, struck int
}

func newFaults(seed uint64, rules []Fault) *faults {
	f := &faults{random: rand.New(rand.NewPCG(seed, 0))}
	f.set(rules)
	return f
}

// set replaces the rules and forgets what was met.
func (f *faults) set(rules []Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = make([]rule, len(rules))
	for i, r := range rules {
		f.rules[i].Fault = r
	}
}

// meet counts the call and returns the fault that strikes it, or nil.
func (f *faults) meet(c providers.Call) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hit *Fault
	for i := range f.rules {
		r := &f.rules[i]
		if !r.matches(c) {
			continue
		}
		r.met++
		if hit == nil && r.strikes(f.random) {
			r.struck++
			fault := r.Fault
			hit = &fault
		}
	}
	return hit
}

func (f *Fault) matches(c providers.Call) bool {
	name := c.Name
	if parts := strings.Split(string(c.ID), "."); name == "" && len(parts) == 4 {
		name = parts[2]
	}
	return (f.Noun == "" || f.Noun == c.Noun) && (f.Verb == "" || f.Verb == c.Verb) && (f.Name == "" || f.Name == name)
}

// strikes says whether the call that it has just met fails.
func (r *rule) strikes(random *rand.Rand) bool {
	first, times := max(r.Nth, 1), r.Times
	if times == 0 && r.Rate == 0 {
		times = 1
	}
	switch {
	case r.met < first:
		return false
	case r.Rate > 0:
		return (times <= 0 || r.struck < times) && random.Float64() < r.Rate
	}
	return times < 0 || r.met < first+times
}

func (f *Fault) err() error {
	err := fmt.Errorf("%w: as the options asked", f.Error)
	if f.RetryAfter > 0 {
		err = fmt.Errorf("%w: %w", err, providers.RetryAfter{After: time.Duration(f.RetryAfter)})
	}
	return err
}
