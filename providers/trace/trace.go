// Package trace wraps a provider so that each of its calls can be seen.
package trace

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/provisionhq/provision/providers"
)

// An Event is the begin or the end of a call.
type Event struct {
	providers.Call               // what is called; the ID of a Create is known at its end
	Number         uint64        // of the call, from 1: its begin and its end have the same
	End            bool          // else it is the begin
	Time           time.Time     // when it happened
	Took           time.Duration // from begin to end; 0 at the begin
	Err            error         // what the call returned; nil at the begin
}

// Wrap returns a provider that gives emit an Event before and after each call of p. emit is called by the goroutine that
// makes the call, so it must be quick and safe for concurrent use.
func Wrap(p providers.Provider, emit func(Event)) providers.Provider {
	var calls atomic.Uint64
	return providers.Wrap(p, func(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
		e := Event{Call: *c, Number: calls.Add(1), Time: time.Now()}
		emit(e)
		err := next(ctx)
		now := time.Now()
		emit(Event{Call: *c, Number: e.Number, End: true, Time: now, Took: now.Sub(e.Time), Err: err})
		return err
	})
}
