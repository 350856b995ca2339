//go:build linux

package local

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/providers"
)

// Clear removes all objects that are kept below the folder, as New's Options name it, of those owners; nil means of all. It
// returns how many there were. What cannot be removed does not keep it from removing the rest.
func Clear(ctx context.Context, folder string, mine func(providers.Owner) bool) (found int, err error) {
	p := New(Options{Folder: folder})
	owners, err := p.Owners()
	for _, o := range owners {
		if mine == nil || mine(o) {
			n, cleared := p.clear(ctx, o)
			found, err = found+n, errors.Join(err, cleared)
		}
	}
	return found, err
}

// clear removes what one owner has: first what uses other things.
func (p *Provider) clear(ctx context.Context, o providers.Owner) (found int, err error) {
	for _, each := range []func() (int, error){
		func() (int, error) { return removeAll(ctx, o, p.LoadBalancers().List, p.LoadBalancers().Delete) },
		func() (int, error) { return removeAll(ctx, o, p.Machines().List, p.Machines().Delete) },
		func() (int, error) { return removeAll(ctx, o, p.Volumes().List, p.Volumes().Delete) },
		func() (int, error) {
			s := p.Volumes().Snapshots()
			return removeAll(ctx, o, s.List, s.Delete)
		},
		func() (int, error) { return removeAll(ctx, o, p.Networks().List, p.Networks().Delete) },
	} {
		n, failed := each()
		found, err = found+n, errors.Join(err, failed)
	}
	return found, err
}

// removeAll removes an owner's objects of one kind, a few at a time.
func removeAll[T providers.Identified](ctx context.Context, o providers.Owner, list func(context.Context, providers.Owner) ([]T, error), remove func(context.Context, providers.ID) error) (int, error) {
	all, err := list(ctx, o)
	var g errgroup.Group
	g.SetLimit(4)
	errs := make([]error, len(all))
	for i, x := range all {
		g.Go(func() error {
			errs[i] = remove(ctx, x.GetMeta().ID)
			return nil
		})
	}
	_ = g.Wait()
	return len(all), errors.Join(append(errs, err)...)
}
