package providertest

import (
	"context"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A settling waits before it reads, at a vendor whose readers see changes late: what the cases look at is what is true.
type settling struct {
	lag time.Duration
	mu  sync.Mutex
	at  time.Time // when something was changed last
}

// changed notes that something may have been changed just now.
func (s *settling) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Now()
}

// wait waits until readers see all that was changed, or for the end of the context.
func (s *settling) wait(ctx context.Context) {
	s.mu.Lock()
	d := time.Until(s.at.Add(s.lag + s.lag/10 + time.Millisecond))
	s.mu.Unlock()
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *settling) around(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
	if c.Verb.Reads() {
		s.wait(ctx)
		return next(ctx)
	}
	defer s.changed()
	return next(ctx)
}

// settled returns the fixture with reads that wait for the vendor's lag, if it has one.
func settled(f Fixture) Fixture {
	lag := f.Provider.Caps().Lag
	if lag <= 0 {
		return f
	}
	s := &settling{lag: lag}
	f.Provider = providers.Wrap(f.Provider, s.around)
	if stop := f.Stop; stop != nil {
		f.Stop = func(ctx context.Context, id providers.ID) error {
			defer s.changed()
			return stop(ctx, id)
		}
	}
	if strip := f.Strip; strip != nil {
		f.Strip = func(ctx context.Context, n providers.Noun, id providers.ID, tags ...string) error {
			defer s.changed()
			return strip(ctx, n, id, tags...)
		}
	}
	return f
}
