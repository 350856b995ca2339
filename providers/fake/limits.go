package fake

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A Limit is how often the vendor lets calls be made that it matches, as a bucket of tokens: each call takes one, and one
// that finds none returns Throttled with the time until there is one. A call that several match needs a token of each.
type Limit struct {
	Nouns     []providers.Noun `json:"nouns,omitempty"` // empty: any
	Verbs     []providers.Verb `json:"verbs,omitempty"` // empty: any
	PerSecond float64          `json:"per_second"`      // tokens that come back
	Burst     int              `json:"burst"`           // tokens that there are at most, and at first
}

func (l Limit) matches(c providers.Call) bool {
	return (len(l.Nouns) == 0 || slices.Contains(l.Nouns, c.Noun)) && (len(l.Verbs) == 0 || slices.Contains(l.Verbs, c.Verb))
}

func (l Limit) validate() error {
	for _, n := range l.Nouns {
		if n.Verbs() == nil {
			return fmt.Errorf("there is no kind %q", n)
		}
	}
	for _, v := range l.Verbs {
		if v == "" || !meaningful("", v) {
			return fmt.Errorf("there is no call %q", v)
		}
	}
	switch {
	case l.PerSecond <= 0 || l.Burst < 1:
		return fmt.Errorf("%v per second, %d at once: both must be more than 0", l.PerSecond, l.Burst)
	}
	return nil
}

// buckets are the limits with what is left of each: of this Fake, not of the file.
type buckets struct {
	mu  sync.Mutex
	all []bucket
}

type bucket struct {
	Limit
	tokens float64
	at     time.Time // when there were so many
}

func newBuckets(limits []Limit) *buckets {
	b := &buckets{}
	for _, l := range limits {
		b.all = append(b.all, bucket{Limit: l, tokens: float64(l.Burst), at: time.Now()})
	}
	return b
}

// take takes the call's tokens, all or none.
func (b *buckets) take(c providers.Call) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, wait := time.Now(), time.Duration(0)
	for i := range b.all {
		if t := &b.all[i]; t.matches(c) {
			t.tokens, t.at = min(float64(t.Burst), t.tokens+t.PerSecond*now.Sub(t.at).Seconds()), now
			if lacks := 1 - t.tokens; lacks > 1e-9 {
				wait = max(wait, time.Duration(lacks/t.PerSecond*float64(time.Second))+1)
			}
		}
	}
	if wait > 0 {
		return fmt.Errorf("%w: more calls than its limits let through: %w", providers.Throttled, providers.RetryAfter{After: wait})
	}
	for i := range b.all {
		if t := &b.all[i]; t.matches(c) {
			t.tokens--
		}
	}
	return nil
}
