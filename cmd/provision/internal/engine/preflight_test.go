package engine

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// asking counts the checks of a fake that hides that it is one.
type asking struct {
	providers.Provider
	checks atomic.Int64
}

func (a *asking) Caps() providers.Caps {
	c := a.Provider.Caps()
	c.Simulated = false
	return c
}

func (a *asking) Account() providers.Account { return counted{a} }

type counted struct{ *asking }

func (c counted) Check(ctx context.Context, n providers.Need) (providers.Report, error) {
	c.checks.Add(1)
	return c.Provider.Account().Check(ctx, n)
}

// TestAskedOnce: what was asked while hosts were asked is not asked again, unless the plan needs something else in the end.
func TestAskedOnce(t *testing.T) {
	f := &asking{Provider: fake.New(fake.Options{Account: &fake.Account{Identity: "ops"}})}
	n, err := f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: plan.NetworkName})
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "demo-cp-0", Pool: plan.ControlPlanePool, Type: "small", Network: n.ID})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{Provider: f, Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl", ControlPlane: config.Pool{Name: config.ControlPlaneName, Count: 1, Machine: "small"},
		Pools: []config.Pool{{Name: "workers", Count: 2, Machine: "small"}}}})
	e.want.Nodes = true
	e.world.Networks, e.world.Machines = []providers.Network{n}, []providers.Machine{m}
	p := plan.Diff(e.Cluster, e.want, e.world)
	part, _ := p.Only([]string{"machine.workers[1]"})
	for _, test := range []struct {
		plan *plan.Plan
		want int64
	}{{p, 1}, {part, 2}} {
		f.checks.Store(0)
		e.askEarly(t.Context())
		if _, err := e.Preflight(t.Context(), test.plan); err != nil || test.plan.Preflight == nil || test.plan.Preflight.Identity != "ops" {
			t.Errorf("Preflight: %v, %+v", err, test.plan.Preflight)
		}
		<-e.asked.done
		if got := f.checks.Load(); got != test.want {
			t.Errorf("%d checks of a plan of %d changes, want %d", got, len(test.plan.Changes), test.want)
		}
	}
	e.NoCheck = true
	f.checks.Store(0)
	e.askEarly(t.Context())
	if _, err := e.Preflight(t.Context(), p); err != nil || f.checks.Load() != 0 {
		t.Errorf("%d checks where none is wanted, %v", f.checks.Load(), err)
	}
}

// TestOfferAndAccount: that a type is not sold in a zone is said beside what the vendor says of the same machine, and once.
func TestOfferAndAccount(t *testing.T) {
	problem := providers.Problem{Kind: providers.NotFound, Noun: providers.MachineNoun, Name: "demo-workers-0", Field: "image", Text: "it is gone"}
	for field, want := range map[string]int{"image": 2, "type": 1, "zone": 1} {
		problem.Field = field
		f := fake.New(fake.Options{Sold: map[string][]string{"small": {"a"}}, Account: &fake.Account{Problems: []providers.Problem{problem}}})
		types, err := f.Machines().Types(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e := New(Options{Provider: f, Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl", ControlPlane: config.Pool{Name: config.ControlPlaneName, Machine: "small"},
			Pools: []config.Pool{{Name: "workers", Count: 1, Machine: "small", Zones: []string{"b"}}}}})
		e.world.Types = types
		_, err = e.Preflight(t.Context(), plan.Diff(e.Cluster, e.want, e.world))
		if ds := diag.AsDiagnostics(err); len(ds) != want || ds[0].ID != diag.PreflightRefused {
			t.Errorf("field %q: %d findings, want %d: %v", field, len(ds), want, err)
		}
	}
}
