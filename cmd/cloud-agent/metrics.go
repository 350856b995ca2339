package main

import (
	"context"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/provisionhq/provision/providers"
)

// measured returns the provider with its calls in /metrics: how many, how they ended, how long they took with all waits
// for turns and new attempts in them.
func measured(p providers.Provider) providers.Provider {
	calls := metrics.NewCounterVec(&metrics.CounterOpts{Name: "provision_vendor_calls_total", StabilityLevel: metrics.ALPHA,
		Help: "Calls of the vendor, by kind of object, verb and how they ended: ok, a Kind of error, or cut off."}, []string{"noun", "verb", "result"})
	took := metrics.NewHistogramVec(&metrics.HistogramOpts{Name: "provision_vendor_call_seconds", StabilityLevel: metrics.ALPHA,
		Help: "How long calls of the vendor took, with waits and new attempts.", Buckets: metrics.ExponentialBuckets(0.05, 2, 15)}, []string{"noun", "verb"})
	_ = legacyregistry.Register(calls) // only a second one of the name is refused
	_ = legacyregistry.Register(took)
	return providers.Wrap(p, func(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
		start := time.Now()
		err := next(ctx)
		calls.WithLabelValues(string(c.Noun), string(c.Verb), result(err)).Inc()
		took.WithLabelValues(string(c.Noun), string(c.Verb)).Observe(time.Since(start).Seconds())
		return err
	})
}

// result is the error in one word.
func result(err error) string {
	switch kind := providers.KindOf(err); {
	case err == nil:
		return "ok"
	case kind != "":
		return string(kind)
	}
	return "cut off"
}
