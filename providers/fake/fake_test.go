package fake_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/providertest"
)

// fixture is all that the suite can use of a Fake.
func fixture(f *fake.Fake) providertest.Fixture {
	return providertest.Fixture{
		Provider: f,
		Stop:     f.Stop,
		Writes:   f.Writes,
		Strip: func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
			return f.Strip(ctx, id, tags...)
		},
		Cut: func(n int) func() bool {
			before := f.Writes()
			f.SetFaults([]fake.Fault{{Verb: providers.CreateVerb, Partial: n, Error: providers.Unavailable},
				{Verb: providers.DeleteVerb, Partial: n, Error: providers.Unavailable},
				{Verb: providers.UpdateVerb, Partial: n, Error: providers.Unavailable}})
			return func() bool {
				f.SetFaults(nil)
				return f.Writes()-before == n
			}
		},
	}
}

func open(t *testing.T, path string, o fake.Options) *fake.Fake {
	t.Helper()
	f, err := fake.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestConformance(t *testing.T) {
	for name, opened := range map[string]func(t *testing.T) *fake.Fake{
		"memory": func(*testing.T) *fake.Fake { return fake.New(fake.Options{}) },
		"file": func(t *testing.T) *fake.Fake {
			return open(t, filepath.Join(t.TempDir(), "a", "cloud"), fake.Options{})
		},
		"latency": func(*testing.T) *fake.Fake {
			return fake.New(fake.Options{Latency: map[string]fake.Duration{"create": fake.Duration(4 * time.Millisecond)}})
		},
		"lag": func(*testing.T) *fake.Fake {
			return fake.New(fake.Options{Lag: fake.Duration(10 * time.Millisecond)})
		},
		"account": func(*testing.T) *fake.Fake {
			cpus := 1000.
			return fake.New(fake.Options{
				Account: &fake.Account{Identity: "ops", Place: "here", CPUs: &cpus, Unseen: []string{"the weather"}},
				Quota:   map[providers.Noun]int{providers.MachineNoun: 1000, providers.NetworkNoun: 1000},
				Prices:  &providers.Prices{Date: "2026-11-01", Source: "a list", Region: "here", Unknown: []string{"traffic"}},
			})
		},
		"lacking": func(*testing.T) *fake.Fake {
			return fake.New(fake.Options{Lacks: []string{"balancer", "volume", "spot"}})
		},
		"lacking less": func(*testing.T) *fake.Fake {
			return fake.New(fake.Options{Lacks: []string{"snapshot", "udp"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			providertest.Run(t, func(t *testing.T) providertest.Fixture { return fixture(opened(t)) })
		})
	}
}

// TestConformanceOfTwoProcesses runs the suite with machines read through another Fake than the one that makes them,
// over one file.
func TestConformanceOfTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	both := []*fake.Fake{open(t, path, fake.Options{}), open(t, path, fake.Options{})}
	providertest.Run(t, func(*testing.T) providertest.Fixture {
		f := fixture(both[0])
		f.Provider = alternating{both[0], both}
		f.Cut, f.Writes = nil, nil // they are of one Fake
		return f
	})
}

// alternating makes everything with one Fake and reads machines with the other.
type alternating struct {
	providers.Provider
	both []*fake.Fake
}

func (a alternating) Machines() providers.Machines {
	return switching{a.both[0].Machines(), a.both[1].Machines()}
}

// switching creates and deletes with one and reads with the other.
type switching struct {
	providers.Machines
	reads providers.Machines
}

func (s switching) Get(ctx context.Context, id providers.ID) (providers.Machine, error) {
	return s.reads.Get(ctx, id)
}

func (s switching) List(ctx context.Context, o providers.Owner) ([]providers.Machine, error) {
	return s.reads.List(ctx, o)
}
