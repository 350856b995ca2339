package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/providers"
)

// Options say how the vendor behaves. The zero value is a vendor that is fast, unlimited and never fails.
type Options struct {
	// Latency is how long calls take, by verb ("create") or by noun and verb ("machine.create"), which goes first. A
	// call of several sub-calls takes its latency in as many parts.
	Latency map[string]Duration `json:"latency,omitempty"`
	// Quota is how many objects of a kind there may be, whoever owns them; a kind that is not named has no limit.
	Quota map[providers.Noun]int `json:"quota,omitempty"`
	// Faults are what goes wrong. Of those that match a call, the first is taken.
	Faults []Fault `json:"faults,omitempty"`
	// Limits are how often the vendor lets itself be called, whatever its clients do about it.
	Limits []Limit `json:"limits,omitempty"`
	// Seed makes Faults with a Rate strike other calls.
	Seed uint64 `json:"seed,omitempty"`
	// Lag is how much later Get and List see what was changed.
	Lag Duration `json:"lag,omitempty"`
	// Lacks names what the vendor does not have: "balancer", "volume", "snapshot", "udp", "spot".
	Lacks []string `json:"lacks,omitempty"`
	// Sold names the zones that types of machine are on offer in; a type that is not named is so in all.
	Sold map[string][]string `json:"sold,omitempty"`
	// Dies names machines that stop as soon as they are made, once in each process: Create returns them Stopped.
	Dies []string `json:"dies,omitempty"`
	// Prices are what things cost beside machines; without them plans have no cost.
	Prices *providers.Prices `json:"prices,omitempty"`
	// Account is what is told of the account; without it there is none.
	Account *Account `json:"account,omitempty"`
}

// A Fault makes calls fail. Each counts the calls that it matches, in this process.
type Fault struct {
	Noun  providers.Noun `json:"noun,omitempty"`  // empty: any
	Verb  providers.Verb `json:"verb,omitempty"`  // empty: any
	Name  string         `json:"name,omitempty"`  // the object's; empty: any
	Nth   int            `json:"nth,omitempty"`   // the first call that fails, counted from 1; 0 means 1
	Times int            `json:"times,omitempty"` // how many fail from there on; 0 means 1, -1 all
	// Rate lets each call from the Nth on fail with this probability, instead of each; Times 0 then means all.
	Rate  float64        `json:"rate,omitempty"`
	Error providers.Kind `json:"error"`
	// After lets the call take its whole effect before it fails, as if the answer was lost.
	After bool `json:"after,omitempty"`
	// Partial lets so many sub-calls of a Create, Delete or Update take effect before it fails; 0 means none.
	Partial int `json:"partial,omitempty"`
	// RetryAfter is the vendor's word on when to try again, if it gives one.
	RetryAfter Duration `json:"retry_after,omitempty"`
}

// A Duration is a time.Duration that is written as in Go, "150ms", in JSON.
type Duration time.Duration

// MarshalText writes the duration as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Parse reads Options from JSON. Unknown fields and values that mean nothing are errors that wrap providers.Invalid.
func Parse(data []byte) (Options, error) {
	var o Options
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return Options{}, fmt.Errorf("options of the fake: %w: %w", providers.Invalid, err)
	}
	if d.More() {
		return Options{}, fmt.Errorf("options of the fake: %w: more than one JSON value", providers.Invalid)
	}
	return o, o.Validate()
}

// Validate returns an error that wraps providers.Invalid if something in the options means nothing.
func (o Options) Validate() error {
	if err := o.validate(); err != nil {
		return fmt.Errorf("options of the fake: %w: %w", providers.Invalid, err)
	}
	return nil
}

func (o Options) validate() error {
	for k, d := range o.Latency {
		noun, verb, both := strings.Cut(k, ".")
		if !both {
			noun, verb = "", k
		}
		if !meaningful(providers.Noun(noun), providers.Verb(verb)) || verb == "" {
			return fmt.Errorf("latency of %q: there is no such call", k)
		}
		if d < 0 {
			return fmt.Errorf("latency of %q is negative", k)
		}
	}
	for n, q := range o.Quota {
		if n.Verbs() == nil || q < 0 {
			return fmt.Errorf("quota of %d for %q: no such kind or negative", q, n)
		}
	}
	for _, l := range o.Lacks {
		if !slices.Contains([]string{"balancer", "volume", "snapshot", "udp", "spot"}, l) {
			return fmt.Errorf("lacks %q: it cannot be taken away", l)
		}
	}
	if err := o.Prices.Validate(); err != nil {
		return err
	}
	if err := o.Account.validate(); err != nil {
		return err
	}
	if o.Lag < 0 {
		return fmt.Errorf("lag is negative")
	}
	for i, l := range o.Limits {
		if err := l.validate(); err != nil {
			return fmt.Errorf("limit %d: %w", i, err)
		}
	}
	for i, f := range o.Faults {
		if err := f.validate(); err != nil {
			return fmt.Errorf("fault %d: %w", i, err)
		}
	}
	return nil
}

func (f Fault) validate() error {
	switch {
	case !meaningful(f.Noun, f.Verb):
		return fmt.Errorf("there is no call %q of %q", f.Verb, f.Noun)
	case !slices.Contains(providers.Kinds(), f.Error):
		return fmt.Errorf("there is no kind of error %q", f.Error)
	case f.Nth < 0 || f.Times < -1 || f.Partial < 0 || f.RetryAfter < 0:
		return fmt.Errorf("a number is negative")
	case f.Rate < 0 || f.Rate > 1:
		return fmt.Errorf("a rate of %v is no probability", f.Rate)
	case f.Partial > 0 && f.After:
		return fmt.Errorf("it is either partial or after the whole effect")
	case f.Partial > 0 && f.Verb != "" && !slices.Contains([]providers.Verb{providers.CreateVerb, providers.DeleteVerb, providers.UpdateVerb}, f.Verb):
		return fmt.Errorf("only create, delete and update have sub-calls")
	}
	return nil
}

// meaningful says whether some kind named by noun, or by any if it is empty, has the verb, or any if that is empty.
func meaningful(noun providers.Noun, verb providers.Verb) bool {
	return slices.ContainsFunc(append(providers.Nouns(), providers.AccountNoun), func(n providers.Noun) bool {
		return (noun == "" || noun == n) && (verb == "" || slices.Contains(n.Verbs(), verb))
	})
}
