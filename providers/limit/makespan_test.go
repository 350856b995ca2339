package limit_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/limit"
	"github.com/provisionhq/provision/providers/retry"
)

// machineTime is how long the vendor takes to make a machine, once it has let the call through.
const machineTime = 20 * time.Second

// allowed is how long n calls take at least that are all asked for at once, as the buckets let them through.
func allowed(rates []limit.Rate, noun providers.Noun, verb providers.Verb, n int) (d time.Duration) {
	for _, r := range rates {
		if has(r.Nouns, noun) && has(r.Verbs, verb) {
			d = max(d, time.Duration(float64(n-r.Burst)/r.PerSecond*float64(time.Second)))
		}
	}
	return d
}

func has[T comparable](all []T, one T) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return len(all) == 0
}

// enforcing returns a vendor whose machines take a while and that enforces the rates.
func enforcing(rates []limit.Rate) *fake.Fake {
	o := fake.Options{Latency: map[string]fake.Duration{"machine.create": fake.Duration(machineTime)}}
	for _, r := range rates {
		o.Limits = append(o.Limits, fake.Limit{Nouns: r.Nouns, Verbs: r.Verbs, PerSecond: r.PerSecond, Burst: max(r.Burst, 1)})
	}
	return fake.New(o)
}

// makespan makes a network and n machines, all at once, and returns how long that took.
func makespan(ctx context.Context, p providers.Provider, n int) (time.Duration, error) {
	start := time.Now()
	spec := providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.0.0.0/12")}
	net, err := p.Networks().Create(ctx, spec)
	if err != nil {
		return 0, err
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, errs[i] = p.Machines().Create(ctx, providers.MachineSpec{
				Owner: "demo", Name: fmt.Sprintf("demo-workers-%d", i), Pool: "workers", Network: net.ID, Type: "small"})
		})
	}
	wg.Wait()
	return time.Since(start), errors.Join(errs...)
}

// TestMakespan makes 2,000 machines at each vendor's limits, which the vendor enforces: the time it takes is hardly more
// than what the buckets allow, and nothing is asked for in vain.
func TestMakespan(t *testing.T) {
	const machines = 2000
	for _, vendor := range []string{"aws", "azure", "gcp"} {
		t.Run(vendor, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rates := limit.For(vendor)
				throttled := 0
				var mu sync.Mutex
				p := retry.Wrap(limit.Wrap(enforcing(rates), limit.Options{Rates: rates}), retry.Options{Notify: func(providers.Wait) {
					mu.Lock()
					defer mu.Unlock()
					throttled++
				}})
				took, err := makespan(t.Context(), p, machines)
				if err != nil {
					t.Fatal(err)
				}
				least := allowed(rates, providers.MachineNoun, providers.CreateVerb, machines) + machineTime
				ratio := took.Seconds() / least.Seconds()
				t.Logf("%s: %d machines in %s; its buckets and the last machine's own time allow %s: %.3f times that; %d calls were throttled",
					vendor, machines, took.Round(time.Second), least.Round(time.Second), ratio, throttled)
				if ratio > 1.1 {
					t.Errorf("%s: %.3f times what the buckets allow, want at most 1.1", vendor, ratio)
				}
			})
		})
	}
}

// TestMakespanWithOthersAtWork starts with the vendor's buckets empty, which the limiter cannot know: it is throttled, and
// still no slower than the buckets allow, as it takes the hint.
func TestMakespanWithOthersAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const machines = 2000
		rates := limit.For("aws")
		f := enforcing(rates)
		for range 200 { // somebody else's, which find no type but take their tokens
			go f.Machines().Create(t.Context(), providers.MachineSpec{Owner: "other", Name: "m", Type: "none"})
		}
		synctest.Wait()
		throttled := 0
		var mu sync.Mutex
		p := retry.Wrap(limit.Wrap(f, limit.Options{Rates: rates}), retry.Options{Notify: func(providers.Wait) {
			mu.Lock()
			defer mu.Unlock()
			throttled++
		}})
		took, err := makespan(t.Context(), p, machines)
		if err != nil {
			t.Fatal(err)
		}
		least := allowed(rates, providers.MachineNoun, providers.CreateVerb, machines) + machineTime
		t.Logf("%d machines in %s; the buckets allow %s; %d calls were throttled", machines, took.Round(time.Second), least.Round(time.Second), throttled)
		if ratio := took.Seconds() / least.Seconds(); ratio > 1.1 {
			t.Errorf("%.3f times what the buckets allow, want at most 1.1", ratio)
		}
		if throttled == 0 || throttled > 100 {
			t.Errorf("%d calls were throttled, want some, not many", throttled)
		}
	})
}
