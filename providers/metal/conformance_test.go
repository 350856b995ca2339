package metal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/providertest"
)

var errCut = errors.New("cut")

// TestProvider holds the provider to the contract, on hosts that have BusyBox, cut off at every command.
func TestProvider(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		cs := newChambers(t, 8)
		a := cs.attributes()
		for i, h := range a["host"].([]any) {
			h.(map[string]any)["zone"] = fmt.Sprintf("rack-%d", i%2)
		}
		before := make([]map[string]string, len(cs.all))
		for i, c := range cs.all {
			before[i] = c.files(t)
		}
		p := cs.open(a)
		t.Cleanup(func() { same(t, cs, before) })
		return providertest.Fixture{
			Provider: p,
			Slow:     true, // on a busy computer
			Machine:  func(m *providers.MachineSpec) { m.User = "ops"; m.AuthorizedKeys = []string{cs.all[0].HostKey()} },
			Writes:   func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.wrote },
			Cut:      func(n int) func() bool { return cutAt(p, n) },
		}
	})
}

// same makes sure that the hosts are as they were before.
func same(t *testing.T, cs *chambers, before []map[string]string) {
	t.Helper()
	for i, c := range cs.all {
		after := c.files(t)
		for p, words := range before[i] {
			if after[p] != words {
				t.Errorf("%s: %s was %q, is %q", c.name, p, words, after[p])
			}
		}
		for p := range after {
			if _, ok := before[i][p]; !ok {
				t.Errorf("%s: %s was left behind", c.name, p)
			}
		}
	}
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
