package all

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/providers"
)

// Owned returns p for one owner alone: whatever is another's, or refers to something that is, is Denied. The machine of that
// name, if it is not empty, cannot be deleted: it is the one that asks.
func Owned(p providers.Provider, o providers.Owner, self string) providers.Provider {
	return owned{p, func(asked providers.Owner) bool { return asked == o }, self}
}

type owned struct {
	providers.Provider
	mine func(providers.Owner) bool
	self string
}

func (p owned) Networks() providers.Networks {
	return guard(p, providers.NetworkNoun, p.Provider.Networks(), nil)
}

func (p owned) Machines() providers.Machines {
	m := p.Provider.Machines()
	return ownedMachines{guard(p, providers.MachineNoun, m, func(ctx context.Context, s providers.MachineSpec) error {
		return own(ctx, p, providers.NetworkNoun, p.Provider.Networks(), s.Network)
	}), m}
}

func (p owned) LoadBalancers() providers.LoadBalancers {
	return guard(p, providers.BalancerNoun, p.Provider.LoadBalancers(), func(ctx context.Context, s providers.LoadBalancerSpec) error {
		if err := own(ctx, p, providers.MachineNoun, p.Provider.Machines(), s.Targets...); err != nil {
			return err
		}
		return own(ctx, p, providers.NetworkNoun, p.Provider.Networks(), s.Network)
	})
}

func (p owned) Volumes() providers.Volumes {
	v := p.Provider.Volumes()
	return ownedVolumes{guard(p, providers.VolumeNoun, v, func(ctx context.Context, s providers.VolumeSpec) error {
		return own(ctx, p, providers.SnapshotNoun, v.Snapshots(), s.Snapshot)
	}), v}
}

func (p owned) Account() providers.Account { return ownedAccount{p.Provider.Account(), p} }

// check returns Denied for another's.
func (p owned) check(v providers.Verb, n providers.Noun, what string, o providers.Owner) error {
	if p.mine(o) {
		return nil
	}
	return fmt.Errorf("%s %s %s: %w: it is another owner's", v, n, what, providers.Denied)
}

// own returns Denied if an object is another's that a spec refers to. What there is not is for the provider to refuse.
func own[S, O any](ctx context.Context, p owned, n providers.Noun, k providers.Objects[S, O], ids ...providers.ID) error {
	for _, id := range ids {
		if id == "" {
			continue
		}
		m, err := meta(ctx, k, id)
		if providers.KindOf(err) == providers.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		if err := p.check("refer to", n, string(id), m.Owner); err != nil {
			return err
		}
	}
	return nil
}

// meta returns what is known of an object, whosever it is.
func meta[S, O any](ctx context.Context, k providers.Objects[S, O], id providers.ID) (providers.Meta, error) {
	o, err := k.Get(ctx, id)
	if err != nil {
		return providers.Meta{}, err
	}
	return any(o).(providers.Identified).GetMeta(), nil
}

// guard returns objects of the owner alone. refers, if not nil, looks at what a spec refers to.
func guard[S providers.Described, O providers.Identified](p owned, n providers.Noun, k providers.Objects[S, O], refers func(context.Context, S) error) ownedObjects[S, O] {
	if refers == nil {
		refers = func(context.Context, S) error { return nil }
	}
	return ownedObjects[S, O]{p, n, k, refers}
}

type ownedObjects[S providers.Described, O providers.Identified] struct {
	p      owned
	noun   providers.Noun
	next   providers.Objects[S, O]
	refers func(context.Context, S) error
}

// spec returns why a spec is refused.
func (k ownedObjects[S, O]) spec(ctx context.Context, v providers.Verb, s S) error {
	if err := k.p.check(v, k.noun, s.Key().String(), s.Key().Owner); err != nil {
		return err
	}
	return k.refers(ctx, s)
}

// object returns why something may not be done with an object. With one that there is not, it may.
func (k ownedObjects[S, O]) object(ctx context.Context, v providers.Verb, id providers.ID) error {
	m, err := meta(ctx, k.next, id)
	switch {
	case providers.KindOf(err) == providers.NotFound:
		return nil
	case err != nil:
		return err
	case v == providers.DeleteVerb && k.noun == providers.MachineNoun && m.Name == k.p.self:
		return fmt.Errorf("%s %s %s: %w: it is the one that asks", v, k.noun, id, providers.Denied)
	}
	return k.p.check(v, k.noun, string(id), m.Owner)
}

func (k ownedObjects[S, O]) Create(ctx context.Context, s S) (O, error) {
	if err := k.spec(ctx, providers.CreateVerb, s); err != nil {
		return *new(O), err
	}
	return k.next.Create(ctx, s)
}

func (k ownedObjects[S, O]) Get(ctx context.Context, id providers.ID) (O, error) {
	o, err := k.next.Get(ctx, id)
	if err != nil {
		return o, err
	}
	if err := k.p.check(providers.GetVerb, k.noun, string(id), o.GetMeta().Owner); err != nil {
		return *new(O), err
	}
	return o, nil
}

func (k ownedObjects[S, O]) List(ctx context.Context, o providers.Owner) ([]O, error) {
	if err := k.p.check(providers.ListVerb, k.noun, string(o), o); err != nil {
		return nil, err
	}
	return k.next.List(ctx, o)
}

func (k ownedObjects[S, O]) Delete(ctx context.Context, id providers.ID) error {
	if err := k.object(ctx, providers.DeleteVerb, id); err != nil {
		return err
	}
	return k.next.Delete(ctx, id)
}

func (k ownedObjects[S, O]) Update(ctx context.Context, id providers.ID, s S) (O, error) {
	if err := k.spec(ctx, providers.UpdateVerb, s); err != nil {
		return *new(O), err
	}
	if err := k.object(ctx, providers.UpdateVerb, id); err != nil {
		return *new(O), err
	}
	return k.next.Update(ctx, id, s)
}

type ownedMachines struct {
	ownedObjects[providers.MachineSpec, providers.Machine]
	machines providers.Machines
}

func (m ownedMachines) Types(ctx context.Context) ([]providers.MachineType, error) {
	return m.machines.Types(ctx)
}

type ownedVolumes struct {
	ownedObjects[providers.VolumeSpec, providers.Volume]
	volumes providers.Volumes
}

// both returns why something may not be done with a volume and a machine.
func (v ownedVolumes) both(ctx context.Context, verb providers.Verb, volume, machine providers.ID) error {
	if err := v.object(ctx, verb, volume); err != nil {
		return err
	}
	return own(ctx, v.p, providers.MachineNoun, v.p.Provider.Machines(), machine)
}

func (v ownedVolumes) Attach(ctx context.Context, volume, machine providers.ID) (providers.Volume, error) {
	if err := v.both(ctx, providers.AttachVerb, volume, machine); err != nil {
		return providers.Volume{}, err
	}
	return v.volumes.Attach(ctx, volume, machine)
}

func (v ownedVolumes) Detach(ctx context.Context, volume, machine providers.ID) error {
	if err := v.both(ctx, providers.DetachVerb, volume, machine); err != nil {
		return err
	}
	return v.volumes.Detach(ctx, volume, machine)
}

func (v ownedVolumes) Resize(ctx context.Context, volume providers.ID, sizeGiB int) (providers.Volume, error) {
	if err := v.object(ctx, providers.ResizeVerb, volume); err != nil {
		return providers.Volume{}, err
	}
	return v.volumes.Resize(ctx, volume, sizeGiB)
}

func (v ownedVolumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	return guard(v.p, providers.SnapshotNoun, v.volumes.Snapshots(), func(ctx context.Context, s providers.SnapshotSpec) error {
		return own(ctx, v.p, providers.VolumeNoun, v.volumes, s.Volume)
	})
}

type ownedAccount struct {
	next providers.Account
	p    owned
}

func (a ownedAccount) Check(ctx context.Context, n providers.Need) (providers.Report, error) {
	if err := a.p.check(providers.CheckVerb, providers.AccountNoun, string(n.Owner), n.Owner); err != nil {
		return providers.Report{}, err
	}
	return a.next.Check(ctx, n)
}
