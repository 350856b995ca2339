package limit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/limit"
	"github.com/provisionhq/provision/providers/providertest"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, func(*testing.T) providertest.Fixture {
		f := fake.New(fake.Options{})
		o := limit.Options{Rates: []limit.Rate{{PerSecond: 20000, Burst: 20}}, Concurrent: 2}
		return providertest.Fixture{Provider: limit.Wrap(f, o), Stop: f.Stop, Writes: f.Writes, Strip: strip(f)}
	})
}

func TestRates(t *testing.T) {
	get := func(ctx context.Context, p providers.Provider) { _, _ = p.Networks().Get(ctx, "x") }
	list := func(ctx context.Context, p providers.Provider) { _, _ = p.Machines().List(ctx, "x") }
	for _, c := range []struct {
		name  string
		rates []limit.Rate
		call  func(context.Context, providers.Provider)
		want  time.Duration // of 11 calls
	}{
		{"none", nil, get, 0},
		{"any call", []limit.Rate{{PerSecond: 2}}, get, 5 * time.Second},
		{"a burst first", []limit.Rate{{PerSecond: 1, Burst: 6}}, get, 5 * time.Second},
		{"its noun", []limit.Rate{{Nouns: []providers.Noun{providers.NetworkNoun}, PerSecond: 1}}, get, 10 * time.Second},
		{"another noun", []limit.Rate{{Nouns: []providers.Noun{providers.NetworkNoun}, PerSecond: 1}}, list, 0},
		{"its verb", []limit.Rate{{Verbs: []providers.Verb{providers.ListVerb}, PerSecond: 1}}, list, 10 * time.Second},
		{"another verb", []limit.Rate{{Verbs: []providers.Verb{providers.ListVerb}, PerSecond: 1}}, get, 0},
		{"the slower of two", []limit.Rate{{PerSecond: 10}, {Verbs: []providers.Verb{providers.GetVerb}, PerSecond: 1}}, get, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := limit.Wrap(fake.New(fake.Options{}), limit.Options{Rates: c.rates})
				start := time.Now()
				var wg sync.WaitGroup
				for range 11 {
					wg.Go(func() { c.call(t.Context(), p) })
				}
				wg.Wait()
				if got := time.Since(start).Round(time.Millisecond); got != c.want {
					t.Errorf("11 calls took %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		slow := providers.Wrap(fake.New(fake.Options{}), func(context.Context, *providers.Call, func(context.Context) error) error {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		})
		p := limit.Wrap(slow, limit.Options{Concurrent: 3})
		start := time.Now()
		var wg sync.WaitGroup
		for range 9 {
			wg.Go(func() { _ = p.Volumes().Snapshots().Delete(t.Context(), "x") })
		}
		wg.Wait()
		if most.Load() != 3 {
			t.Errorf("%d calls were made at a time, want 3", most.Load())
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("9 calls of a second took %s, want 3s", took)
		}
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := limit.Wrap(fake.New(fake.Options{}), limit.Options{Rates: []limit.Rate{{PerSecond: 0.1}}})
		if _, err := p.Networks().List(t.Context(), "demo"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Networks().List(ctx, "demo"); !errors.Is(err, providers.Throttled) {
			t.Errorf("a turn after the deadline: %v, want Throttled", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if _, err := p.Networks().List(ctx, "demo"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while it waits: %v, want the context's error", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("cancelled after 1s, it returned after %s", took)
		}
	})
}

func TestContextEndsTheWaitForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Options{Latency: map[string]fake.Duration{"list": fake.Duration(time.Minute)}})
		p := limit.Wrap(f, limit.Options{Concurrent: 1})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.Networks().List(t.Context(), "demo") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := p.Networks().Get(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get = %v, want the context's error", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("it returned after %s, want 1s", took)
		}
		wg.Wait()
		if _, err := p.Networks().Get(t.Context(), "x"); !errors.Is(err, providers.NotFound) {
			t.Errorf("Get when the slot is free again = %v, want NotFound", err)
		}
	})
}

func strip(f *fake.Fake) func(context.Context, providers.Noun, providers.ID, ...string) error {
	return func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
		return f.Strip(ctx, id, tags...)
	}
}
