package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/limit"
	"github.com/provisionhq/provision/providers/retry"
)

// TestMakespan applies a file of 2,000 machines at a vendor that enforces AWS's documented limits and takes 20 s for a
// machine, in simulated time: plan, graph, journal, limiter and vendor together take hardly longer than the token buckets
// allow.
func TestMakespan(t *testing.T) {
	const machines, each = 2000, 20 * time.Second
	synctest.Test(t, func(t *testing.T) {
		rates := limit.For("aws")
		o := fake.Options{Latency: map[string]fake.Duration{"machine.create": fake.Duration(each)}}
		least := each
		for _, r := range rates {
			o.Limits = append(o.Limits, fake.Limit{Nouns: r.Nouns, Verbs: r.Verbs, PerSecond: r.PerSecond, Burst: max(r.Burst, 1)})
			if len(r.Nouns) == 1 && r.Nouns[0] == providers.MachineNoun && len(r.Verbs) == 1 && r.Verbs[0] == providers.CreateVerb {
				least = max(least, each+time.Duration(float64(machines-r.Burst)/r.PerSecond*float64(time.Second)))
			}
		}
		p := retry.Wrap(limit.Wrap(fake.New(o), limit.Options{Rates: rates}), retry.Options{})
		took := applied(t, p, machines)
		ratio := took.Seconds() / least.Seconds()
		t.Logf("%d machines in %v; the token buckets and the last machine's own time allow %v: %.3f times that", machines, took.Round(time.Second), least.Round(time.Second), ratio)
		if ratio < 1 || ratio > 1.1 {
			t.Errorf("%.3f times what the token buckets allow, want at most 1.1", ratio)
		}
	})
}

// applied makes a cluster of so many machines, and returns how long the apply took.
func applied(t *testing.T, p providers.Provider, machines int) time.Duration {
	t.Helper()
	dir := t.TempDir()
	st, err := state.Open(t.Context(), state.Options{Cluster: "demo", Folder: dir + "/state", Identity: dir + "/identity.age", Seen: dir + "/seen"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	e := New(Options{Provider: p, State: st, Cluster: &config.Cluster{
		Name: "demo", Kubernetes: "1.37.2", Ranges: map[string]diag.Range{},
		Network:      config.Network{Machines: netip.MustParsePrefix("10.0.0.0/12"), Pods: netip.MustParsePrefix("10.128.0.0/9"), Services: netip.MustParsePrefix("10.96.0.0/16")},
		ControlPlane: config.Pool{Name: config.ControlPlaneName, Count: 1, Machine: "small"},
		Pools:        []config.Pool{{Name: "workers", Count: machines - 1, Machine: "small"}},
	}})
	defer e.Close()
	start := time.Now()
	pl, err := e.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := machines + 2; len(pl.Changes) != want {
		t.Fatal(fmt.Errorf("%d changes, want %d", len(pl.Changes), want))
	}
	if err := e.Apply(t.Context(), pl, nil); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}
