package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/provisionhq/provision/providers"
)

// updateCases returns the cases of Update that every kind has.
func updateCases[S providers.Described, O providers.Identified](c func(name, rule string, try func(*kind[S, O], context.Context, *suite) error) Case) []Case {
	return []Case{
		c("update", "Update must make the tags what the spec says, some added, some changed, some taken away, because they are changed in a file and not at the vendor.", (*kind[S, O]).tryUpdate),
		c("update-touches-only", "Update must touch nothing that does not differ: ID, addresses and all else stay, because others have written them down.", (*kind[S, O]).tryUpdateTouches),
		c("update-quiet", "Update to what the object is already must make no call that changes something, because it is asked for again every few minutes.", (*kind[S, O]).tryUpdateQuiet),
		c("update-identity", "Update with another's owner or name must return Invalid and change nothing, because the caller holds the wrong ID.", (*kind[S, O]).tryUpdateIdentity),
		c("update-missing", "Update of an object that there is not must return NotFound, because the caller then makes one.", (*kind[S, O]).tryUpdateMissing),
		c("update-neighbour", "Update must not touch another owner's object of the same name, because many clusters live side by side at one vendor.", (*kind[S, O]).tryUpdateNeighbour),
		c("update-concurrent", "Updates of one object at the same time to the same spec must all succeed and make it that, because two doors to one vendor know nothing of each other.", (*kind[S, O]).tryUpdateConcurrent),
		c("update-arguments", "Update must neither change nor keep its spec, because callers use it again.", (*kind[S, O]).tryUpdateArguments),
		c("update-stripped", "An object whose owner was taken away must not be listed, Get must still return it, and Update must give it back to its owner, because strangers take tags away and an object without is paid for by somebody who cannot see it.", (*kind[S, O]).tryStripped),
		c("cut-update", "Cut off at any place, Update must leave one object that is the same one, and the next Update must make it what the spec says, because a killed run is simply run again.", (*kind[S, O]).tryCutUpdate),
	}
}

// updating returns an object that may be changed, and a spec of it as it was asked for, after an Update to that spec.
func (k *kind[S, O]) updating(ctx context.Context, s *suite) (o O, spec S, err error) {
	if o, err = k.spare(ctx, s.owner); err != nil {
		return o, spec, err
	}
	k.spares = append(k.spares, o)
	if spec, err = k.spec(ctx, s.owner, o.GetMeta().Name); err != nil {
		return o, spec, unmet("a spec", err)
	}
	if o, err = k.objects().Update(ctx, o.GetMeta().ID, clone(spec)); err != nil {
		return o, spec, unmet("Update to what was asked for", err)
	}
	return clone(o), spec, nil
}

// retagged returns the spec with other tags: one changed, one taken away, one added.
func (k *kind[S, O]) retagged(spec S) S {
	spec = clone(spec)
	_, _, tags := k.edit(&spec)
	*tags = map[string]string{"team": "other", "fresh": "x.y-z_0"}
	return spec
}

// is says in what the object is not what the spec asks for, by Get and by List.
func (k *kind[S, O]) is(ctx context.Context, id providers.ID, spec S) error {
	got, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	listed, err := k.listed(ctx, spec.Key().Owner, spec.Key().Name)
	if err != nil {
		return err
	}
	if len(listed) != 1 || listed[0].GetMeta().ID != id {
		return fmt.Errorf("List has of %s %+v, want %s alone", spec.Key(), listed, id)
	}
	_, _, want := k.edit(&spec)
	for _, o := range append(listed, got) {
		if !maps.Equal(o.GetMeta().Tags, *want) {
			return fmt.Errorf("the tags are %v, want %v", o.GetMeta().Tags, *want)
		}
		if o.GetMeta().Partial {
			return errors.New("the object is Partial")
		}
		if err := k.same(spec, o); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind[S, O]) tryUpdate(ctx context.Context, s *suite) error {
	o, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	none := clone(spec)
	_, _, tags := k.edit(&none)
	*tags = nil
	for _, want := range []S{k.retagged(spec), none, spec} {
		got, err := k.objects().Update(ctx, o.GetMeta().ID, clone(want))
		if err != nil {
			return fmt.Errorf("Update: %w", err)
		}
		_, _, tags := k.edit(&want)
		if !maps.Equal(got.GetMeta().Tags, *tags) {
			return fmt.Errorf("Update returned tags %v, want %v", got.GetMeta().Tags, *tags)
		}
		if err := k.is(ctx, o.GetMeta().ID, want); err != nil {
			return fmt.Errorf("after Update: %w", err)
		}
	}
	return nil
}

// untagged returns what there is of an object beyond its tags.
func untagged(o any) map[string]any {
	m := clone[any](o).(map[string]any)
	delete(m, "tags")
	return m
}

func (k *kind[S, O]) tryUpdateTouches(ctx context.Context, s *suite) error {
	before, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	got, err := k.objects().Update(ctx, before.GetMeta().ID, k.retagged(spec))
	if err != nil {
		return unmet("Update", err)
	}
	after, err := k.objects().Get(ctx, before.GetMeta().ID)
	if err != nil {
		return unmet("Get", err)
	}
	for _, o := range []O{got, after} {
		if d := diff(untagged(before), untagged(o)); d != "" {
			return fmt.Errorf("Update of the tags changed more (-want +got):\n%s", d)
		}
	}
	return nil
}

func (k *kind[S, O]) tryUpdateQuiet(ctx context.Context, s *suite) error {
	o, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	before := s.Writes()
	if _, err := k.objects().Update(ctx, o.GetMeta().ID, clone(spec)); err != nil {
		return unmet("Update", err)
	}
	if n := s.Writes() - before; n != 0 {
		return fmt.Errorf("Update to what is there already made %d calls that change something", n)
	}
	return nil
}

func (k *kind[S, O]) tryUpdateIdentity(ctx context.Context, s *suite) error {
	o, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	spec = k.retagged(spec)
	for _, key := range []providers.Key{{Owner: s.other, Name: spec.Key().Name}, {Owner: s.owner, Name: "another"}} {
		bad := clone(spec)
		owner, name, _ := k.edit(&bad)
		*owner, *name = key.Owner, key.Name
		if err := k.refusesUpdate(ctx, o.GetMeta().ID, bad, "Update with the identity "+key.String()); err != nil {
			return err
		}
	}
	return nil
}

// refusesUpdate makes sure that an Update is Invalid and changes nothing.
func (k *kind[S, O]) refusesUpdate(ctx context.Context, id providers.ID, spec S, doing string) error {
	before, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	before = clone(before)
	_, err = k.objects().Update(ctx, id, spec)
	if err := refused(doing, err, providers.Invalid); err != nil {
		return err
	}
	after, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(before, after); d != "" {
		return fmt.Errorf("%s was refused and yet changed it (-before +after):\n%s", doing, d)
	}
	return nil
}

// cannotUpdate is a case of a spec whose change a vendor cannot make in place.
func cannotUpdate[S providers.Described, O providers.Identified](of func(*suite) *kind[S, O], doing string, spoil func(*S)) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error {
		o, spec, err := of(s).updating(ctx, s)
		if err != nil {
			return err
		}
		spec = of(s).retagged(spec)
		spoil(&spec)
		return of(s).refusesUpdate(ctx, o.GetMeta().ID, spec, doing)
	}
}

func (k *kind[S, O]) tryUpdateMissing(ctx context.Context, s *suite) error {
	gone, err := k.deleted(ctx, s.owner)
	if err != nil {
		return err
	}
	spec, err := k.spec(ctx, s.owner, gone.GetMeta().Name)
	if err != nil {
		return unmet("a spec", err)
	}
	for _, id := range []providers.ID{"none-such", gone.GetMeta().ID} {
		_, err := k.objects().Update(ctx, id, clone(spec))
		if err := refused("Update of "+string(id)+", which there is not", err, providers.NotFound); err != nil {
			return err
		}
	}
	if there, err := k.listed(ctx, s.owner, gone.GetMeta().Name); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("Update of what there is not made %+v", there))
	}
	return nil
}

// tryUpdateNeighbour is the only case that changes shared objects; it changes them back.
func (k *kind[S, O]) tryUpdateNeighbour(ctx context.Context, s *suite) error {
	mine, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	theirs, err := k.of(ctx, s.other)
	if err != nil {
		return err
	}
	before, err := k.objects().Get(ctx, theirs.got.GetMeta().ID)
	if err != nil {
		return unmet("Get", err)
	}
	before = clone(before)
	for _, spec := range []S{k.retagged(mine.asked), clone(mine.asked)} {
		if _, err := k.objects().Update(ctx, mine.got.GetMeta().ID, spec); err != nil {
			return unmet("Update", err)
		}
		after, err := k.objects().Get(ctx, theirs.got.GetMeta().ID)
		if err != nil {
			return fmt.Errorf("Get of another owner's object after Update of ours: %w", err)
		}
		if d := diff(before, after); d != "" {
			return fmt.Errorf("Update of ours changed another owner's object (-before +after):\n%s", d)
		}
	}
	return nil
}

func (k *kind[S, O]) tryUpdateConcurrent(ctx context.Context, s *suite) error {
	const callers = 4
	o, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	spec = k.retagged(spec)
	var errs [callers]error
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = k.objects().Update(ctx, o.GetMeta().ID, clone(spec)) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("of %d Updates at the same time: %w", callers, err)
	}
	if err := k.is(ctx, o.GetMeta().ID, spec); err != nil {
		return fmt.Errorf("after %d Updates at the same time: %w", callers, err)
	}
	return nil
}

func (k *kind[S, O]) tryUpdateArguments(ctx context.Context, s *suite) error {
	o, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	spec = k.retagged(spec)
	given := clone(spec)
	got, err := k.objects().Update(ctx, o.GetMeta().ID, given)
	if err != nil {
		return unmet("Update", err)
	}
	if d := diff(spec, given); d != "" {
		return fmt.Errorf("Update changed its spec (-before +after):\n%s", d)
	}
	want := clone(got)
	scribble(&given)
	scribble(&got)
	after, err := k.objects().Get(ctx, o.GetMeta().ID)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(want, after); d != "" {
		return fmt.Errorf("who changes a spec or a result after Update changes the object (-before +after):\n%s", d)
	}
	return nil
}

func (k *kind[S, O]) tryStripped(ctx context.Context, s *suite) error {
	o, spec, err := k.updating(ctx, s)
	if err != nil {
		return err
	}
	id, key := o.GetMeta().ID, spec.Key()
	for _, tags := range [][]string{{providers.OwnerTag}, {providers.NameTag}, {providers.OwnerTag, providers.NameTag, "team"}} {
		if err := s.Strip(ctx, k.noun, id, tags...); err != nil {
			return unmet("Strip of the fixture", err)
		}
		m, err := k.objects().Get(ctx, id)
		if err != nil {
			return fmt.Errorf("Get of an object without the tags %v: %w", tags, err)
		}
		ownerless, nameless := tags[0] == providers.OwnerTag, tags[len(tags)-1] != providers.OwnerTag
		if got := m.GetMeta(); got.Owner == "" != ownerless || got.Name == "" != nameless {
			return fmt.Errorf("without the tags %v it is %q's and its name is %q", tags, got.Owner, got.Name)
		}
		all, err := k.objects().List(ctx, key.Owner)
		if err != nil {
			return unmet("List", err)
		}
		listed := false
		for _, o := range all {
			listed = listed || o.GetMeta().ID == id
		}
		if listed == ownerless {
			return fmt.Errorf("without the tags %v, whether List has it is %v", tags, listed)
		}
		back, err := k.objects().Update(ctx, id, clone(spec))
		if err != nil {
			return fmt.Errorf("Update of an object without the tags %v: %w", tags, err)
		}
		if d := diff(o, back); d != "" {
			return fmt.Errorf("Update of an object without the tags %v did not make it what it was (-before +after):\n%s", tags, d)
		}
		if err := k.is(ctx, id, spec); err != nil {
			return fmt.Errorf("after Update of an object without the tags %v: %w", tags, err)
		}
	}
	return nil
}

// tryCutUpdate cuts Update at every place and updates again.
func (k *kind[S, O]) tryCutUpdate(ctx context.Context, s *suite) error {
	for n := range mostPlaces {
		o, spec, err := k.updating(ctx, s)
		if err != nil {
			return err
		}
		spec = k.altered(spec)
		id := o.GetMeta().ID
		heal := s.Cut(n)
		_, err = k.objects().Update(ctx, id, clone(spec))
		reached := heal()
		if reached && err == nil {
			return fmt.Errorf("Update cut off at place %d returned no error", n)
		}
		there, err := k.listed(ctx, s.owner, spec.Key().Name)
		if err != nil {
			return err
		}
		if len(there) != 1 || there[0].GetMeta().ID != id {
			return fmt.Errorf("Update cut off at place %d left %+v, want %s alone", n, there, id)
		}
		if _, err := k.objects().Update(ctx, id, clone(spec)); err != nil {
			return fmt.Errorf("Update after one that was cut off at place %d: %w", n, err)
		}
		if err := k.is(ctx, id, spec); err != nil {
			return fmt.Errorf("Update after one that was cut off at place %d: %w", n, err)
		}
		if !reached {
			return nil
		}
	}
	return fmt.Errorf("the fixture's Cut struck at each of %d places", mostPlaces)
}

// altered returns the spec with other tags, and with all else changed that the kind can change in place.
func (k *kind[S, O]) altered(spec S) S {
	spec = k.retagged(spec)
	if k.alter != nil {
		k.alter(&spec)
	}
	return spec
}
