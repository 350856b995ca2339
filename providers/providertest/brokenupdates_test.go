package providertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/provisionhq/provision/providers"
)

// brokenUpdates change something else than they should.
func brokenUpdates[S providers.Described, O providers.Identified](b breaker[S, O], f fields[S, O]) []broken {
	type objects = providers.Objects[S, O]
	updates := func(name string, update func(ctx context.Context, next objects, id providers.ID, s S) (O, error)) broken {
		return b(name, func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{update: func(ctx context.Context, id providers.ID, s S) (O, error) {
				return update(ctx, next, id, s)
			}}
		})
	}
	return []broken{
		updates("update", func(ctx context.Context, next objects, id providers.ID, s S) (O, error) {
			if _, _, tags := f.edit(&s); *tags == nil { // it can add and change, not take the last away
				*tags = map[string]string{"team": "core"}
			}
			return next.Update(ctx, id, s)
		}),
		b("update-touches-only", func(next objects, _ *Fixture) twist[S, O] { return wanders(f) }),
		b("update-quiet", func(next objects, x *Fixture) twist[S, O] {
			var extra atomic.Int64
			writes := x.Writes
			x.Writes = func() int { return writes() + int(extra.Load()) }
			return twist[S, O]{update: func(ctx context.Context, id providers.ID, s S) (O, error) {
				extra.Add(1)
				return next.Update(ctx, id, s)
			}}
		}),
		updates("update-identity", func(ctx context.Context, next objects, id providers.ID, s S) (O, error) {
			owner, name, _ := f.edit(&s)
			if m := metaOf(ctx, next, id); m.Owner != "" && m.Name != "" {
				*owner, *name = m.Owner, m.Name
			}
			return next.Update(ctx, id, s)
		}),
		updates("update-missing", func(ctx context.Context, next objects, id providers.ID, s S) (O, error) {
			o, err := next.Update(ctx, id, s)
			if errors.Is(err, providers.NotFound) {
				err = fmt.Errorf("%w: no such thing", providers.Invalid)
			}
			return o, err
		}),
		b("update-neighbour", func(next objects, _ *Fixture) twist[S, O] { return follows(next, f) }),
		b("update-concurrent", func(next objects, _ *Fixture) twist[S, O] {
			var busy sync.Map
			return twist[S, O]{update: func(ctx context.Context, id providers.ID, s S) (o O, err error) {
				if _, there := busy.LoadOrStore(id, true); there {
					return o, providers.Conflict
				}
				defer busy.Delete(id)
				time.Sleep(time.Millisecond)
				return next.Update(ctx, id, s)
			}}
		}),
		updates("update-arguments", func(ctx context.Context, next objects, id providers.ID, s S) (O, error) {
			o, err := next.Update(ctx, id, s)
			if _, _, tags := f.edit(&s); err == nil && *tags != nil {
				(*tags)["updated"] = "yes"
			}
			return o, err
		}),
		updates("update-stripped", func(ctx context.Context, next objects, id providers.ID, s S) (o O, err error) {
			if m := metaOf(ctx, next, id); m.ID != "" && m.Owner == "" {
				return o, fmt.Errorf("%w: it is nobody's", providers.Denied)
			}
			return next.Update(ctx, id, s)
		}),
		b("cut-update", func(next objects, _ *Fixture) twist[S, O] {
			var failed sync.Map
			return twist[S, O]{update: func(ctx context.Context, id providers.ID, s S) (o O, err error) {
				if _, there := failed.Load(id); there {
					return o, providers.Denied
				}
				if o, err = next.Update(ctx, id, s); errors.Is(err, providers.Unavailable) {
					failed.Store(id, true)
				}
				return o, err
			}}
		}),
	}
}

func metaOf[S any, O providers.Identified](ctx context.Context, next providers.Objects[S, O], id providers.ID) providers.Meta {
	o, err := next.Get(ctx, id)
	if err != nil {
		return providers.Meta{}
	}
	return o.GetMeta()
}

// wanders lets objects look otherwise as soon as their tags are others than at first.
func wanders[S providers.Described, O providers.Identified](f fields[S, O]) twist[S, O] {
	return twist[S, O]{touch: func(o *O) {
		if has((*o).GetMeta().Tags, "fresh") {
			f.plain(o)
		}
	}}
}

// follows lets the other owner's shared object look otherwise as soon as the first owner's was updated.
func follows[S providers.Described, O providers.Identified](next providers.Objects[S, O], f fields[S, O]) twist[S, O] {
	var updated atomic.Bool
	return twist[S, O]{
		update: func(ctx context.Context, id providers.ID, s S) (O, error) {
			o, err := next.Update(ctx, id, s)
			if s.Key() == (providers.Key{Owner: brokenOwner + "a", Name: "b-shared"}) && err == nil {
				updated.Store(true)
			}
			return o, err
		},
		touch: func(o *O) {
			if updated.Load() && (*o).GetMeta().Owner == brokenOwner+"b" {
				f.plain(o)
			}
		},
	}
}
