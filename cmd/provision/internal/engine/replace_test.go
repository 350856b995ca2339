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
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
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
		st, c := replaceSite(t)
		apply := func(replace ...string) (*atOnce, time.Duration) {
			t.Helper()
			start := time.Now()
			seen, err := replaceApply(t, p, st, c, replace...)
			if err != nil {
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

// TestReplaceAfterMending: what is missing in a pool is made, all at once, before one of the others is taken away.
func TestReplaceAfterMending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 10 * time.Second
		p := fake.New(fake.Options{Latency: map[string]fake.Duration{"machine.create": fake.Duration(each), "machine.delete": fake.Duration(each)}})
		st, c := replaceSite(t)
		if _, err := replaceApply(t, p, st, c); err != nil {
			t.Fatal(err)
		}
		ms, err := p.Machines().List(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			switch m.Name {
			case "demo-cp-1", "demo-a-0", "demo-a-2": // as an interrupted replacement leaves it
				if err := p.Vanish(t.Context(), m.ID); err != nil {
					t.Fatal(err)
				}
			case "demo-b-1": // and stopped, to be another
				if err := p.Stop(t.Context(), m.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.ControlPlane.Machine, c.Pools[0].Machine, c.Pools[1].Machine = "medium", "medium", "medium"
		start := time.Now()
		seen, err := replaceApply(t, p, st, c)
		took := time.Since(start).Round(time.Second)
		if err != nil || seen.most["control-plane"] != 1 || seen.most["a"] != 2 || seen.most["b"] != 1 || took != (1+2*2)*each {
			t.Errorf("in %v, at once %v, %v; want the missing ones of a pool made before the others are replaced", took, seen.most, err)
		}
	})
}

// TestReplaceNodesAfterMending is the same of nodes, and of members of etcd: dead ones go first, then missing ones come, and
// only then is one replaced that serves.
func TestReplaceNodesAfterMending(t *testing.T) {
	st, c := replaceSite(t)
	e := New(Options{Provider: fake.New(fake.Options{}), State: st, Cluster: c})
	defer e.Close()
	e.want.Nodes = true
	e.world.Etcd = &templates.EtcdReport{Quorum: true}
	e.world.Hosts = map[string]plan.Host{"demo-cp-1": {Problem: "does not answer"}}
	p := &plan.Plan{}
	for _, place := range []struct {
		at, name string
		action   plan.Action
	}{
		{"control-plane[0]", "demo-cp-0", plan.Replace}, {"control-plane[1]", "demo-cp-1", plan.Replace}, {"control-plane[2]", "demo-cp-2", plan.Create},
		{"a[0]", "demo-a-0", plan.Replace}, {"a[1]", "demo-a-1", plan.Create}, {"a[2]", "demo-a-2", plan.Create}, {"a[3]", "demo-a-3", plan.Replace}, {"b[0]", "demo-b-0", plan.Replace},
	} {
		for _, k := range []plan.Kind{plan.Machine, plan.Etcd, plan.Node} {
			if k != plan.Etcd || strings.HasPrefix(place.at, "control-plane") {
				p.Changes = append(p.Changes, plan.Change{Address: string(k) + "." + place.at, Kind: k, Action: place.action, Name: place.name})
			}
		}
	}
	b := newBuilder(e, p)
	if err := b.steps(); err != nil {
		t.Fatal(err)
	}
	b.drained = map[string]string{}
	for _, want := range []string{
		"node.control-plane[1]: ", "node.control-plane[0]: etcd.control-plane[2]",
		"node.a[0]: node.a[1] node.a[2]", "node.a[3]: node.a[0]", "node.b[0]: ",
	} {
		address, _, _ := strings.Cut(want, ": ")
		m, _ := e.member(address)
		if got := address + ": " + strings.Join(b.drainsAfter(b.changes[address], m), " "); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
	if got := b.previous["etcd.control-plane[2]"]; got != "node endpoints control-plane[1]" {
		t.Errorf("the missing member joins after %q; want after the dead one", got)
	}
	if _, err := b.g.Order(); err != nil {
		t.Error(err)
	}
}

// replaceSite is a state and a file with three pools, for a vendor without nodes.
func replaceSite(t *testing.T) (*state.State, *config.Cluster) {
	t.Helper()
	dir := t.TempDir()
	st, err := state.Open(t.Context(), state.Options{Cluster: "demo", Folder: dir + "/state", Identity: dir + "/identity.age", Seen: dir + "/seen"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st, &config.Cluster{
		Name: "demo", Kubernetes: "1.37.2", Ranges: map[string]diag.Range{},
		Network:      config.Network{Machines: netip.MustParsePrefix("10.0.0.0/24"), Pods: netip.MustParsePrefix("10.128.0.0/9"), Services: netip.MustParsePrefix("10.96.0.0/16")},
		ControlPlane: config.Pool{Name: config.ControlPlaneName, Count: 3, Machine: "small"},
		Pools:        []config.Pool{{Name: "a", Count: 4, Machine: "small"}, {Name: "b", Count: 2, Machine: "small"}},
	}
}

// replaceApply plans and applies, and counts what is worked on at once.
func replaceApply(t *testing.T, p providers.Provider, st *state.State, c *config.Cluster, replace ...string) (*atOnce, error) {
	t.Helper()
	seen := &atOnce{now: map[string]int{}, most: map[string]int{}}
	e := New(Options{Provider: p, State: st, Cluster: c, Replace: replace, Events: seen.event})
	defer e.Close()
	pl, err := e.Plan(t.Context())
	if err != nil {
		return seen, err
	}
	return seen, e.Apply(t.Context(), pl, nil)
}
