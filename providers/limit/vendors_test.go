package limit_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/limit"
)

// TestEveryCallHasALimit holds the tables to all calls of the contract, and to saying where they are from.
func TestEveryCallHasALimit(t *testing.T) {
	for _, vendor := range []string{"aws", "azure", "gcp"} {
		rates := limit.For(vendor)
		for _, r := range rates {
			if _, err := time.Parse(time.DateOnly, r.Read); err != nil || !strings.HasPrefix(r.Source, "https://") || r.Name == "" || r.PerSecond <= 0 || r.Burst < 1 {
				t.Errorf("%s: %+v lacks its name, its source, its date or its numbers", vendor, r)
			}
		}
		for _, n := range providers.Nouns() {
			for _, v := range n.Verbs() {
				if allowed(rates, n, v, 1e6) == 0 {
					t.Errorf("%s: %s %s has no limit", vendor, v, n)
				}
			}
		}
	}
	if r := limit.For("local"); r != nil {
		t.Errorf("the host at hand has limits: %+v", r)
	}
}

// TestWrappersShareABucket calls two providers of one account.
func TestWrappersShareABucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(limit.Options{Rates: []limit.Rate{{PerSecond: 1}}})
		a, b := l.Wrap(fake.New(fake.Options{})), l.Wrap(fake.New(fake.Options{}))
		var waits []string
		ctx := providers.WithObserver(t.Context(), func(w providers.Wait) { waits = append(waits, w.String()) })
		start := time.Now()
		for range 3 {
			_, _ = a.Networks().Get(ctx, "x")
			_, _ = b.Machines().List(ctx, "demo")
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("6 calls of both took %s, want 5s", took)
		}
		if len(waits) != 5 || waits[0] != "its turn at the vendor comes in 1s" {
			t.Errorf("the observer was told %q, want 5 turns", waits)
		}
	})
}

// TestThrottledEmptiesTheBucket lets a vendor throttle a limiter whose bucket is full.
func TestThrottledEmptiesTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Options{Faults: []fake.Fault{{Error: providers.Throttled}}})
		p := limit.Wrap(f, limit.Options{Rates: []limit.Rate{{PerSecond: 1, Burst: 10}, {PerSecond: 1, Burst: 1000}}})
		start := time.Now()
		for range 3 {
			_, _ = p.Networks().List(t.Context(), "demo")
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("two calls after one that was throttled took %s, want 2s", took)
		}
	})
}
