package providertest

import (
	"context"

	"github.com/provisionhq/provision/providers"
)

// A patched provider is a good one with some of its parts replaced.
type patched struct {
	providers.Provider
	name      string
	caps      func(*providers.Caps)
	networks  providers.Networks
	machines  providers.Machines
	balancers providers.LoadBalancers
	volumes   providers.Volumes
	account   providers.Account
}

func patch(p providers.Provider) *patched {
	return &patched{p, p.Name(), func(*providers.Caps) {}, p.Networks(), p.Machines(), p.LoadBalancers(), p.Volumes(), p.Account()}
}

func (p *patched) Name() string                           { return p.name }
func (p *patched) Networks() providers.Networks           { return p.networks }
func (p *patched) Machines() providers.Machines           { return p.machines }
func (p *patched) LoadBalancers() providers.LoadBalancers { return p.balancers }
func (p *patched) Volumes() providers.Volumes             { return p.volumes }
func (p *patched) Account() providers.Account             { return p.account }
func (p *patched) Caps() (c providers.Caps) {
	c = p.Provider.Caps()
	p.caps(&c)
	return c
}

// A twist replaces some of the verbs of a kind; nil ones are as they were.
type twist[S, O any] struct {
	providers.Objects[S, O]
	create func(context.Context, S) (O, error)
	get    func(context.Context, providers.ID) (O, error)
	list   func(context.Context, providers.Owner) ([]O, error)
	del    func(context.Context, providers.ID) error
	update func(context.Context, providers.ID, S) (O, error)
	touch  func(*O) // changes every result that is not a copy, of verbs beyond the four as well
}

func (t twist[S, O]) touched(o O, err error) (O, error) {
	if t.touch != nil && (err == nil || providers.KindOf(err) == providers.Exists) {
		o = clone(o)
		t.touch(&o)
	}
	return o, err
}

func (t twist[S, O]) Create(ctx context.Context, s S) (O, error) {
	if t.create != nil {
		return t.create(ctx, s)
	}
	return t.touched(t.Objects.Create(ctx, s))
}

func (t twist[S, O]) Get(ctx context.Context, id providers.ID) (O, error) {
	if t.get != nil {
		return t.get(ctx, id)
	}
	return t.touched(t.Objects.Get(ctx, id))
}

func (t twist[S, O]) List(ctx context.Context, owner providers.Owner) ([]O, error) {
	if t.list != nil {
		return t.list(ctx, owner)
	}
	all, err := t.Objects.List(ctx, owner)
	for i := range all {
		all[i], _ = t.touched(all[i], nil)
	}
	return all, err
}

func (t twist[S, O]) Delete(ctx context.Context, id providers.ID) error {
	if t.del != nil {
		return t.del(ctx, id)
	}
	return t.Objects.Delete(ctx, id)
}

func (t twist[S, O]) Update(ctx context.Context, id providers.ID, s S) (O, error) {
	if t.update != nil {
		return t.touched(t.update(ctx, id, s))
	}
	return t.touched(t.Objects.Update(ctx, id, s))
}

type (
	networkTwist  = twist[providers.NetworkSpec, providers.Network]
	machineTwist  = twist[providers.MachineSpec, providers.Machine]
	balancerTwist = twist[providers.LoadBalancerSpec, providers.LoadBalancer]
	volumeTwist   = twist[providers.VolumeSpec, providers.Volume]
	snapshotTwist = twist[providers.SnapshotSpec, providers.Snapshot]
)

type twistedMachines struct {
	machineTwist
	types func(context.Context) ([]providers.MachineType, error)
}

func (m twistedMachines) Types(ctx context.Context) ([]providers.MachineType, error) {
	return m.types(ctx)
}

type twistedVolumes struct {
	volumeTwist
	old       providers.Volumes
	attach    func(ctx context.Context, v, m providers.ID) (providers.Volume, error)
	detach    func(ctx context.Context, v, m providers.ID) error
	resize    func(ctx context.Context, v providers.ID, size int) (providers.Volume, error)
	snapshots providers.Objects[providers.SnapshotSpec, providers.Snapshot]
}

func (v twistedVolumes) Attach(ctx context.Context, id, m providers.ID) (providers.Volume, error) {
	if v.attach != nil {
		return v.attach(ctx, id, m)
	}
	return v.touched(v.old.Attach(ctx, id, m))
}

func (v twistedVolumes) Detach(ctx context.Context, id, m providers.ID) error {
	if v.detach != nil {
		return v.detach(ctx, id, m)
	}
	return v.old.Detach(ctx, id, m)
}

func (v twistedVolumes) Resize(ctx context.Context, id providers.ID, size int) (providers.Volume, error) {
	if v.resize != nil {
		return v.resize(ctx, id, size)
	}
	return v.touched(v.old.Resize(ctx, id, size))
}

func (v twistedVolumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	if v.snapshots != nil {
		return v.snapshots
	}
	return v.old.Snapshots()
}

func (p *patched) twistMachines(t machineTwist) {
	old := p.machines
	t.Objects = old
	p.machines = twistedMachines{t, old.Types}
}

func (p *patched) twistBalancers(t balancerTwist) {
	t.Objects = p.balancers
	p.balancers = t
}

func (p *patched) twistVolumes(t volumeTwist) {
	t.Objects = p.volumes
	p.volumes = twistedVolumes{volumeTwist: t, old: p.volumes}
}

func (p *patched) twistSnapshots(t snapshotTwist) {
	t.Objects = p.volumes.Snapshots()
	p.volumes = twistedVolumes{volumeTwist: volumeTwist{Objects: p.volumes}, old: p.volumes, snapshots: t}
}

func (p *patched) twistNetworks(t networkTwist) {
	t.Objects = p.networks
	p.networks = t
}
