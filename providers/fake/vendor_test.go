package fake_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// TestRate lets three of ten calls fail, and the same ones whenever the seed is the same.
func TestRate(t *testing.T) {
	failures := func(o fake.Options, calls int) (n []int) {
		f := fake.New(o)
		for i := range calls {
			if _, err := f.Networks().List(t.Context(), "demo"); errors.Is(err, providers.Throttled) {
				n = append(n, i)
			} else if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	third := fake.Fault{Error: providers.Throttled, Rate: 0.3}
	all := failures(fake.Options{Faults: []fake.Fault{third}}, 1000)
	if len(all) < 250 || len(all) > 350 {
		t.Errorf("%d of 1,000 calls failed, want about 300", len(all))
	}
	if again := failures(fake.Options{Faults: []fake.Fault{third}}, 1000); !slices.Equal(again, all) {
		t.Error("with the same seed other calls failed")
	}
	if other := failures(fake.Options{Faults: []fake.Fault{third}, Seed: 1}, 1000); slices.Equal(other, all) {
		t.Error("with another seed the same calls failed")
	}
	third.Nth, third.Times = 100, 20
	if some := failures(fake.Options{Faults: []fake.Fault{third}}, 1000); len(some) != 20 || some[0] < 99 {
		t.Errorf("from the 100th on and 20 times: %v", some)
	}
}

// TestLostAnswers drops a third of the answers after the work was done: a caller that asks again finds what it made.
func TestLostAnswers(t *testing.T) {
	f := fake.New(fake.Options{Faults: []fake.Fault{{Rate: 0.3, After: true, Error: providers.Unavailable}}})
	lost := 0
	for i := range 100 {
		for {
			_, err := f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: providers.Owner(fmt.Sprintf("o%d", i)), Name: "n"})
			if errors.Is(err, providers.Unavailable) {
				lost++
				continue
			}
			if err != nil && !errors.Is(err, providers.Exists) {
				t.Fatal(err)
			}
			break
		}
	}
	if f.Writes() != 400 || lost < 20 {
		t.Errorf("%d sub-calls took effect and %d answers were lost, want the 4 of each of 100 networks and about 40", f.Writes(), lost)
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Options{Limits: []fake.Limit{
			{Verbs: []providers.Verb{providers.GetVerb}, PerSecond: 2, Burst: 3},
			{Nouns: []providers.Noun{providers.NetworkNoun}, PerSecond: 1, Burst: 5},
		}})
		get := func(want providers.Kind, after time.Duration) {
			t.Helper()
			_, err := f.Networks().Get(t.Context(), "x")
			if got := providers.KindOf(err); got != want {
				t.Errorf("Get = %v, want kind %q", err, want)
			}
			var ra providers.RetryAfter
			if errors.As(err, &ra); ra.After.Round(time.Millisecond) != after {
				t.Errorf("it says to wait %s, want %s", ra.After, after)
			}
		}
		for range 3 {
			get(providers.NotFound, 0)
		}
		get(providers.Throttled, 500*time.Millisecond)
		if _, err := f.Machines().Get(t.Context(), "x"); !errors.Is(err, providers.Throttled) {
			t.Errorf("Get of another kind = %v, want Throttled: the bucket is of all", err)
		}
		time.Sleep(500 * time.Millisecond)
		get(providers.NotFound, 0)
		time.Sleep(500 * time.Millisecond)
		get(providers.NotFound, 0)
		time.Sleep(500 * time.Millisecond)
		get(providers.NotFound, 0) // the sixth of the networks' bucket, which had 5 and 1.5 more since
		get(providers.Throttled, 500*time.Millisecond)
		time.Sleep(time.Hour)
		for range 3 {
			get(providers.NotFound, 0)
		}
		get(providers.Throttled, 500*time.Millisecond)
	})
}

// TestLagMakesNoDuplicate creates, through several Fakes over one file, what no reader sees yet.
func TestLagMakesNoDuplicate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	synctest.Test(t, func(t *testing.T) {
		o := fake.Options{Lag: fake.Duration(time.Minute)}
		var first providers.Network
		for i := range 5 {
			f := open(t, path, o)
			if all := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")); len(all) != 0 {
				t.Errorf("a reader sees what is %d seconds old: %+v", 10*i, all)
			}
			n, err := f.Networks().Create(t.Context(), network("main"))
			if i == 0 {
				first = n
			}
			if n.ID != first.ID || i > 0 && !errors.Is(err, providers.Exists) {
				t.Errorf("Create %d = %s, %v, want %s", i, n.ID, err, first.ID)
			}
			if _, err := f.Networks().Update(t.Context(), first.ID, network("main")); err != nil {
				t.Errorf("Update of what readers do not see yet: %v", err)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(11 * time.Second)
		f := open(t, path, o)
		if all := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")); len(all) != 1 {
			t.Errorf("after a minute there are %d networks, want one", len(all))
		}
	})
}
