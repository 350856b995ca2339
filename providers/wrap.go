package providers

import "context"

// An Around is run in place of every call of a provider that Wrap returned. It makes the call with next: once, several
// times one after another, or not at all; what the last next got is what the caller gets, with the Around's error. It is
// called from several goroutines at a time. After next, call.ID of a Create is the ID of the object that it returned.
type Around func(ctx context.Context, call *Call, next func(context.Context) error) error

// Wrap returns a provider whose every call of p, of every kind, goes through around. It is what the wrappers (packages
// retry, limit and trace) are made of.
func Wrap(p Provider, around Around) Provider { return wrapped{p, around} }

type wrapped struct {
	Provider
	around Around
}

func (w wrapped) Networks() Networks {
	return wrappedObjects[NetworkSpec, Network]{w.Provider.Networks(), NetworkNoun, w.around}
}

func (w wrapped) Machines() Machines {
	m := w.Provider.Machines()
	return wrappedMachines{wrappedObjects[MachineSpec, Machine]{m, MachineNoun, w.around}, m}
}

func (w wrapped) LoadBalancers() LoadBalancers {
	return wrappedObjects[LoadBalancerSpec, LoadBalancer]{w.Provider.LoadBalancers(), BalancerNoun, w.around}
}

func (w wrapped) Volumes() Volumes {
	v := w.Provider.Volumes()
	return wrappedVolumes{wrappedObjects[VolumeSpec, Volume]{v, VolumeNoun, w.around}, v}
}

func (w wrapped) Account() Account { return wrappedAccount{w.Provider.Account(), w.around} }

// through makes one call that returns a value.
func through[R any](ctx context.Context, around Around, c *Call, do func(context.Context) (R, error)) (r R, err error) {
	err = around(ctx, c, func(ctx context.Context) (err error) {
		r, err = do(ctx)
		return err
	})
	return r, err
}

// wrappedObjects are the five verbs of every kind.
type wrappedObjects[S Described, O Identified] struct {
	next   Objects[S, O]
	noun   Noun
	around Around
}

func (w wrappedObjects[S, O]) Create(ctx context.Context, spec S) (O, error) {
	k := spec.Key()
	c := &Call{Noun: w.noun, Verb: CreateVerb, Owner: k.Owner, Name: k.Name}
	return through(ctx, w.around, c, func(ctx context.Context) (O, error) {
		o, err := w.next.Create(ctx, spec)
		c.ID = o.GetMeta().ID
		return o, err
	})
}

func (w wrappedObjects[S, O]) Get(ctx context.Context, id ID) (O, error) {
	return through(ctx, w.around, &Call{Noun: w.noun, Verb: GetVerb, ID: id}, func(ctx context.Context) (O, error) {
		return w.next.Get(ctx, id)
	})
}

func (w wrappedObjects[S, O]) List(ctx context.Context, owner Owner) ([]O, error) {
	return through(ctx, w.around, &Call{Noun: w.noun, Verb: ListVerb, Owner: owner}, func(ctx context.Context) ([]O, error) {
		return w.next.List(ctx, owner)
	})
}

func (w wrappedObjects[S, O]) Delete(ctx context.Context, id ID) error {
	return w.around(ctx, &Call{Noun: w.noun, Verb: DeleteVerb, ID: id}, func(ctx context.Context) error {
		return w.next.Delete(ctx, id)
	})
}

func (w wrappedObjects[S, O]) Update(ctx context.Context, id ID, spec S) (O, error) {
	k := spec.Key()
	c := &Call{Noun: w.noun, Verb: UpdateVerb, Owner: k.Owner, Name: k.Name, ID: id}
	return through(ctx, w.around, c, func(ctx context.Context) (O, error) { return w.next.Update(ctx, id, spec) })
}

type wrappedMachines struct {
	wrappedObjects[MachineSpec, Machine]
	next Machines
}

func (w wrappedMachines) Types(ctx context.Context) ([]MachineType, error) {
	return through(ctx, w.around, &Call{Noun: MachineNoun, Verb: TypesVerb}, w.next.Types)
}

type wrappedVolumes struct {
	wrappedObjects[VolumeSpec, Volume]
	next Volumes
}

func (w wrappedVolumes) Attach(ctx context.Context, volume, machine ID) (Volume, error) {
	c := &Call{Noun: VolumeNoun, Verb: AttachVerb, ID: volume}
	return through(ctx, w.around, c, func(ctx context.Context) (Volume, error) {
		return w.next.Attach(ctx, volume, machine)
	})
}

func (w wrappedVolumes) Detach(ctx context.Context, volume, machine ID) error {
	return w.around(ctx, &Call{Noun: VolumeNoun, Verb: DetachVerb, ID: volume}, func(ctx context.Context) error {
		return w.next.Detach(ctx, volume, machine)
	})
}

func (w wrappedVolumes) Resize(ctx context.Context, volume ID, sizeGiB int) (Volume, error) {
	c := &Call{Noun: VolumeNoun, Verb: ResizeVerb, ID: volume}
	return through(ctx, w.around, c, func(ctx context.Context) (Volume, error) {
		return w.next.Resize(ctx, volume, sizeGiB)
	})
}

func (w wrappedVolumes) Snapshots() Objects[SnapshotSpec, Snapshot] {
	return wrappedObjects[SnapshotSpec, Snapshot]{w.next.Snapshots(), SnapshotNoun, w.around}
}

type wrappedAccount struct {
	next   Account
	around Around
}

func (w wrappedAccount) Check(ctx context.Context, n Need) (Report, error) {
	c := &Call{Noun: AccountNoun, Verb: CheckVerb, Owner: n.Owner}
	return through(ctx, w.around, c, func(ctx context.Context) (Report, error) { return w.next.Check(ctx, n) })
}
