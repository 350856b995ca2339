// Package retry wraps a provider so that calls which failed for a passing reason are made again.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/provisionhq/provision/providers"
)

// Options say how patient the wrapper is. The zero value is a good choice.
type Options struct {
	Busy     Pace // for Throttled and Unavailable; zero fields: 200 ms, 20 s, 10 attempts
	Capacity Pace // for Capacity, which passes slowly if at all; zero fields: 15 s, 2 min, 5 attempts
	// Notify is told of each wait before it begins, if it is not nil, as the context's own observers are (see
	// providers.WithObserver). It is called from several goroutines at a time.
	Notify func(providers.Wait)
	// Random returns a number in [0,1) that makes waits unlike each other; nil: math/rand. It is called from several
	// goroutines at a time.
	Random func() float64
}

// A Pace is how often to try and how long to wait between.
type Pace struct {
	First    time.Duration // about what the first wait takes; each is twice as long as the one before
	Max      time.Duration // no wait is longer, unless the vendor itself asks for it
	Attempts int           // the most calls to make in all
}

// Wrap returns a provider that makes calls of p again whose error's Kind is Retryable, after a wait that doubles, is
// never shorter than the vendor's RetryAfter, and is spread at random so that many callers do not come back at once. If
// the wait would outlast the context's deadline, or there were enough attempts, the last error is returned at once.
//
// Create is made again too, as it goes on where it was cut off. An answer may have been lost after the object was
// complete, so if a Create that was made again returns Exists, that is a success.
func Wrap(p providers.Provider, o Options) providers.Provider {
	o.Busy = o.Busy.or(Pace{200 * time.Millisecond, 20 * time.Second, 10})
	o.Capacity = o.Capacity.or(Pace{15 * time.Second, 2 * time.Minute, 5})
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return providers.Wrap(p, o.around)
}

// or fills in what is zero.
func (p Pace) or(d Pace) Pace {
	if p.First <= 0 {
		p.First = d.First
	}
	if p.Max <= 0 {
		p.Max = max(d.Max, p.First)
	}
	if p.Attempts <= 0 {
		p.Attempts = d.Attempts
	}
	return p
}

func (o Options) around(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
	start := time.Now()
	for attempt := 1; ; attempt++ {
		err := next(ctx)
		kind := providers.KindOf(err)
		switch {
		case attempt > 1 && c.Verb == providers.CreateVerb && kind == providers.Exists:
			return nil
		case !kind.Retryable() || errors.Is(err, ctx.Err()):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w, after: %w", ctx.Err(), err)
		}
		wait, ok := o.wait(ctx, attempt, err)
		if !ok {
			return gaveUp(attempt, time.Since(start), err)
		}
		w := providers.Wait{Call: *c, Attempt: attempt, Err: err, For: wait}
		if o.Notify != nil {
			o.Notify(w)
		}
		providers.Observe(ctx, w)
		if !sleep(ctx, wait) {
			return fmt.Errorf("%w, after: %w", ctx.Err(), err)
		}
	}
}

// gaveUp says how often it was tried, if more than once.
func gaveUp(attempts int, took time.Duration, err error) error {
	if attempts == 1 {
		return err
	}
	return fmt.Errorf("%w (tried %d times in %s)", err, attempts, took.Round(time.Millisecond))
}

// wait returns how long to wait after so many attempts, or that it is not worth it.
func (o Options) wait(ctx context.Context, attempts int, err error) (time.Duration, bool) {
	pace := o.Busy
	if errors.Is(err, providers.Capacity) {
		if providers.Choosing(ctx) {
			return 0, false
		}
		pace = o.Capacity
	}
	if attempts >= pace.Attempts {
		return 0, false
	}
	d := pace.First
	for range attempts - 1 {
		d = min(2*d, pace.Max)
	}
	d = time.Duration(float64(d) * (0.5 + o.Random()/2))
	var after providers.RetryAfter
	if errors.As(err, &after) && after.After > d {
		d = after.After + time.Duration(float64(pace.First)*o.Random())
	}
	deadline, has := ctx.Deadline()
	return d, !has || time.Until(deadline) > d
}

// sleep waits; not to the end if the context ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
