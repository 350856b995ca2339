package engine

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers/fake"
)

// atOnce counts how many machines of each pool are worked on at once, at most.
type atOnce struct {
	mu        sync.Mutex
	now, most map[string]int
}

func (a *atOnce) event(ev ui.Event) {
	pool, _, machine := strings.Cut(strings.TrimPrefix(ev.Address, "machine."), "[")
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !machine:
	case ev.Type == ui.Started:
		a.now[pool]++
		a.most[pool] = max(a.most[pool], a.now[pool])
	case ev.Type == ui.Done:
		a.now[pool]--
	}
}

// TestReplaceOneByOne replaces all machines of a vendor that has no nodes: one of a pool after another, and the pools beside
// each other. They are made all at once.
func TestReplaceOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 10 * time.Second
		latency := map[string]fake.Duration{"machine.create": fake.Duration(each), "machine.delete": fake.Duration(each)}
		p := fake.New(fake.Options{Latency: latency})
		dir := t.TempDir()
		st, err := state.Open(t.Context(), state.Options{Cluster: "demo", Folder: dir + "/state", Identity: dir + "/identity.age", Seen: dir + "/seen"})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		c := &config.Cluster{
			Name: "demo", Kubernetes: "1.37.2", Ranges: map[string]diag.Range{},
			Network:      config.Network{Machines: netip.MustParsePrefix("10.0.0.0/24"), Pods: netip.MustParsePrefix("10.128.0.0/9"), Services: netip.MustParsePrefix("10.96.0.0/16")},
			ControlPlane: config.Pool{Name: config.ControlPlaneName, Count: 3, Machine: "small"},
			Pools:        []config.Pool{{Name: "a", Count: 4, Machine: "small"}, {Name: "b", Count: 2, Machine: "small"}},
		}
		apply := func(replace ...string) (*atOnce, time.Duration) {
			t.Helper()
			seen := &atOnce{now: map[string]int{}, most: map[string]int{}}
			e := New(Options{Provider: p, State: st, Cluster: c, Replace: replace, Events: seen.event})
			defer e.Close()
			pl, err := e.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := e.Apply(t.Context(), pl, nil); err != nil {
				t.Fatal(err)
			}
			return seen, time.Since(start).Round(time.Second)
		}
		if seen, took := apply(); took != each || seen.most["a"] != 4 || seen.most["control-plane"] != 3 {
			t.Errorf("made in %v, at once %v; want all at once", took, seen.most)
		}
		if seen, took := apply("a[*]", "b[*]", "control-plane[*]"); took != 4*2*each || seen.most["a"] != 1 || seen.most["b"] != 1 || seen.most["control-plane"] != 1 {
			t.Errorf("replaced in %v, at once %v; want one of a pool after another, and the pools at once", took, seen.most)
		}
	})
}
