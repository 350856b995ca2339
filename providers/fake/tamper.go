package fake

import (
	"context"
	"fmt"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// Tamper is a stranger's hand: it changes an object behind its owner's back, as at a vendor's console, whatever the
// contract says of it. edit gets a copy with its Meta and may change all of it but the ID: an emptied Owner or Name is a
// tag that was taken away. NotFound if there is no such object, Invalid if the ID is of another kind. It sees no faults
// and no limits, and it works from any process that has opened the vendor's file. Examples:
//
//	fake.Tamper(ctx, f, id, func(n *providers.Network) { n.Allow = n.Allow[:1] })
//	fake.Tamper(ctx, f, id, func(b *providers.LoadBalancer) { b.Targets = nil })
func Tamper[O Object](ctx context.Context, f *Fake, id providers.ID, edit func(*O)) error {
	return f.store.change(ctx, func(s *state) ([]change, error) {
		h, err := handOf(s, id)
		if err != nil {
			return nil, fmt.Errorf("tamper with %s: %w", id, err)
		}
		if _, ok := h.object.(*O); !ok {
			return nil, fmt.Errorf("tamper with %s: %w: it is a %T", id, providers.Invalid, h.object)
		}
		edit(h.object.(*O))
		h.meta.ID = id
		return []change{h.put()}, nil
	})
}

// An Object is of any kind.
type Object interface {
	providers.Network | providers.Machine | providers.LoadBalancer | providers.Volume | providers.Snapshot
}

// Strip is a stranger's hand that takes tags of the object away, the contract's (providers.OwnerTag, NameTag, PoolTag) or
// others; all of them if none is named. NotFound if there is no such object.
func (f *Fake) Strip(ctx context.Context, id providers.ID, tags ...string) error {
	return f.store.change(ctx, func(s *state) ([]change, error) {
		h, err := handOf(s, id)
		if err != nil {
			return nil, fmt.Errorf("strip %s: %w", id, err)
		}
		m := h.meta
		if len(tags) == 0 {
			m.Owner, m.Name, m.Tags, *h.pool = "", "", nil, ""
		}
		for _, t := range tags {
			switch t {
			case providers.OwnerTag:
				m.Owner = ""
			case providers.NameTag:
				m.Name = ""
			case providers.PoolTag:
				*h.pool = ""
			}
			delete(m.Tags, t)
		}
		return []change{h.put()}, nil
	})
}

// Vanish is a stranger's hand that deletes the object at once, whatever stands on it. It succeeds if there is none.
func (f *Fake) Vanish(ctx context.Context, id providers.ID) error {
	return f.store.change(ctx, func(s *state) ([]change, error) {
		h, err := handOf(s, id)
		if err != nil {
			return nil, nil
		}
		return []change{h.gone}, nil
	})
}

// A hand holds an object of whatever kind: a copy, and the ways to put it back.
type hand struct {
	object any // a pointer to the copy
	meta   *providers.Meta
	pool   *string // of a machine; else nobody's
	put    func() change
	gone   change
}

func handOf(s *state, id providers.ID) (hand, error) {
	noun, _, _ := strings.Cut(string(id), ".")
	switch providers.Noun(noun) {
	case providers.NetworkNoun:
		return hold(s, networkKind(), id)
	case providers.MachineNoun:
		h, err := hold(s, machineKind(providers.Caps{}), id)
		if m, ok := h.object.(*providers.Machine); ok {
			h.pool = &m.Pool
		}
		return h, err
	case providers.BalancerNoun:
		return hold(s, balancerKind(providers.Caps{}), id)
	case providers.VolumeNoun:
		return hold(s, volumeKind(), id)
	case providers.SnapshotNoun:
		return hold(s, snapshotKind(), id)
	}
	return hand{}, providers.NotFound
}

func hold[S providers.Described, O providers.Identified](s *state, k kind[S, O], id providers.ID) (hand, error) {
	r, ok := k.pick(s).rows[id]
	if !ok {
		return hand{}, providers.NotFound
	}
	r.Object = k.clone(r.Object)
	return hand{
		object: &r.Object,
		meta:   k.meta(&r.Object),
		pool:   new(string),
		put:    func() change { return put[O]{k.pick, id, &r} },
		gone:   put[O]{pick: k.pick, id: id},
	}, nil
}
