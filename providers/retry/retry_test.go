package retry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/providertest"
	"github.com/provisionhq/provision/providers/retry"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, func(*testing.T) providertest.Fixture {
		f := fake.New(fake.Options{})
		return providertest.Fixture{Provider: retry.Wrap(f, retry.Options{}), Stop: f.Stop, Writes: f.Writes, Strip: strip(f)}
	})
}

// TestConformanceWithFaults runs the suite against a vendor of whose calls many fail: through the wrapper none does.
// Only a Create that finds its object there never fails, because a retry could not tell it from one of its own.
func TestConformanceWithFaults(t *testing.T) {
	var calls atomic.Int64
	unsteady := func(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
		n := calls.Add(1)
		if n%3 == 0 && c.Verb != providers.CreateVerb {
			return providers.Throttled
		}
		err := next(ctx)
		if n%2 == 0 && err == nil {
			return providers.Unavailable
		}
		return err
	}
	providertest.Run(t, func(*testing.T) providertest.Fixture {
		f := fake.New(fake.Options{})
		quick := retry.Pace{First: time.Microsecond, Max: time.Millisecond, Attempts: 30}
		return providertest.Fixture{Provider: retry.Wrap(providers.Wrap(f, unsteady), retry.Options{Busy: quick}), Stop: f.Stop}
	})
}

// without random waits, so that tests know how long they are.
func exact(o retry.Options) retry.Options {
	o.Random = func() float64 { return 1 }
	return o
}

func network() providers.NetworkSpec { return providers.NetworkSpec{Owner: "demo", Name: "main"} }

func always(kind providers.Kind) []fake.Fault {
	return []fake.Fault{{Verb: providers.GetVerb, Times: -1, Error: kind}}
}

func TestWaits(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name    string
		faults  []fake.Fault
		options retry.Options
		limit   time.Duration // of the context; 0: none
		want    []time.Duration
		kind    providers.Kind
	}{
		{"doubles up to the longest", always(providers.Unavailable),
			retry.Options{Busy: retry.Pace{First: s, Max: 5 * s, Attempts: 6}}, 0,
			[]time.Duration{s, 2 * s, 4 * s, 5 * s, 5 * s}, providers.Unavailable},
		{"defaults", always(providers.Throttled), retry.Options{}, 0,
			[]time.Duration{s / 5, 2 * s / 5, 4 * s / 5, 8 * s / 5, 16 * s / 5, 32 * s / 5, 64 * s / 5, 20 * s, 20 * s}, providers.Throttled},
		{"capacity slowly", always(providers.Capacity), retry.Options{}, 0,
			[]time.Duration{15 * s, 30 * s, 60 * s, 120 * s}, providers.Capacity},
		{"not what does not pass", always(providers.Quota), retry.Options{}, 0, nil, providers.Quota},
		{"the vendor's own word", []fake.Fault{{Verb: providers.GetVerb, Error: providers.Throttled, RetryAfter: fake.Duration(40 * s)}},
			retry.Options{Busy: retry.Pace{First: s}}, 0, []time.Duration{41 * s}, providers.NotFound},
		{"a shorter word of the vendor's changes nothing", []fake.Fault{{Verb: providers.GetVerb, Error: providers.Throttled, RetryAfter: fake.Duration(s / 2)}},
			retry.Options{Busy: retry.Pace{First: s}}, 0, []time.Duration{s}, providers.NotFound},
		{"no wait that outlasts the deadline", always(providers.Unavailable),
			retry.Options{Busy: retry.Pace{First: s}}, 6 * s, []time.Duration{s, 2 * s}, providers.Unavailable},
		{"not even the vendor's own", []fake.Fault{{Verb: providers.GetVerb, Error: providers.Throttled, RetryAfter: fake.Duration(40 * s)}},
			retry.Options{}, 10 * s, nil, providers.Throttled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var waits []time.Duration
				o := exact(c.options)
				o.Notify = func(w providers.Wait) {
					if w.Call.Verb != providers.GetVerb || w.Attempt != len(waits)+1 || w.Err == nil {
						t.Errorf("Notify got %+v", w)
					}
					waits = append(waits, w.For)
				}
				p := retry.Wrap(fake.New(fake.Options{Faults: c.faults}), o)
				var observed []time.Duration
				ctx := providers.WithObserver(t.Context(), func(w providers.Wait) { observed = append(observed, w.For) })
				if c.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.limit)
					defer cancel()
				}
				start := time.Now()
				_, err := p.Networks().Get(ctx, "x")
				if got := providers.KindOf(err); got != c.kind {
					t.Errorf("it returned %v, want kind %q", err, c.kind)
				}
				if !slices.Equal(waits, c.want) {
					t.Errorf("it waited %v, want %v", waits, c.want)
				}
				if !slices.Equal(observed, waits) {
					t.Errorf("the context's observer was told of %v, Notify of %v", observed, waits)
				}
				var sum time.Duration
				for _, w := range c.want {
					sum += w
				}
				if took := time.Since(start); took != sum {
					t.Errorf("it took %s, want the sum of its waits, %s", took, sum)
				}
			})
		})
	}
}

// A caller that has a choice is told at once that there is none of what it asked for first.
func TestChoiceDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retry.Wrap(fake.New(fake.Options{Faults: always(providers.Capacity)}), retry.Options{})
		start := time.Now()
		if _, err := p.Networks().Get(providers.WithChoice(t.Context()), "x"); !errors.Is(err, providers.Capacity) || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestRandomSpreadsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		o := retry.Options{Busy: retry.Pace{First: time.Second, Attempts: 2}, Notify: func(w providers.Wait) {
			seen[w.For] = true
			if w.For < time.Second/2 || w.For > time.Second {
				t.Errorf("it waits %s, want from half a second to one", w.For)
			}
		}}
		p := retry.Wrap(fake.New(fake.Options{Faults: always(providers.Unavailable)}), o)
		for range 20 {
			_, _ = p.Networks().Get(t.Context(), "x")
		}
		if len(seen) < 10 {
			t.Errorf("20 waits had only %d lengths", len(seen))
		}
	})
}

func TestCreateGoesOn(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault fake.Fault
	}{
		{"before its effect", fake.Fault{Error: providers.Unavailable}},
		{"in the middle", fake.Fault{Error: providers.Unavailable, Partial: 2}},
		{"when its answer was lost", fake.Fault{Error: providers.Unavailable, After: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.fault.Verb = providers.CreateVerb
				f := fake.New(fake.Options{Faults: []fake.Fault{c.fault}})
				p := retry.Wrap(f, retry.Options{})
				n, err := p.Networks().Create(t.Context(), network())
				if err != nil || n.Partial || n.ID == "" {
					t.Fatalf("Create = %+v, %v, want a complete network", n, err)
				}
				if _, err := p.Networks().Create(t.Context(), network()); !errors.Is(err, providers.Exists) {
					t.Errorf("a second Create = %v, want Exists: only one of our own retries hides it", err)
				}
				if f.Writes() != 4 {
					t.Errorf("%d sub-calls took effect, want the network's 4", f.Writes())
				}
			})
		})
	}
}

func TestEndOfContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retry.Wrap(fake.New(fake.Options{Faults: always(providers.Capacity)}), retry.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := p.Networks().Get(ctx, "x")
		if took := time.Since(start); took != time.Second {
			t.Errorf("it returned after %s, want when its context ended, after 1s", took)
		}
		if !errors.Is(err, context.Canceled) || !errors.Is(err, providers.Capacity) {
			t.Errorf("it returned %v, want the context's error and the last one", err)
		}
	})
}

func TestSaysHowOftenItTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := exact(retry.Options{Busy: retry.Pace{First: time.Second, Attempts: 3}})
		p := retry.Wrap(fake.New(fake.Options{Faults: always(providers.Unavailable)}), o)
		_, err := p.Networks().Get(t.Context(), "x")
		want := "get network x: unavailable: as the options asked (tried 3 times in 3s)"
		if got := fmt.Sprint(err); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func strip(f *fake.Fake) func(context.Context, providers.Noun, providers.ID, ...string) error {
	return func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
		return f.Strip(ctx, id, tags...)
	}
}
