//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/providertest"
)

var errCut = errors.New("cut")

// TestProvider holds the provider to the contract.
func TestProvider(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		w := newWorld(t)
		return providertest.Fixture{
			Provider: w.Provider,
			Type:     "micro",
			Machine: func(m *providers.MachineSpec) {
				m.AuthorizedKeys = []string{publicLine(w.key.PublicKey())}
			},
			Volume: func(v *providers.VolumeSpec) { v.SizeGiB = 2 },
			Usable: func(_ context.Context, m providers.Machine) error {
				out, err := w.try(m, "hostname")
				if err == nil && out != m.Name {
					err = fmt.Errorf("its host name is %q", out)
				}
				return err
			},
			Stop: func(ctx context.Context, id providers.ID) error {
				k, _ := keyOf(id)
				s, err := observe(w.dir(providers.MachineNoun, k))
				if err != nil {
					return err
				}
				if err := s.Init.signal(unix.SIGKILL); err != nil {
					return err
				}
				if !s.Supervisor.ended(ctx, 10*time.Second) {
					return errors.New("its supervisor goes on")
				}
				return nil
			},
			Cut:    func(n int) func() bool { return cutAt(w.Provider, n) },
			Writes: countSteps(w.Provider),
		}
	})
}

// countSteps counts the places after changes.
func countSteps(p *Provider) func() int {
	var n atomic.Int64
	p.cut = func() error { n.Add(1); return nil }
	return func() int { return int(n.Load()) }
}

// cutAt makes every step fail from the n-th on. Nothing else is at work meanwhile.
func cutAt(p *Provider, n int) (heal func() bool) {
	steps, before := 0, p.cut
	p.cut = func() error {
		if steps++; steps > n {
			return fmt.Errorf("%w at step %d", errCut, n)
		}
		return nil
	}
	return func() bool {
		p.cut = before
		return steps > n
	}
}
