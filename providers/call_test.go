package providers_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
)

func TestKeyValidate(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct {
		key providers.Key
		max int
		ok  bool
	}{
		{providers.Key{Owner: "demo", Name: "demo-cp-0"}, 0, true},
		{providers.Key{Owner: "1", Name: "9a"}, 0, true},
		{providers.Key{Owner: "demo", Name: long}, 0, true},
		{providers.Key{Owner: "demo", Name: long + "a"}, 0, false},
		{providers.Key{Owner: "demo", Name: "abc"}, 3, true},
		{providers.Key{Owner: "demo", Name: "abcd"}, 3, false},
		{providers.Key{Owner: "", Name: "a"}, 0, false},
		{providers.Key{Owner: "demo", Name: ""}, 0, false},
		{providers.Key{Owner: "demo", Name: "-a"}, 0, false},
		{providers.Key{Owner: "demo", Name: "a-"}, 0, false},
		{providers.Key{Owner: "demo", Name: "A"}, 0, false},
		{providers.Key{Owner: "demo", Name: "a.b"}, 0, false},
		{providers.Key{Owner: "demo", Name: "a/../b"}, 0, false},
		{providers.Key{Owner: "dé", Name: "a"}, 0, false},
	} {
		err := c.key.Validate(c.max)
		if (err == nil) != c.ok {
			t.Errorf("%q.Validate(%d) = %v, want ok = %v", c.key, c.max, err, c.ok)
		}
		if err != nil && !errors.Is(err, providers.Invalid) {
			t.Errorf("%q.Validate(%d) = %v, which does not wrap Invalid", c.key, c.max, err)
		}
	}
}

func TestCallString(t *testing.T) {
	for want, c := range map[string]providers.Call{
		"create machine demo/demo-cp-0": {Noun: "machine", Verb: "create", Owner: "demo", Name: "demo-cp-0"},
		"list network demo":             {Noun: "network", Verb: "list", Owner: "demo"},
		"delete volume v-1":             {Noun: "volume", Verb: "delete", ID: "v-1"},
		"types machine":                 {Noun: "machine", Verb: "types"},
	} {
		if got := c.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// nothing is a provider that has no kind at all: what is not there returns Unsupported.
type nothing struct{ providers.Provider }

func (nothing) Name() string                 { return "nothing" }
func (nothing) Networks() providers.Networks { return none[providers.NetworkSpec, providers.Network]{} }
func (nothing) Machines() providers.Machines { return noMachines{} }

// Account returns NoAccount.
func (nothing) Account() providers.Account { return providers.NoAccount{} }

func (nothing) LoadBalancers() providers.LoadBalancers { return providers.NoLoadBalancers{} }
func (nothing) Volumes() providers.Volumes             { return providers.NoVolumes{} }

type none[S, O any] struct{}

func (none[S, O]) Create(context.Context, S) (o O, err error) { return o, providers.Unsupported }
func (none[S, O]) Get(context.Context, providers.ID) (o O, err error) {
	return o, providers.Unsupported
}
func (none[S, O]) List(context.Context, providers.Owner) ([]O, error) {
	return nil, providers.Unsupported
}
func (none[S, O]) Delete(context.Context, providers.ID) error { return providers.Unsupported }
func (none[S, O]) Update(context.Context, providers.ID, S) (o O, err error) {
	return o, providers.Unsupported
}

type noMachines struct {
	none[providers.MachineSpec, providers.Machine]
}

func (noMachines) Types(context.Context) ([]providers.MachineType, error) {
	return nil, providers.Unsupported
}

// every makes each call that the contract has, once, through reflection, so that a method that is added and forgotten
// in Wrap is seen. It returns how many calls it made and fails on one that succeeds.
func every(t *testing.T, objects any, noun providers.Noun) (calls int) {
	v := reflect.ValueOf(objects)
	for i := range v.NumMethod() {
		m, name := v.Method(i), v.Type().Method(i).Name
		if name == "Snapshots" {
			calls += every(t, m.Call(nil)[0].Interface(), providers.SnapshotNoun)
			continue
		}
		in := []reflect.Value{reflect.ValueOf(t.Context())}
		for a := 1; a < m.Type().NumIn(); a++ {
			in = append(in, reflect.Zero(m.Type().In(a)))
		}
		out := m.Call(in)
		err, _ := out[len(out)-1].Interface().(error)
		if !errors.Is(err, providers.Unsupported) {
			t.Errorf("%s %s = %v, want Unsupported", name, noun, err)
		}
		calls++
	}
	return calls
}

func TestWrapSeesEveryCall(t *testing.T) {
	seen := map[providers.Noun][]providers.Verb{}
	p := providers.Wrap(nothing{}, func(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
		seen[c.Noun] = append(seen[c.Noun], c.Verb)
		return next(ctx)
	})
	if p.Name() != "nothing" {
		t.Errorf("Name() = %q, want the wrapped provider's", p.Name())
	}
	calls := every(t, p.Networks(), providers.NetworkNoun) + every(t, p.Machines(), providers.MachineNoun) +
		every(t, p.LoadBalancers(), providers.BalancerNoun) + every(t, p.Volumes(), providers.VolumeNoun)
	for _, n := range providers.Nouns() {
		got, want := slices.Sorted(slices.Values(seen[n])), slices.Sorted(slices.Values(n.Verbs()))
		if !slices.Equal(got, want) {
			t.Errorf("wrapped verbs of %s: %v, want %v", n, got, want)
		}
		calls -= len(want)
	}
	if calls != 0 {
		t.Errorf("%d calls of the contract are not in Verbs()", calls)
	}
	if v := providers.Noun("planet").Verbs(); v != nil {
		t.Errorf("verbs of an unknown noun: %v, want none", v)
	}
}

func TestWrapMayAnswerItself(t *testing.T) {
	p := providers.Wrap(nothing{}, func(context.Context, *providers.Call, func(context.Context) error) error {
		return providers.Denied
	})
	if err := p.Volumes().Detach(t.Context(), "v", "m"); !errors.Is(err, providers.Denied) {
		t.Errorf("Detach = %v, want the Around's own answer", err)
	}
}
