package providertest

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/providers"
)

// mostPlaces is more than any object has vendor calls: a Cut that is always reached is a mistake in the fixture.
const mostPlaces = 500

// tryCutCreate cuts Create at every place and lets it go on; and then once more, and deletes what is there.
func (k *kind[S, O]) tryCutCreate(ctx context.Context, s *suite) error {
	for n := range mostPlaces {
		reached := false
		for _, end := range []func(context.Context, S) error{k.completes, k.removes} {
			spec, err := k.spec(ctx, s.owner, k.name("g-cut"))
			if err != nil {
				return unmet("a spec", err)
			}
			heal := s.Cut(n)
			_, err = k.objects().Create(ctx, clone(spec))
			if reached = heal(); reached && err == nil {
				return fmt.Errorf("Create cut off at place %d returned no error", n)
			}
			if err := k.atMostOne(ctx, spec.Key()); err != nil {
				return fmt.Errorf("Create cut off at place %d: %w", n, err)
			}
			if err := end(ctx, spec); err != nil {
				return fmt.Errorf("cut off at place %d: %w", n, err)
			}
		}
		if err := k.dropSpares(ctx); err != nil {
			return err
		}
		if !reached {
			return nil
		}
	}
	return fmt.Errorf("the fixture's Cut struck at each of %d places", mostPlaces)
}

// tryCutDelete cuts Delete at every place and deletes again.
func (k *kind[S, O]) tryCutDelete(ctx context.Context, s *suite) error {
	for n := range mostPlaces {
		o, err := k.spare(ctx, s.owner)
		if err != nil {
			return err
		}
		m := o.GetMeta()
		heal := s.Cut(n)
		err = k.objects().Delete(ctx, m.ID)
		reached := heal()
		if reached && err == nil {
			return fmt.Errorf("Delete cut off at place %d returned no error", n)
		}
		if err := k.atMostOne(ctx, providers.Key{Owner: m.Owner, Name: m.Name}); err != nil {
			return fmt.Errorf("Delete cut off at place %d: %w", n, err)
		}
		if err := k.objects().Delete(ctx, m.ID); err != nil {
			return fmt.Errorf("Delete after one that was cut off at place %d: %w", n, err)
		}
		there, err := k.listed(ctx, s.owner, m.Name)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			return fmt.Errorf("Delete after one that was cut off at place %d left %+v", n, there)
		}
		if !reached {
			return nil
		}
	}
	return fmt.Errorf("the fixture's Cut struck at each of %d places", mostPlaces)
}

// removes makes sure that Delete removes what a Create that was cut off has left.
func (k *kind[S, O]) removes(ctx context.Context, spec S) error {
	key := spec.Key()
	there, err := k.listed(ctx, key.Owner, key.Name)
	if err != nil {
		return err
	}
	for _, o := range there {
		if err := k.objects().Delete(ctx, o.GetMeta().ID); err != nil {
			return fmt.Errorf("Delete of what a cut-off Create left: %w", err)
		}
	}
	if there, err = k.listed(ctx, key.Owner, key.Name); err == nil && len(there) > 0 {
		return fmt.Errorf("Delete of what a cut-off Create left does not remove it: %+v", there)
	}
	return err
}

func (k *kind[S, O]) atMostOne(ctx context.Context, key providers.Key) error {
	there, err := k.listed(ctx, key.Owner, key.Name)
	if err == nil && len(there) > 1 {
		return fmt.Errorf("there are %d objects of the name: %+v", len(there), there)
	}
	return err
}

// dropSpares deletes the spare objects, so that they do not pile up.
func (k *kind[S, O]) dropSpares(ctx context.Context) error {
	for _, o := range k.spares {
		if err := k.objects().Delete(ctx, o.GetMeta().ID); err != nil {
			return unmet("Delete", err)
		}
	}
	k.spares = nil
	return nil
}
