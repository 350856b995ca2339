package fake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// A kind is what differs from one kind of objects to the next.
type kind[S providers.Described, O providers.Identified] struct {
	noun  providers.Noun
	steps int // sub-calls that one object takes
	pick  func(*state) *table[O]
	meta  func(*O) *providers.Meta
	clone func(O) O
	// build refuses a spec or returns the object as it will be, without its Meta.
	build func(s *state, spec S, id providers.ID) (O, error)
	tags  func(S) map[string]string
	// update changes the object, which belongs to it, to what the spec asks for, but for its Meta; Invalid if it cannot.
	update func(*state, *O, S) error
	// step changes an object, which belongs to it, to how it looks after so many sub-calls; nil if it always looks alike.
	step func(o *O, done int)
	// leave refuses to delete the object, or returns what must be done to others before.
	leave func(*state, O) ([]change, error)
}

// objects are the five verbs of a kind.
type objects[S providers.Described, O providers.Identified] struct {
	fake *Fake
	kind[S, O]
}

// Create goes through the object's sub-calls, from the first that has not taken effect. An object that was begun stays
// what it was asked to be first, whatever the spec that completes it says.
func (k objects[S, O]) Create(ctx context.Context, spec S) (O, error) {
	var got, none O
	key := spec.Key()
	c := providers.Call{Noun: k.noun, Verb: providers.CreateVerb, Owner: key.Owner, Name: key.Name}
	begun, exists := false, false
	err := k.fake.call(ctx, c, k.steps, func() (more bool, err error) {
		err = k.fake.store.change(ctx, func(s *state) ([]change, error) {
			r, there := k.pick(s).named(key)
			if there && r.Done == k.steps {
				got, exists = k.clone(r.Object), !begun
				return nil, nil
			}
			if !there {
				if r, err = k.begin(s, spec); err != nil {
					return nil, err
				}
			}
			r = k.at(r, r.Done+1)
			got, more = k.clone(r.Object), r.Done < k.steps
			return []change{k.put(r)}, nil
		})
		begun = true
		return more, err
	})
	switch {
	case err != nil:
		return none, err
	case exists:
		return got, fmt.Errorf("%s: %w", c, providers.Exists)
	}
	return got, nil
}

// begin returns the row of a new object, before its first sub-call.
func (k objects[S, O]) begin(s *state, spec S) (row[O], error) {
	key, t := spec.Key(), k.pick(s)
	if err := key.Validate(k.fake.Caps().MaxNameLen); err != nil {
		return row[O]{}, err
	}
	if q, limited := k.fake.options.Quota[k.noun]; limited && len(t.rows) >= q {
		return row[O]{}, fmt.Errorf("%w: %d of at most %d %ss are there", providers.Quota, len(t.rows), q, k.noun)
	}
	id := makeID(k.noun, key, t.born[key]+1)
	o, err := k.build(s, spec, id)
	*k.meta(&o) = providers.Meta{ID: id, Owner: key.Owner, Name: key.Name, Tags: maps.Clone(k.tags(spec))}
	return row[O]{Object: o}, err
}

// at returns the row as it is after so many sub-calls.
func (k objects[S, O]) at(r row[O], done int) row[O] {
	r = row[O]{k.clone(r.Object), done}
	k.meta(&r.Object).Partial = done < k.steps
	if k.step != nil {
		k.step(&r.Object, done)
	}
	return r
}

func (k objects[S, O]) put(r row[O]) change {
	return put[O]{k.pick, r.Object.GetMeta().ID, &r}
}

// Get returns the object as it was a lag ago.
func (k objects[S, O]) Get(ctx context.Context, id providers.ID) (o O, err error) {
	err = k.fake.call(ctx, providers.Call{Noun: k.noun, Verb: providers.GetVerb, ID: id}, 1, func() (bool, error) {
		return false, k.fake.store.read(ctx, func(s *state) error {
			r, ok := k.pick(s).rows[id]
			if !ok {
				return providers.NotFound
			}
			o = k.clone(r.Object)
			return nil
		})
	})
	return o, err
}

// List returns the owner's objects as they were a lag ago.
func (k objects[S, O]) List(ctx context.Context, owner providers.Owner) (all []O, err error) {
	err = k.fake.call(ctx, providers.Call{Noun: k.noun, Verb: providers.ListVerb, Owner: owner}, 1, func() (bool, error) {
		return false, k.fake.store.read(ctx, func(s *state) error {
			t := k.pick(s)
			all = make([]O, 0, len(t.owners[owner]))
			for id := range t.owners[owner] {
				all = append(all, k.clone(t.rows[id].Object))
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b O) int { return strings.Compare(a.GetMeta().Name, b.GetMeta().Name) })
	return all, nil
}

// Delete takes the sub-calls back, the last first.
func (k objects[S, O]) Delete(ctx context.Context, id providers.ID) error {
	c := providers.Call{Noun: k.noun, Verb: providers.DeleteVerb, ID: id}
	return k.fake.call(ctx, c, k.steps, func() (more bool, err error) {
		err = k.fake.store.change(ctx, func(s *state) ([]change, error) {
			r, there := k.pick(s).rows[id]
			if !there {
				return nil, nil
			}
			changes, err := k.leave(s, r.Object)
			if err != nil {
				return nil, err
			}
			if r.Done <= 1 {
				return append(changes, put[O]{pick: k.pick, id: id}), nil
			}
			more = true
			return append(changes, k.put(k.at(r, r.Done-1))), nil
		})
		return more, err
	})
}

// free is the leave of kinds on which nothing can stand.
func free[O any](*state, O) ([]change, error) { return nil, nil }

// unused refuses while something stands on the object.
func unused(s *state, id providers.ID) error {
	if n := len(s.users[id]); n > 0 {
		return fmt.Errorf("%w: %d objects are in it", providers.Conflict, n)
	}
	return nil
}

// change makes a call that changes one object in one go: to decides what it becomes, and may change the object that it
// is given, or returns nil if it is so already.
func (k objects[S, O]) change(ctx context.Context, c providers.Call, to func(*state, *O) (changed bool, err error)) (o O, err error) {
	err = k.fake.call(ctx, c, 1, func() (bool, error) {
		return false, k.fake.store.change(ctx, func(s *state) ([]change, error) {
			r, there := k.pick(s).rows[c.ID]
			if !there {
				return nil, providers.NotFound
			}
			r.Object = k.clone(r.Object)
			changed, err := to(s, &r.Object)
			if err != nil {
				return nil, err
			}
			o = k.clone(r.Object)
			if !changed {
				return nil, nil
			}
			return []change{k.put(r)}, nil
		})
	})
	if err != nil {
		var none O
		return none, err
	}
	return o, nil
}

// Update changes the object to what the spec says: its tags by a first sub-call, all else by a second.
func (k objects[S, O]) Update(ctx context.Context, id providers.ID, spec S) (got O, err error) {
	key := spec.Key()
	c := providers.Call{Noun: k.noun, Verb: providers.UpdateVerb, Owner: key.Owner, Name: key.Name, ID: id}
	err = k.fake.call(ctx, c, 2, func() (more bool, err error) {
		err = k.fake.store.change(ctx, func(s *state) ([]change, error) {
			r, there := k.pick(s).rows[id]
			if !there {
				return nil, providers.NotFound
			}
			want, err := k.target(s, r.Object, spec)
			if err != nil {
				return nil, err
			}
			next := k.clone(r.Object)
			*k.meta(&next) = want.GetMeta()
			if alike(r.Object, next) {
				next = k.clone(want)
			}
			got, more = k.clone(next), !alike(next, want)
			if alike(r.Object, next) {
				return nil, nil
			}
			return []change{k.put(row[O]{next, r.Done})}, nil
		})
		return more, err
	})
	if err != nil {
		var none O
		return none, err
	}
	return got, nil
}

// target returns the object as the spec asks for it.
func (k objects[S, O]) target(s *state, o O, spec S) (O, error) {
	o = k.clone(o)
	key, m := spec.Key(), k.meta(&o)
	if err := key.Validate(k.fake.Caps().MaxNameLen); err != nil {
		return o, err
	}
	if m.Owner != "" && m.Owner != key.Owner || m.Name != "" && m.Name != key.Name {
		return o, fmt.Errorf("%w: the %s is %s", providers.Invalid, k.noun, providers.Key{Owner: m.Owner, Name: m.Name})
	}
	if other, there := k.pick(s).named(key); there && other.Object.GetMeta().ID != m.ID {
		return o, fmt.Errorf("%w: %s is %s now", providers.Exists, key, other.Object.GetMeta().ID)
	}
	m.Owner, m.Name, m.Tags = key.Owner, key.Name, maps.Clone(k.tags(spec))
	err := k.update(s, &o, spec)
	if providers.KindOf(err) == providers.NotFound { // it is something else that there is not
		err = fmt.Errorf("%w: %v", providers.Invalid, err)
	}
	return o, err
}

// alike compares two objects; empty and absent are one.
func alike(a, b any) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	return xerr == nil && yerr == nil && bytes.Equal(x, y)
}
