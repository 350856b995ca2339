package metal

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal/metaltest"
	"github.com/provisionhq/provision/providers/providertest"
)

var errCut = errors.New("cut")

// TestProvider holds the provider to the contract, on hosts that are reached only by SSH, through a bastion, as a user who
// is not root.
func TestProvider(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		f := metaltest.New(t, 9, "micro")
		a := f.Attributes()
		for i, h := range a["host"].([]any) {
			h.(map[string]any)["zone"] = fmt.Sprintf("rack-%d", i%2)
		}
		p, err := Open(a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return providertest.Fixture{
			Provider: p,
			Machine:  func(m *providers.MachineSpec) { m.User = metaltest.User },
			Usable: func(_ context.Context, m providers.Machine) error {
				return nil
			},
			Writes: func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.wrote },
			Cut:    func(n int) func() bool { return cutAt(p, n) },
		}
	})
}

// cutAt makes every step fail from the n-th on. Nothing else is at work meanwhile.
func cutAt(p *Provider, n int) (heal func() bool) {
	steps := 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if steps++; steps > n {
			return fmt.Errorf("%w at step %d", errCut, n)
		}
		return nil
	}
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cut = nil
		return steps > n
	}
}
