package providertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/provisionhq/provision/providers"
)

// A suite is a run: the provider and what was made so far.
type suite struct {
	Fixture
	owner, other providers.Owner

	networks  *kind[providers.NetworkSpec, providers.Network]
	machines  *kind[providers.MachineSpec, providers.Machine]
	balancers *kind[providers.LoadBalancerSpec, providers.LoadBalancer]
	volumes   *kind[providers.VolumeSpec, providers.Volume]
	snapshots *kind[providers.SnapshotSpec, providers.Snapshot]
}

func newSuite(f Fixture) *suite {
	if f.Owner == "" {
		f.Owner = newOwner()
	}
	s := &suite{Fixture: settled(f), owner: f.Owner + "a", other: f.Owner + "b"}
	s.networks, s.machines = networksOf(s), machinesOf(s)
	s.balancers, s.volumes, s.snapshots = balancersOf(s), volumesOf(s), snapshotsOf(s)
	return s
}

// clean removes what there is of both owners.
func (s *suite) clean(ctx context.Context) error {
	has := s.kinds()
	var errs []error
	for _, o := range []providers.Owner{s.owner, s.other} {
		if has[providers.SnapshotNoun] {
			errs = append(errs, s.snapshots.clean(ctx, o))
		}
		if has[providers.BalancerNoun] {
			errs = append(errs, s.balancers.clean(ctx, o))
		}
		errs = append(errs, s.machines.clean(ctx, o))
		if has[providers.VolumeNoun] {
			errs = append(errs, s.volumes.clean(ctx, o))
		}
		errs = append(errs, s.networks.clean(ctx, o))
	}
	return errors.Join(errs...)
}

// A kind is one kind of objects and those that the cases share.
type kind[S providers.Described, O providers.Identified] struct {
	noun    providers.Noun
	objects func() providers.Objects[S, O]
	// spec returns a spec that Create accepts; what it stands on is made if need be.
	spec func(ctx context.Context, owner providers.Owner, name string) (S, error)
	// edit gives access to what every spec has.
	edit func(*S) (owner *providers.Owner, name *string, tags *map[string]string)
	// same says in what the object is not what the spec asks for.
	same func(S, O) error
	// alter changes all of the spec that an Update changes at every vendor, beyond tags; nil if there is nothing.
	alter func(*S)

	shared map[providers.Owner]*made[S, O]
	spares []O            // objects of the first owner that a case may delete
	gone   *O             // an object that was deleted
	names  map[string]int // names given out, by beginning
}

// made is an object with what it was made from.
type made[S providers.Described, O providers.Identified] struct {
	spec    S      // as it was given to Create: still the same memory
	asked   S      // a copy from before the call
	object  O      // as Create returned it: still the same memory
	got     O      // a copy from right after the call
	altered string // what Create did to the spec
	took    time.Duration
}

// make creates an object with a tag or two.
func (k *kind[S, O]) make(ctx context.Context, owner providers.Owner, name string) (*made[S, O], error) {
	spec, err := k.spec(ctx, owner, name)
	if err != nil {
		return nil, err
	}
	m := &made[S, O]{spec: spec, asked: clone(spec)}
	start := time.Now()
	m.object, err = k.objects().Create(ctx, m.spec)
	if err != nil {
		return nil, fmt.Errorf("Create of %s %q: %w", k.noun, name, err)
	}
	m.took, m.got, m.altered = time.Since(start), clone(m.object), diff(m.asked, m.spec)
	return m, nil
}

// of returns the owner's shared object, which no case deletes or changes for good.
func (k *kind[S, O]) of(ctx context.Context, owner providers.Owner) (*made[S, O], error) {
	if m, ok := k.shared[owner]; ok {
		return m, nil
	}
	m, err := k.make(ctx, owner, "b-shared")
	if err != nil {
		return nil, unmet("an object to start from", err)
	}
	if k.shared == nil {
		k.shared = map[providers.Owner]*made[S, O]{}
	}
	k.shared[owner] = m
	return m, nil
}

// spare returns an object of the owner that the caller may delete or change.
func (k *kind[S, O]) spare(ctx context.Context, owner providers.Owner) (o O, err error) {
	if n := len(k.spares); n > 0 {
		o, k.spares = k.spares[n-1], k.spares[:n-1]
		return o, nil
	}
	m, err := k.make(ctx, owner, k.name("e-spare"))
	if err != nil {
		return o, unmet("an object to change", err)
	}
	return m.got, nil
}

// deleted returns an object that is no more.
func (k *kind[S, O]) deleted(ctx context.Context, owner providers.Owner) (o O, err error) {
	if k.gone != nil {
		return *k.gone, nil
	}
	if o, err = k.spare(ctx, owner); err != nil {
		return o, err
	}
	if err := k.objects().Delete(ctx, o.GetMeta().ID); err != nil {
		return o, unmet("an object to delete", err)
	}
	k.gone = &o
	return o, nil
}

// name returns a name that was not used before.
func (k *kind[S, O]) name(begin string) string {
	if k.names == nil {
		k.names = map[string]int{}
	}
	k.names[begin]++
	return fmt.Sprintf("%s-%d", begin, k.names[begin])
}

// listed returns the owner's objects of that name.
func (k *kind[S, O]) listed(ctx context.Context, owner providers.Owner, name string) ([]O, error) {
	all, err := k.objects().List(ctx, owner)
	if err != nil {
		return nil, unmet("List", err)
	}
	return slices.DeleteFunc(all, func(o O) bool {
		m := o.GetMeta()
		return m.Name != name || m.Owner != owner
	}), nil
}

// clean removes the owner's objects.
func (k *kind[S, O]) clean(ctx context.Context, owner providers.Owner) error {
	all, err := k.objects().List(ctx, owner)
	if err != nil {
		return err
	}
	for _, o := range all {
		if m := o.GetMeta(); m.Owner == owner {
			err = errors.Join(err, k.objects().Delete(ctx, m.ID))
		}
	}
	if err != nil {
		return err
	}
	if all, err = k.objects().List(ctx, owner); err == nil && len(all) > 0 {
		err = fmt.Errorf("%d %ss of %s are left", len(all), k.noun, owner)
	}
	return err
}

// clone returns a copy that shares no memory.
func clone[T any](v T) (c T) {
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		panic(err) // the contract is plain data
	}
	return c
}

// diff says in what two values differ; nothing if only by what is empty and what is absent.
func diff[T any](want, got T) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}))
}

// refused says in what err is not a refusal of one of the kinds.
func refused(doing string, err error, kinds ...providers.Kind) error {
	switch got := providers.KindOf(err); {
	case err == nil:
		return fmt.Errorf("%s succeeded, want an error that wraps %q", doing, kinds)
	case got == "":
		return fmt.Errorf("%s returned an error that wraps no Kind (%w), want %q", doing, err, kinds)
	case !slices.Contains(kinds, got):
		return fmt.Errorf("%s returned kind %q (%w), want %q", doing, got, err, kinds)
	}
	return nil
}
