package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// objects are the five verbs of a kind. What they return must wrap a providers.Kind if it is an error.
type objects[S providers.Described, O providers.Identified] struct {
	rack   *Rack
	noun   string
	steps  bool                             // made by two steps: between them, the object is Partial
	meta   func(*O) *providers.Meta         // of the object
	tags   func(S) map[string]string        // of the spec
	build  func(S, providers.ID) (O, error) // refuses the spec, or returns the object but for its Meta
	change func(*O, S) error                // what Update does, but for the Meta; Invalid if it cannot
	start  func(*O)                         // the second step
	leave  func(O) error                    // refuses to be deleted
}

// Create makes the object, or goes on with one that was begun: whoever calls again after a cut gets one, not two.
func (k objects[S, O]) Create(ctx context.Context, spec S) (o O, err error) {
	err = k.locked(ctx, "create "+spec.Key().String(), func() error {
		key := spec.Key()
		if err := key.Validate(0); err != nil {
			return err
		}
		there, found, err := k.named(key)
		switch {
		case err != nil:
			return err
		case found && !k.meta(&there).Partial:
			o = there
			return providers.Exists
		case found:
			o = there
		default:
			// A real vendor's call that makes something carries an idempotency token, and the tags, in the same call.
			id := providers.ID(k.noun + "-" + strings.ToLower(rand.Text())) // never used again
			if o, err = k.build(spec, id); err != nil {
				return err
			}
			*k.meta(&o) = providers.Meta{ID: id, Owner: key.Owner, Name: key.Name, Tags: k.tags(spec), Partial: k.steps}
			if err := k.write(o); err != nil || !k.steps {
				return err
			}
		}
		k.start(&o)
		k.meta(&o).Partial = false
		return k.write(o)
	})
	if err != nil && providers.KindOf(err) != providers.Exists {
		var none O
		return none, err
	}
	return o, err
}

// Get returns the object, whosever it is.
func (k objects[S, O]) Get(ctx context.Context, id providers.ID) (o O, err error) {
	err = k.locked(ctx, "get "+string(id), func() (err error) {
		o, err = k.find(id)
		return err
	})
	return o, err
}

// List returns the owner's objects. What matters is what the vendor has: nothing is remembered here.
func (k objects[S, O]) List(ctx context.Context, owner providers.Owner) (all []O, err error) {
	err = k.locked(ctx, "list "+string(owner), func() (err error) {
		all, err = read[O](k.rack, k.noun)
		return err
	})
	all = slices.DeleteFunc(all, func(o O) bool { return o.GetMeta().Owner != owner })
	slices.SortFunc(all, func(a, b O) int { return cmp.Compare(a.GetMeta().Name, b.GetMeta().Name) })
	return all, err
}

// Delete removes the object; that it is not there is as good.
func (k objects[S, O]) Delete(ctx context.Context, id providers.ID) error {
	return k.locked(ctx, "delete "+string(id), func() error {
		o, err := k.find(id)
		if providers.KindOf(err) == providers.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := k.leave(o); err != nil {
			return err
		}
		return k.rack.remove(id)
	})
}

// Update changes what can be changed, and puts back an owner or a name that a stranger took away.
func (k objects[S, O]) Update(ctx context.Context, id providers.ID, spec S) (o O, err error) {
	err = k.locked(ctx, "update "+string(id), func() error {
		key := spec.Key()
		if err := key.Validate(0); err != nil {
			return err
		}
		if o, err = k.find(id); err != nil {
			return err
		}
		m := k.meta(&o)
		if m.Owner != "" && m.Owner != key.Owner || m.Name != "" && m.Name != key.Name {
			return fmt.Errorf("%w: it is %s, not %s", providers.Invalid, providers.Key{Owner: m.Owner, Name: m.Name}, key)
		}
		if other, found, err := k.named(key); err != nil || found && k.meta(&other).ID != id {
			return cmp.Or(err, error(providers.Exists))
		}
		if err := k.change(&o, spec); err != nil {
			return err
		}
		m.Owner, m.Name, m.Tags = key.Owner, key.Name, k.tags(spec)
		return k.write(o)
	})
	if err != nil {
		var none O
		return none, err
	}
	return o, nil
}

// named returns the owner's object of that name.
func (k objects[S, O]) named(key providers.Key) (o O, found bool, err error) {
	all, err := read[O](k.rack, k.noun)
	i := slices.IndexFunc(all, func(o O) bool { m := o.GetMeta(); return m.Owner == key.Owner && m.Name == key.Name })
	if i < 0 {
		return o, false, err
	}
	return all[i], true, err
}

// find returns the object of that ID.
func (k objects[S, O]) find(id providers.ID) (o O, err error) {
	all, err := read[O](k.rack, k.noun)
	i := slices.IndexFunc(all, func(o O) bool { return o.GetMeta().ID == id })
	if err == nil && i < 0 {
		err = fmt.Errorf("%s %q: %w", k.noun, id, providers.NotFound)
	}
	if err != nil {
		return o, err
	}
	return all[i], nil
}

func (k objects[S, O]) write(o O) error { return k.rack.write(o.GetMeta().ID, o) }

// locked does something while nobody else does, and says in the error what it was.
func (k objects[S, O]) locked(ctx context.Context, doing string, do func() error) error {
	unlock, err := k.rack.lock(ctx)
	if err == nil {
		defer unlock()
		err = do()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", k.noun, doing, err)
	}
	return nil
}
