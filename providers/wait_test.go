package providers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
)

func TestObserversOfContexts(t *testing.T) {
	var got []string
	note := func(who string) func(providers.Wait) {
		return func(w providers.Wait) { got = append(got, who+": "+w.String()) }
	}
	outer := providers.WithObserver(t.Context(), note("outer"))
	inner, cancel := context.WithCancel(providers.WithObserver(outer, note("inner")))
	defer cancel()
	throttled := fmt.Errorf("create: %w", providers.Throttled)
	providers.Observe(t.Context(), providers.Wait{})
	providers.Observe(inner, providers.Wait{Attempt: 1, Err: throttled, For: 2960 * time.Millisecond})
	call := providers.Call{Noun: providers.NetworkNoun, Verb: providers.CreateVerb}
	busy := fmt.Errorf("create network demo/main: %w: %s", providers.Unavailable, "InternalError:\n  no answer, "+strings.Repeat("none at all, ", 10))
	providers.Observe(outer, providers.Wait{Call: call, Attempt: 1, Err: fmt.Errorf("create network demo/main: %w: CreateVpc: RequestLimitExceeded", providers.Throttled), For: time.Second})
	providers.Observe(outer, providers.Wait{Call: call, Attempt: 1, Err: busy, For: time.Second})
	providers.Observe(outer, providers.Wait{For: 12400 * time.Millisecond})
	want := []string{
		"outer: throttled, next try in 3s",
		"inner: throttled, next try in 3s",
		"outer: create network: throttled (CreateVpc: RequestLimitExceeded), next try in 1s",
		"outer: create network: unavailable (InternalError: no answer, none at all, none at all, none at all, none at all, none at all, none at…), next try in 1s",
		"outer: its turn at the vendor comes in 12s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("observers were told\n%q\nwant\n%q", got, want)
	}
}
