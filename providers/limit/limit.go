// Package limit wraps a provider so that it is not called more often, nor by more at a time, than its vendor likes.
package limit

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/provisionhq/provision/providers"
)

// Options are the limits. The zero value has none.
type Options struct {
	Rates      []Rate
	Concurrent int // most calls at a time; 0: any number
}

// A Rate is how often the calls that it matches may be made. A call that several match waits for all of them.
type Rate struct {
	Noun      providers.Noun // empty: any
	Verb      providers.Verb // empty: any
	PerSecond float64        // in the long run; must be more than 0
	Burst     int            // calls that may be made at once after a quiet time; 0 means 1
}

func (r Rate) matches(c *providers.Call) bool {
	return (r.Noun == "" || r.Noun == c.Noun) && (r.Verb == "" || r.Verb == c.Verb)
}

// Wrap returns a provider whose calls of p wait their turn. A call that would have to wait longer than its context's
// deadline is not made and returns Throttled at once; one whose context ends while it waits returns the context's error.
func Wrap(p providers.Provider, o Options) providers.Provider {
	l := &limiter{}
	for _, r := range o.Rates {
		l.rates = append(l.rates, r)
		l.buckets = append(l.buckets, rate.NewLimiter(rate.Limit(r.PerSecond), max(r.Burst, 1)))
	}
	if o.Concurrent > 0 {
		l.slots = make(chan struct{}, o.Concurrent)
	}
	return providers.Wrap(p, l.around)
}

// A limiter is the limits with what they have seen.
type limiter struct {
	rates   []Rate
	buckets []*rate.Limiter // one for each of rates
	slots   chan struct{}   // holds a value for each call that is being made; nil: no limit
}

func (l *limiter) around(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
	for i, r := range l.rates {
		if !r.matches(c) {
			continue
		}
		if err := l.buckets[i].Wait(ctx); err != nil {
			return refused(ctx, c, err)
		}
	}
	if l.slots == nil {
		return next(ctx)
	}
	if ctx.Err() != nil {
		return refused(ctx, c, ctx.Err())
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return refused(ctx, c, ctx.Err())
	}
	defer func() { <-l.slots }()
	return next(ctx)
}

// refused says why a call was not made.
func refused(ctx context.Context, c *providers.Call, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: waiting for its turn: %w", c, ctx.Err())
	}
	return fmt.Errorf("%s: %w: its turn would come too late: %w", c, providers.Throttled, err)
}
