package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// generic returns the cases that every kind has.
func generic[S providers.Described, O providers.Identified](n providers.Noun, of func(*suite) *kind[S, O]) []Case {
	c := func(name, rule string, try func(*kind[S, O], context.Context, *suite) error) Case {
		return Case{Name: string(n) + "/" + name, Rule: rule, noun: n, run: func(ctx context.Context, s *suite) error {
			return try(of(s), ctx, s)
		}}
	}
	cases := slices.Concat([]Case{
		c("create", "Create must return a complete object that is what the spec asks for, because the next step builds on it at once.", (*kind[S, O]).tryCreate),
		c("get", "Get must return the object as Create did, because whoever has only the ID relies on the same facts.", (*kind[S, O]).tryGet),
		c("get-missing", "Get of an ID that there is not must return NotFound, because that is how a caller learns that an object is gone.", (*kind[S, O]).tryGetMissing),
		c("list", "List must return each of the owner's objects once and as Get has it, because the plan is made from it alone.", (*kind[S, O]).tryList),
		c("sorted", "List must be sorted by name, because the same world must give the same plan.", (*kind[S, O]).trySorted),
		c("owners", "Owner and name are the identity: List must never return another owner's object, and two owners may use one name, because many clusters live side by side at one vendor.", (*kind[S, O]).tryOwners),
		c("tags", "The spec's tags must come back from Get and List exactly, and the contract's own not among them, because plans compare them.", (*kind[S, O]).tryTags),
		c("exists", "Create with the same owner and name must return Exists and the same ID, because a run that lost the answer finds its object that way.", (*kind[S, O]).tryExists),
		c("exists-at-once", "Create of what was created a moment ago must return Exists and the same ID, whatever readers see by then, because a run whose answer was lost asks again at once, and a second object would be nobody's.", (*kind[S, O]).tryExistsAtOnce),
		c("exists-unchanged", "Create with the same owner and name must leave the object as it is, because only Update changes things, after a plan that showed it.", (*kind[S, O]).tryExistsUnchanged),
		c("names", "An owner or a name that is no DNS label must return Invalid and make nothing, because names become host names and tags.", (*kind[S, O]).tryNames),
		c("concurrent", "Creates of one name at the same time must make one object and all return it, because two doors to one vendor know nothing of each other.", (*kind[S, O]).tryConcurrent),
		c("cancelled", "A call whose context ends must return the context's error soon and leave what Create completes later, because people press Ctrl-C.", (*kind[S, O]).tryCancelled),
		c("delete", "After Delete has returned, Get must return NotFound and List must not have the object, because the next step relies on its being gone.", (*kind[S, O]).tryDelete),
		c("delete-again", "Deleting what is not there must succeed, because a run that was cut off deletes again.", (*kind[S, O]).tryDeleteAgain),
	}, updateCases(c), []Case{
		c("id-not-reused", "An object made anew must have another ID than the one of that name before, because an old ID must never mean a new object.", (*kind[S, O]).tryFresh),
		c("cut-create", "Cut off at any place, Create must leave nothing or an object that List shows, and the next Create must complete it and Delete remove it, because a killed run must leave nothing behind that nobody knows of.", (*kind[S, O]).tryCutCreate),
		c("cut-delete", "Cut off at any place, Delete must leave the object whole, Partial or gone, and the next Delete must remove what is left, because a killed run is simply run again.", (*kind[S, O]).tryCutDelete),
		c("unchanged-by-exists", "Create of what exists must make no call that changes something, because people run apply again to see that nothing happens.", (*kind[S, O]).tryQuietExists),
		c("copies", "Results must be copies, because callers change them.", (*kind[S, O]).tryCopies),
		c("arguments", "Arguments must be neither changed nor kept, because callers use them again.", (*kind[S, O]).tryArguments),
	})
	for i := range cases {
		switch _, name, _ := strings.Cut(cases[i].Name, "/"); name {
		case "cut-create", "cut-delete", "cut-update":
			cases[i].applies = func(f Fixture) bool { return f.Cut != nil }
		case "unchanged-by-exists", "update-quiet":
			cases[i].applies = func(f Fixture) bool { return f.Writes != nil }
		case "update-stripped":
			cases[i].applies = func(f Fixture) bool { return f.Strip != nil }
		}
	}
	return cases
}

func (k *kind[S, O]) tryCreate(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return errors.Unwrap(err) // here it is the rule
	}
	switch got, key := m.got.GetMeta(), m.asked.Key(); {
	case got.ID == "":
		return errors.New("Create returned an object without an ID")
	case got.Owner != key.Owner || got.Name != key.Name:
		return fmt.Errorf("Create of %s returned %s/%s", key, got.Owner, got.Name)
	case got.Partial:
		return errors.New("Create returned an object that is Partial, and no error")
	}
	return k.same(m.asked, m.got)
}

func (k *kind[S, O]) tryGet(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	got, err := k.objects().Get(ctx, m.got.GetMeta().ID)
	if err != nil {
		return fmt.Errorf("Get of what Create returned: %w", err)
	}
	if d := diff(m.got, got); d != "" {
		return fmt.Errorf("Get differs from what Create returned (-Create +Get):\n%s", d)
	}
	return nil
}

func (k *kind[S, O]) tryGetMissing(ctx context.Context, _ *suite) error {
	_, err := k.objects().Get(ctx, "none-such")
	return refused("Get of an ID that there is not", err, providers.NotFound)
}

func (k *kind[S, O]) tryList(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	all, err := k.objects().List(ctx, s.owner)
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	all = slices.DeleteFunc(all, func(o O) bool { return o.GetMeta().ID != m.got.GetMeta().ID })
	if len(all) != 1 {
		return fmt.Errorf("List has the object %d times, want once", len(all))
	}
	got, err := k.objects().Get(ctx, m.got.GetMeta().ID)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(got, all[0]); d != "" {
		return fmt.Errorf("List differs from Get (-Get +List):\n%s", d)
	}
	return nil
}

func (k *kind[S, O]) trySorted(ctx context.Context, s *suite) error {
	if _, err := k.of(ctx, s.owner); err != nil { // whose name comes after the next
		return err
	}
	m, err := k.make(ctx, s.owner, k.name("a-first"))
	if err != nil {
		return unmet("a second object", err)
	}
	k.spares = append(k.spares, m.got)
	all, err := k.objects().List(ctx, s.owner)
	if err != nil {
		return unmet("List", err)
	}
	names := make([]string, len(all))
	for i, o := range all {
		names[i] = o.GetMeta().Name
	}
	if !slices.IsSorted(names) {
		return fmt.Errorf("List has the names in this order: %s", strings.Join(names, ", "))
	}
	return nil
}

func (k *kind[S, O]) tryOwners(ctx context.Context, s *suite) error {
	mine, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	theirs, err := k.of(ctx, s.other)
	if err != nil {
		return fmt.Errorf("a second owner with the same name: %w", err)
	}
	if mine.got.GetMeta().ID == theirs.got.GetMeta().ID {
		return fmt.Errorf("two owners' objects have one ID, %s", mine.got.GetMeta().ID)
	}
	for _, owner := range []providers.Owner{s.owner, s.other, s.Owner} { // the last has nothing
		all, err := k.objects().List(ctx, owner)
		if err != nil {
			return fmt.Errorf("List(%s): %w", owner, err)
		}
		for _, o := range all {
			if m := o.GetMeta(); m.Owner != owner {
				return fmt.Errorf("List(%s) returned %s, which is %s's", owner, m.ID, m.Owner)
			}
		}
	}
	return nil
}

func (k *kind[S, O]) tryExists(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	again, err := k.objects().Create(ctx, clone(m.asked))
	if err := refused("Create of what exists", err, providers.Exists); err != nil {
		return err
	}
	if got, want := again.GetMeta().ID, m.got.GetMeta().ID; got != want {
		return fmt.Errorf("Create of what exists returned ID %q, want %q", got, want)
	}
	return nil
}

// tryExistsAtOnce creates twice with nothing in between, not even a read that would wait for the vendor's lag.
func (k *kind[S, O]) tryExistsAtOnce(ctx context.Context, s *suite) error {
	spec, err := k.spec(ctx, s.owner, k.name("n-twice"))
	if err != nil {
		return unmet("a spec", err)
	}
	first, err := k.objects().Create(ctx, clone(spec))
	if err != nil {
		return unmet("Create", err)
	}
	second, err := k.objects().Create(ctx, clone(spec))
	k.spares = append(k.spares, first)
	if err := refused("Create of what was just created", err, providers.Exists); err != nil {
		return err
	}
	if a, b := first.GetMeta().ID, second.GetMeta().ID; a != b {
		return fmt.Errorf("Create of what was just created returned ID %q, want %q", b, a)
	}
	return nil
}

func (k *kind[S, O]) tryExistsUnchanged(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	id := m.got.GetMeta().ID
	before, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	before = clone(before)
	spec := clone(m.asked)
	_, _, tags := k.edit(&spec)
	(*tags)["team"] = "other"
	if _, err := k.objects().Create(ctx, spec); providers.KindOf(err) != providers.Exists {
		return unmet("Create of what exists", fmt.Errorf("it returned %v", err))
	}
	after, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(before, after); d != "" {
		return fmt.Errorf("Create of what exists changed it (-before +after):\n%s", d)
	}
	return nil
}

func (k *kind[S, O]) tryQuietExists(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	before := s.Writes()
	if _, err := k.objects().Create(ctx, clone(m.asked)); providers.KindOf(err) != providers.Exists {
		return unmet("Create of what exists", fmt.Errorf("it returned %v", err))
	}
	if n := s.Writes() - before; n != 0 {
		return fmt.Errorf("Create of what exists made %d calls that change something", n)
	}
	return nil
}

func (k *kind[S, O]) tryTags(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	_, _, want := k.edit(&m.asked)
	got, err := k.objects().Get(ctx, m.got.GetMeta().ID)
	if err != nil {
		return unmet("Get", err)
	}
	listed, err := k.listed(ctx, s.owner, m.got.GetMeta().Name)
	if err != nil {
		return err
	}
	for _, o := range append(listed, got) {
		if !maps.Equal(o.GetMeta().Tags, *want) {
			return fmt.Errorf("the tags are %v, want %v", o.GetMeta().Tags, *want)
		}
	}
	return nil
}

func (k *kind[S, O]) tryNames(ctx context.Context, s *suite) error {
	names := []string{"", "-a", "a-", "A", "a_b", "a.b", "a/b", "../a", "a b", strings.Repeat("a", 64)}
	if n := s.Provider.Caps().MaxNameLen; k.noun == providers.MachineNoun && n > 0 {
		names = append(names, strings.Repeat("a", n+1))
	}
	try := func(change func(owner *providers.Owner, name *string)) error {
		spec, err := k.spec(ctx, s.owner, "x")
		if err != nil {
			return unmet("a spec", err)
		}
		owner, name, _ := k.edit(&spec)
		change(owner, name)
		doing := fmt.Sprintf("Create of %q", spec.Key())
		o, err := k.objects().Create(ctx, spec)
		if err := refused(doing, err, providers.Invalid); err != nil {
			return errors.Join(err, k.objects().Delete(ctx, o.GetMeta().ID))
		}
		return nil
	}
	for _, bad := range names {
		if err := try(func(_ *providers.Owner, name *string) { *name = bad }); err != nil {
			return err
		}
		if err := try(func(owner *providers.Owner, _ *string) { *owner = providers.Owner(bad) }); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind[S, O]) tryDelete(ctx context.Context, s *suite) error {
	o, err := k.spare(ctx, s.owner)
	if err != nil {
		return err
	}
	m := o.GetMeta()
	if err := k.objects().Delete(ctx, m.ID); err != nil {
		return fmt.Errorf("Delete: %w", err)
	}
	if _, err := k.objects().Get(ctx, m.ID); err == nil {
		return errors.New("Get found the object after Delete")
	}
	there, err := k.listed(ctx, s.owner, m.Name)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("List has the object after Delete: %+v", there)
	}
	k.gone = &o
	return nil
}

func (k *kind[S, O]) tryDeleteAgain(ctx context.Context, s *suite) error {
	o, err := k.deleted(ctx, s.owner)
	if err != nil {
		return err
	}
	for _, id := range []providers.ID{o.GetMeta().ID, "none-such"} {
		if err := k.objects().Delete(ctx, id); err != nil {
			return fmt.Errorf("Delete of %s, which is not there: %w", id, err)
		}
	}
	return nil
}

func (k *kind[S, O]) tryFresh(ctx context.Context, s *suite) error {
	old, err := k.deleted(ctx, s.owner)
	if err != nil {
		return err
	}
	m, err := k.make(ctx, s.owner, old.GetMeta().Name)
	if err != nil {
		return unmet("an object of a name that was used before", err)
	}
	k.gone = nil
	if id := m.got.GetMeta().ID; id == old.GetMeta().ID {
		return fmt.Errorf("the new object has the ID of the old one, %s", id)
	}
	k.spares = append(k.spares, m.got)
	return nil
}

func (k *kind[S, O]) tryCopies(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	id := m.got.GetMeta().ID
	before, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	want := clone(before)
	all, err := k.objects().List(ctx, s.owner)
	if err != nil {
		return unmet("List", err)
	}
	scribble(&m.object)
	scribble(&before)
	for i := range all {
		scribble(&all[i])
	}
	after, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(want, after); d != "" {
		return fmt.Errorf("who changes a result changes the object (-before +after):\n%s", d)
	}
	return nil
}

func (k *kind[S, O]) tryArguments(ctx context.Context, s *suite) error {
	m, err := k.of(ctx, s.owner)
	if err != nil {
		return err
	}
	if m.altered != "" {
		return fmt.Errorf("Create changed its spec (-before +after):\n%s", m.altered)
	}
	id := m.got.GetMeta().ID
	before, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	before = clone(before)
	scribble(&m.spec)
	after, err := k.objects().Get(ctx, id)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(before, after); d != "" {
		return fmt.Errorf("who changes a spec after Create changes the object (-before +after):\n%s", d)
	}
	return nil
}
