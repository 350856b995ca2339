package trace_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/providertest"
	"github.com/provisionhq/provision/providers/trace"
)

// TestConformance also counts the events of everything that the suite does.
func TestConformance(t *testing.T) {
	var mu sync.Mutex
	open, ends := map[uint64]trace.Event{}, map[providers.Noun][]providers.Verb{}
	providertest.Run(t, func(*testing.T) providertest.Fixture {
		f := fake.New(fake.Options{})
		p := trace.Wrap(f, func(e trace.Event) {
			mu.Lock()
			defer mu.Unlock()
			begin, begun := open[e.Number]
			switch {
			case e.End != begun:
				t.Errorf("the begin or the end is missing of %+v", e)
			case !e.End:
				open[e.Number] = e
			case begin.Noun != e.Noun || begin.Verb != e.Verb || begin.Name != e.Name || e.Time.Before(begin.Time):
				t.Errorf("begin and end are of two calls: %+v, %+v", begin, e)
			}
			if e.End {
				delete(open, e.Number)
				if !slices.Contains(ends[e.Noun], e.Verb) {
					ends[e.Noun] = append(ends[e.Noun], e.Verb)
				}
			}
		})
		return providertest.Fixture{Provider: p, Stop: f.Stop, Writes: f.Writes, Strip: strip(f)}
	})
	if len(open) != 0 {
		t.Errorf("%d calls have no end: %v", len(open), open)
	}
	for _, n := range providers.Nouns() {
		for _, v := range n.Verbs() {
			if !slices.Contains(ends[n], v) {
				t.Errorf("there was no event of %s %s", v, n)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Options{Latency: map[string]fake.Duration{"create": fake.Duration(2 * time.Second)}})
		var got []string
		p := trace.Wrap(f, func(e trace.Event) {
			got = append(got, fmt.Sprintf("%d %v %s took %s: %q", e.Number, e.End, e.Call, e.Took, providers.KindOf(e.Err)))
		})
		n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = p.Networks().List(t.Context(), "demo")
		if _, err := p.Volumes().Snapshots().Get(t.Context(), "x"); !errors.Is(err, providers.NotFound) {
			t.Errorf("Get = %v: the wrapper changed the error", err)
		}
		want := []string{
			`1 false create network demo/main took 0s: ""`,
			`1 true create network demo/main ` + string(n.ID) + ` took 2s: ""`,
			`2 false list network demo took 0s: ""`,
			`2 true list network demo took 0s: ""`,
			`3 false get snapshot x took 0s: ""`,
			`3 true get snapshot x took 0s: "not found"`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("events:\n%q\nwant:\n%q", got, want)
		}
	})
}

func strip(f *fake.Fake) func(context.Context, providers.Noun, providers.ID, ...string) error {
	return func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
		return f.Strip(ctx, id, tags...)
	}
}
