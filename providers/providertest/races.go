package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

func (k *kind[S, O]) tryConcurrent(ctx context.Context, s *suite) error {
	const callers = 4
	spec, err := k.spec(ctx, s.owner, k.name("d-race"))
	if err != nil {
		return unmet("a spec", err)
	}
	var objects [callers]O
	var errs [callers]error
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { objects[i], errs[i] = k.objects().Create(ctx, clone(spec)) })
	}
	wg.Wait()
	ids := map[providers.ID]bool{}
	for i, err := range errs {
		if err != nil && providers.KindOf(err) != providers.Exists {
			return fmt.Errorf("one of %d Creates at the same time: %w", callers, err)
		}
		ids[objects[i].GetMeta().ID] = true
	}
	there, err := k.listed(ctx, s.owner, spec.Key().Name)
	if err != nil {
		return err
	}
	for _, o := range there {
		ids[o.GetMeta().ID] = true
	}
	if len(there) != 1 || len(ids) != 1 {
		return fmt.Errorf("%d Creates at the same time returned the IDs %v, and List has %d objects of the name, want one",
			callers, slices.Sorted(maps.Keys(ids)), len(there))
	}
	k.spares = append(k.spares, there[0])
	return nil
}

// soon is how long a call may go on after its context has ended.
const soon = 5 * time.Second

func (k *kind[S, O]) tryCancelled(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	spec, err := k.spec(ctx, s.owner, k.name("f-cut"))
	if err != nil {
		return unmet("a spec", err)
	}
	id := m.got.GetMeta().ID
	calls := map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { _, err := k.objects().Create(ctx, clone(spec)); return err },
		"Get":    func(ctx context.Context) error { _, err := k.objects().Get(ctx, id); return err },
		"List":   func(ctx context.Context) error { _, err := k.objects().List(ctx, s.owner); return err },
		"Update": func(ctx context.Context) error { _, err := k.objects().Update(ctx, id, clone(m.asked)); return err },
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if err := cutOff(ctx, 0, calls[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := cutOff(ctx, m.took/3+time.Microsecond, calls["Create"]); err != nil {
		return fmt.Errorf("Create: %w", err)
	}
	return k.completes(ctx, spec)
}

// cutOff makes a call whose context ends after a while; at once, and the call must fail, if that is 0.
func cutOff(ctx context.Context, after time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if after == 0 {
		cancel()
	}
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		return endOf(ctx, after, err)
	case <-time.After(after):
		cancel()
	}
	select {
	case err := <-done:
		return endOf(ctx, after, err)
	case <-time.After(soon):
		return fmt.Errorf("it has not returned %s after its context ended", soon)
	}
}

func endOf(ctx context.Context, after time.Duration, err error) error {
	switch {
	case err == nil && after > 0, ctx.Err() == nil: // it was faster
		return nil
	case err == nil:
		return errors.New("it succeeded though its context had ended")
	case !errors.Is(err, context.Canceled):
		return fmt.Errorf("its context ended and it returned %w, which does not wrap the context's error", err)
	}
	return nil
}

// completes makes sure that Create makes one complete object out of whatever is there, and keeps it as a spare.
func (k *kind[S, O]) completes(ctx context.Context, spec S) error {
	o, err := k.objects().Create(ctx, clone(spec))
	if err != nil && providers.KindOf(err) != providers.Exists {
		return fmt.Errorf("Create after one that was cut off: %w", err)
	}
	clean, err := k.of(ctx, spec.Key().Owner)
	if err != nil {
		return err
	}
	if err := k.same(spec, o); err != nil && k.same(clean.asked, clean.got) == nil {
		return fmt.Errorf("Create after one that was cut off: %w", err)
	}
	there, err := k.listed(ctx, spec.Key().Owner, spec.Key().Name)
	if err != nil {
		return err
	}
	if len(there) != 1 || there[0].GetMeta().Partial || there[0].GetMeta().ID != o.GetMeta().ID {
		return fmt.Errorf("Create after one that was cut off left %d objects, want one that is complete: %+v", len(there), there)
	}
	k.spares = append(k.spares, o)
	return nil
}
