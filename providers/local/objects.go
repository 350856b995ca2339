//go:build linux

package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/provisionhq/provision/providers"
)

// get is Get of every kind. seen makes the object of its record.
func get[S, O any](ctx context.Context, p *Provider, n providers.Noun, id providers.ID, seen func(*record[S]) (O, error)) (o O, err error) {
	defer about("get", n, providers.Key{Name: string(id)}, &err)
	r, err := byID[S](p, n, id)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return o, err
	}
	if r == nil {
		return o, providers.NotFound
	}
	return seen(r)
}

// list is List of every kind.
func list[S, O any](ctx context.Context, p *Provider, n providers.Noun, owner providers.Owner, seen func(*record[S]) (O, error)) (all []O, err error) {
	defer about("list", n, providers.Key{Owner: owner}, &err)
	if owner == "" {
		return nil, fail(providers.Invalid, "the owner is empty")
	}
	rs, err := records[S](p, n, owner)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	for _, r := range rs {
		o, err := seen(r)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// sure makes a seen of a function that cannot fail.
func sure[S, O any](object func(*record[S]) O) func(*record[S]) (O, error) {
	return func(r *record[S]) (O, error) { return object(r), nil }
}

// remove is Delete of a kind that has no process to end: erase is called with the record of what is there, under its lock.
func remove[S any](ctx context.Context, p *Provider, n providers.Noun, id providers.ID, erase func(*record[S]) error) (err error) {
	key, ok := keyOf(id)
	defer about("delete", n, key, &err)
	if !ok {
		return nil
	}
	if r, err := byID[S](p, n, id); r == nil {
		return errors.Join(err, ctx.Err())
	}
	l, err := p.lockObject(ctx, n, key)
	if err != nil {
		return err
	}
	defer p.finish(l, n, key)
	r, err := byID[S](p, n, id)
	if err != nil || r == nil {
		return err
	}
	return erase(r)
}

// alike compares two values; empty and absent are one.
func alike(a, b any) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	empty := func(j []byte) []byte {
		j = bytes.ReplaceAll(j, []byte("null"), []byte("[]"))
		return bytes.ReplaceAll(j, []byte("{}"), []byte("[]"))
	}
	return xerr == nil && yerr == nil && bytes.Equal(empty(x), empty(y))
}

// takenAddresses are those of the network's machines and balancers, but for one.
func (p *Provider) takenAddresses(net *networkRecord, but providers.ID) (taken []netip.Addr, err error) {
	ms, err := records[providers.MachineSpec](p, providers.MachineNoun, net.Spec.Owner)
	if err != nil {
		return nil, err
	}
	bs, err := records[providers.LoadBalancerSpec](p, providers.BalancerNoun, net.Spec.Owner)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.Spec.Network == net.ID && m.ID != but {
			taken = append(taken, m.Address)
			if m.Next.IsValid() {
				taken = append(taken, m.Next)
			}
		}
	}
	for _, b := range bs {
		if b.Spec.Network == net.ID && b.ID != but {
			taken = append(taken, b.Address)
		}
	}
	return taken, nil
}

// wholeNetwork returns the owner's network of the ID, which must be whole.
func (p *Provider) wholeNetwork(id providers.ID, owner providers.Owner) (*networkRecord, error) {
	net, err := byID[providers.NetworkSpec](p, providers.NetworkNoun, id)
	if err != nil {
		return nil, err
	}
	switch {
	case net == nil || net.Spec.Owner != owner:
		return nil, fail(providers.NotFound, "network %q", id)
	case !net.Complete || net.Deleting || !networks{p}.up(net):
		return nil, fail(providers.Conflict, "network %s is not complete: create it first", net.Spec.Name)
	}
	return net, nil
}

// lockByID takes the lock of the object that an Update is about and returns its record; NotFound if there is none of the ID,
// Invalid if it is another's than the spec says.
func lockByID[S providers.Described](ctx context.Context, p *Provider, n providers.Noun, id providers.ID, key providers.Key) (*record[S], *lock, error) {
	is, known := keyOf(id)
	if !known {
		return nil, nil, providers.NotFound
	}
	r, err := byID[S](p, n, id)
	switch {
	case err != nil:
		return nil, nil, err
	case r == nil || r.Deleting:
		return nil, nil, providers.NotFound
	case is != key:
		return nil, nil, fail(providers.Invalid, "the %s is %s", n, is)
	}
	l, err := p.lockObject(ctx, n, key)
	if err != nil {
		return nil, nil, err
	}
	if r, err = byID[S](p, n, id); err == nil && (r == nil || r.Deleting) {
		err = providers.NotFound
	}
	if err != nil {
		p.finish(l, n, key)
		return nil, nil, err
	}
	return r, l, nil
}
