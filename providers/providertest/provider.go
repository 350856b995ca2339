package providertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"github.com/provisionhq/provision/providers"
)

// providerCases are about the provider itself and the kinds that it lacks.
func providerCases() []Case {
	lacking := func(n providers.Noun, objects func(providers.Provider) any) Case {
		return Case{
			Name:    string(n) + "/unsupported",
			Rule:    "A kind that the vendor lacks must be a value whose methods return Unsupported, because callers never look for nil.",
			applies: func(f Fixture) bool { return !(&suite{Fixture: f}).kinds()[n] },
			run: func(ctx context.Context, s *suite) error {
				return unsupported(ctx, objects(s.Provider))
			},
		}
	}
	return []Case{
		{
			Name: "provider/name",
			Rule: "Name must be the scheme of a URL and always the same, because node IDs begin with it.",
			run:  func(_ context.Context, s *suite) error { return tryName(s.Provider) },
		},
		{
			Name: "provider/caps",
			Rule: "Caps must be the same each time and not contradict themselves, because plans are refused by them before anything is done.",
			run:  func(_ context.Context, s *suite) error { return tryCaps(s.Provider) },
		},
		{
			Name:    "provider/prices",
			Rule:    "Prices must have a day, a source, a region and nothing negative, because plans say how old they are and add them up.",
			applies: func(f Fixture) bool { return f.Provider.Caps().Prices != nil },
			run:     func(_ context.Context, s *suite) error { return s.Provider.Caps().Prices.Validate() },
		},
		lacking(providers.BalancerNoun, func(p providers.Provider) any { return p.LoadBalancers() }),
		lacking(providers.VolumeNoun, func(p providers.Provider) any { return p.Volumes() }),
		lacking(providers.SnapshotNoun, func(p providers.Provider) any { return p.Volumes().Snapshots() }),
	}
}

func tryName(p providers.Provider) error {
	if n := p.Name(); !regexp.MustCompile(`^[a-z][a-z0-9]*$`).MatchString(n) || n != p.Name() {
		return fmt.Errorf("the name is %q, and then %q", n, p.Name())
	}
	return nil
}

func tryCaps(p providers.Provider) error {
	c := p.Caps()
	zones := slices.Sorted(slices.Values(c.Zones))
	switch {
	case !reflect.DeepEqual(c, p.Caps()):
		return fmt.Errorf("they are %+v, and then %+v", c, p.Caps())
	case len(c.Arch) == 0:
		return errors.New("they name no processor architecture")
	case c.MaxNameLen < 0 || c.MaxNameLen > 63:
		return fmt.Errorf("the longest machine name has %d letters; host names have at most 63", c.MaxNameLen)
	case c.UDP && !c.LoadBalancers:
		return errors.New("UDP without balancers")
	case c.Snapshots && !c.Volumes:
		return errors.New("snapshots without volumes")
	case len(slices.Compact(zones)) != len(c.Zones):
		return fmt.Errorf("a zone is named twice: %v", c.Zones)
	}
	return nil
}

// unsupported calls each method of a kind with nothing.
func unsupported(ctx context.Context, objects any) error {
	v := reflect.ValueOf(objects)
	if objects == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("it is nil")
	}
	for i := range v.NumMethod() {
		m, name := v.Method(i), v.Type().Method(i).Name
		if m.Type().NumIn() == 0 { // Snapshots, which have a case of their own
			continue
		}
		in := []reflect.Value{reflect.ValueOf(ctx)}
		for a := 1; a < m.Type().NumIn(); a++ {
			in = append(in, reflect.Zero(m.Type().In(a)))
		}
		out := m.Call(in)
		err, _ := out[len(out)-1].Interface().(error)
		if err := refused(name, err, providers.Unsupported); err != nil {
			return err
		}
	}
	return nil
}
