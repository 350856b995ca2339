//go:build linux

package local

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"

	"github.com/provisionhq/provision/providers"
)

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
