package azure

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"

	"github.com/provisionhq/provision/providers"
)

type snapshots struct{ p *Provider }

// snapshot is one of Azure as the contract has it.
func snapshot(s *armcompute.Snapshot) providers.Snapshot {
	tags := read(s.Tags)
	o := providers.Snapshot{Meta: meta(id{part(val(s.ID), "resourceGroups"), val(s.Name), ""}, tags), Volume: providers.ID(tags[volumeTag])}
	o.Partial = true
	if q := s.Properties; q != nil {
		o.SizeGiB = int(val(q.DiskSizeGB))
		o.Partial = val(q.ProvisioningState) != "Succeeded" || q.CompletionPercent != nil && *q.CompletionPercent < 100
		if q.TimeCreated != nil {
			o.CreatedUnix = q.TimeCreated.Unix()
		}
	}
	return o
}

// copy returns the snapshot of that ID; NotFound if it is gone.
func (p *Provider) copy(ctx context.Context, of providers.ID) (*armcompute.Snapshot, error) {
	i, err := parse(providers.SnapshotNoun, of)
	if err != nil {
		return nil, err
	}
	s, err := p.copies.Get(ctx, i.group, i.name, nil)
	if err == nil && (!i.fits(read(s.Tags)) || s.Properties == nil) {
		err = fail(providers.NotFound, "snapshot %s", of)
	}
	return &s.Snapshot, err
}

// Get returns the snapshot as it is.
func (w snapshots) Get(ctx context.Context, of providers.ID) (_ providers.Snapshot, err error) {
	defer about(providers.GetVerb, providers.SnapshotNoun, string(of), &err)
	s, err := w.p.copy(ctx, of)
	if err != nil {
		return providers.Snapshot{}, err
	}
	return snapshot(s), nil
}

// List returns the owner's snapshots.
func (w snapshots) List(ctx context.Context, o providers.Owner) (all []providers.Snapshot, err error) {
	defer about(providers.ListVerb, providers.SnapshotNoun, string(o), &err)
	found, err := collect(ctx, w.p.copies.NewListByResourceGroupPager(storageGroup(o), nil),
		func(o armcompute.SnapshotsClientListByResourceGroupResponse) []*armcompute.Snapshot { return o.Value })
	for _, s := range found {
		if belongs(read(s.Tags), providers.SnapshotNoun, o) {
			all = append(all, snapshot(s))
		}
	}
	slices.SortFunc(all, byName)
	return all, ignoring(err)
}

// Create copies the volume, incrementally, and waits until the copy is complete.
func (w snapshots) Create(ctx context.Context, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about(providers.CreateVerb, providers.SnapshotNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0), checkTags(spec.Tags)); err != nil {
		return providers.Snapshot{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.SnapshotNoun, spec.Key().String())
	if err != nil {
		return providers.Snapshot{}, err
	}
	defer unlock()
	group := storageGroup(spec.Owner)
	var there armcompute.SnapshotsClientGetResponse
	err = w.p.known(ctx, providers.SnapshotNoun, spec.Key(), func() (err error) {
		there, err = w.p.copies.Get(ctx, group, spec.Name, nil)
		return err
	})
	if ignoring(err) != nil {
		return providers.Snapshot{}, err
	}
	s := &there.Snapshot
	if err == nil {
		if t := read(s.Tags); t[providers.OwnerTag] != string(spec.Owner) || t[providers.NameTag] != spec.Name {
			return providers.Snapshot{}, fail(providers.Conflict, "%s is there and its tags say that it is another's", val(s.ID))
		}
		if o := snapshot(s); !o.Partial {
			return o, providers.Exists
		}
	}
	if err != nil || s.Properties != nil && val(s.Properties.ProvisioningState) == "Failed" {
		if s, err = w.make(ctx, spec, group); err != nil {
			return providers.Snapshot{}, err
		}
		w.p.made.note(providers.SnapshotNoun, spec.Key(), spec.Name)
	}
	o := snapshot(s)
	err = w.p.wait(ctx, "snapshot "+spec.Name+" is not complete", func() (bool, error) {
		s, err := w.p.copy(ctx, o.ID)
		if err == nil {
			o = snapshot(s)
		}
		return err == nil && !o.Partial, ignoring(err)
	})
	return o, err
}

func (w snapshots) make(ctx context.Context, spec providers.SnapshotSpec, group string) (*armcompute.Snapshot, error) {
	d, err := w.p.disk(ctx, spec.Volume)
	if err != nil {
		return nil, err
	}
	in := armcompute.Snapshot{Location: &w.p.o.Location, Tags: written(label(providers.SnapshotNoun, spec.Key(), fresh(), spec.Tags, map[string]string{volumeTag: string(spec.Volume)})),
		Properties: &armcompute.SnapshotProperties{Incremental: ptr(true), CreationData: &armcompute.CreationData{CreateOption: ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: d.ID}}}
	var made armcompute.SnapshotsClientCreateOrUpdateResponse
	err = w.p.stored(ctx, spec.Owner, func() error {
		poller, err := w.p.copies.BeginCreateOrUpdate(ctx, group, spec.Name, in, nil)
		made, err = done(ctx, w.p, poller, err)
		return err
	})
	return &made.Snapshot, err
}

// Update sets tags.
func (w snapshots) Update(ctx context.Context, of providers.ID, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about(providers.UpdateVerb, providers.SnapshotNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0), checkTags(spec.Tags)); err != nil {
		return providers.Snapshot{}, err
	}
	s, err := w.p.copy(ctx, of)
	if err != nil {
		return providers.Snapshot{}, err
	}
	o := snapshot(s)
	if err := mine(o.Meta, spec.Key()); err != nil {
		return providers.Snapshot{}, err
	}
	if spec.Volume != "" && spec.Volume != o.Volume {
		return providers.Snapshot{}, fail(providers.Invalid, "it stays a copy of volume %s", o.Volume)
	}
	i, _ := parse(providers.SnapshotNoun, of)
	if err := w.p.retag(ctx, val(s.ID), read(s.Tags), label(providers.SnapshotNoun, spec.Key(), i.generation, spec.Tags, nil)); err != nil {
		return providers.Snapshot{}, err
	}
	if s, err = w.p.copy(ctx, of); err != nil {
		return providers.Snapshot{}, err
	}
	return snapshot(s), nil
}

// Delete removes the snapshot.
func (w snapshots) Delete(ctx context.Context, of providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.SnapshotNoun, string(of), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := w.p.copy(ctx, of)
	if ignoring(err) != nil {
		return err
	}
	if err == nil {
		if err := w.p.settled(ctx, func() error {
			poller, err := w.p.copies.BeginDelete(ctx, part(val(s.ID), "resourceGroups"), val(s.Name), nil)
			_, err = done(ctx, w.p, poller, err)
			return ignoring(err)
		}); err != nil {
			return err
		}
		if err := w.p.wait(ctx, "snapshot "+string(of)+" is still there", func() (bool, error) {
			_, err := w.p.copy(ctx, of)
			return gone(err), ignoring(err)
		}); err != nil {
			return err
		}
		k := meta(id{}, read(s.Tags))
		w.p.made.drop(providers.SnapshotNoun, providers.Key{Owner: k.Owner, Name: k.Name})
	}
	return w.p.tidyOf(ctx, of)
}

// stored makes something in the owner's group for storage, and that group first if Azure says that there is none.
func (p *Provider) stored(ctx context.Context, o providers.Owner, put func() error) error {
	err := p.settled(ctx, put)
	if !is(err, "ResourceGroupNotFound") {
		return err
	}
	tags := map[string]string{providers.OwnerTag: string(o), providers.KindTag: string(partKind)}
	if err := p.makeGroup(ctx, storageGroup(o), tags); err != nil {
		return err
	}
	return p.settled(ctx, func() error {
		return p.soon(ctx, put) // the group is there
	})
}

// tidyOf tidies after something of an owner was removed from the group for storage that is in its ID.
func (p *Provider) tidyOf(ctx context.Context, of providers.ID) error {
	i, err := parse(providers.VolumeNoun, of)
	words := strings.Split(strings.TrimSuffix(i.group, ".storage"), "_")
	if err != nil || len(words) != 2 {
		return nil
	}
	return p.tidy(ctx, providers.Owner(words[1]))
}

// tidy removes the owner's group for storage if it is empty and the owner has no network: then no cluster runs, and nobody puts
// something into the group while it goes.
func (p *Provider) tidy(ctx context.Context, o providers.Owner) error {
	group := storageGroup(o)
	tags, deleting, err := p.group(ctx, group)
	if err != nil || deleting || !belongs(tags, partKind, o) {
		return ignoring(err)
	}
	nets, err := p.networksOf(ctx, o)
	if err != nil || len(nets) > 0 {
		return err
	}
	left, err := p.contents(ctx, group)
	if err != nil {
		return err
	}
	for _, r := range left {
		if there, err := p.there(ctx, r); err != nil || there {
			return err
		}
	}
	disks, err := volumes{p}.List(ctx, o)
	if err != nil || len(disks) > 0 {
		return err
	}
	copies, err := snapshots{p}.List(ctx, o)
	if err != nil || len(copies) > 0 {
		return err
	}
	return p.dropGroup(ctx, group)
}
