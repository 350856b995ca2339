// Package limit wraps a provider so that it is not called more often, nor by more at a time, than its vendor likes.
//
// The vendors' documented limits are a table (For). Wrap a provider with them below package retry, so that a call that
// was throttled after all waits for its turn again:
//
//	retry.Wrap(limit.Wrap(p, limit.Options{Rates: limit.For("aws")}), retry.Options{})
package limit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/provisionhq/provision/providers"
)

// Options are the limits. The zero value has none.
type Options struct {
	Rates      []Rate
	Concurrent int // most calls at a time; 0: any number
}

// A Rate is how often the calls that it matches may be made, all of them together: a bucket of tokens. A call that several
// match waits for a token of each.
type Rate struct {
	Name      string           // what the vendor calls it
	Nouns     []providers.Noun // empty: any
	Verbs     []providers.Verb // empty: any
	PerSecond float64          // in the long run; must be more than 0
	Burst     int              // calls that may be made at once after a quiet time; 0 means 1
	Source    string           // where the vendor documents it
	Read      string           // the day on which it was read there, as 2006-01-02
}

func (r Rate) matches(c *providers.Call) bool {
	return (len(r.Nouns) == 0 || slices.Contains(r.Nouns, c.Noun)) && (len(r.Verbs) == 0 || slices.Contains(r.Verbs, c.Verb))
}

// Wrap returns a provider whose calls of p wait their turn: New(o).Wrap(p).
func Wrap(p providers.Provider, o Options) providers.Provider { return New(o).Wrap(p) }

// A Limiter is limits with what they have seen. Providers that are wrapped by one share them, as accounts at a vendor do.
// It is safe for concurrent use.
type Limiter struct {
	rates   []Rate
	buckets []*rate.Limiter // one for each of rates
	slots   chan struct{}   // holds a value for each call that is being made; nil: no limit
}

// New returns a Limiter whose buckets are full.
func New(o Options) *Limiter {
	l := &Limiter{}
	for _, r := range o.Rates {
		l.rates = append(l.rates, r)
		l.buckets = append(l.buckets, rate.NewLimiter(rate.Limit(r.PerSecond), max(r.Burst, 1)))
	}
	if o.Concurrent > 0 {
		l.slots = make(chan struct{}, o.Concurrent)
	}
	return l
}

// Wrap returns a provider whose calls of p wait their turn, first come, first served. The context's observers are told of
// waits (see providers.WithObserver). A call that would have to wait longer than its context's deadline is not made and
// returns Throttled at once; one whose context ends while it waits returns the context's error. A vendor that returns
// Throttled says that others call it too, or that its limits are lower: the bucket that has least is emptied.
func (l *Limiter) Wrap(p providers.Provider) providers.Provider { return providers.Wrap(p, l.around) }

func (l *Limiter) around(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
	if err := l.wait(ctx, c); err != nil {
		return err
	}
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for its turn: %w", c, ctx.Err())
		}
	}
	err := next(ctx)
	if providers.KindOf(err) == providers.Throttled {
		l.drain(c)
	}
	return err
}

// wait takes a token of each bucket and waits until the last of them is there.
func (l *Limiter) wait(ctx context.Context, c *providers.Call) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: waiting for its turn: %w", c, ctx.Err())
	}
	now := time.Now()
	var taken []*rate.Reservation
	var d time.Duration
	for i, r := range l.rates {
		if r.matches(c) {
			t := l.buckets[i].ReserveN(now, 1)
			taken = append(taken, t)
			d = max(d, t.DelayFrom(now))
		}
	}
	if d == 0 {
		return nil
	}
	giveBack := func() {
		for _, t := range taken {
			t.Cancel()
		}
	}
	if deadline, has := ctx.Deadline(); has && now.Add(d).After(deadline) {
		giveBack()
		return fmt.Errorf("%s: %w: its turn would come too late, in %s", c, providers.Throttled, d.Round(time.Millisecond))
	}
	providers.Observe(ctx, providers.Wait{Call: *c, For: d})
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		giveBack()
		return fmt.Errorf("%s: waiting for its turn: %w", c, ctx.Err())
	}
}

// drain empties the bucket of the call that has least: the one that was most likely empty at the vendor.
func (l *Limiter) drain(c *providers.Call) {
	var least *rate.Limiter
	for i, r := range l.rates {
		if b := l.buckets[i]; r.matches(c) && (least == nil || b.Tokens() < least.Tokens()) {
			least = b
		}
	}
	if least == nil {
		return
	}
	if n := int(least.Tokens()); n > 0 {
		least.ReserveN(time.Now(), n)
	}
}
