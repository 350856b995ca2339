//go:build linux

package local

import (
	"context"
	"errors"
	"maps"
	"os"
	"time"

	"github.com/provisionhq/provision/providers"
)

type snapshots struct{ p *Provider }

// Snapshots returns the copies of volumes of this host.
func (v volumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	return snapshots(v)
}

// Create copies the volume's file as it is at one moment; attached or not, it may be in use.
func (n snapshots) Create(ctx context.Context, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about("create", providers.SnapshotNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0)); err != nil {
		return providers.Snapshot{}, err
	}
	l, err := n.p.lockObject(ctx, providers.SnapshotNoun, spec.Key())
	if err != nil {
		return providers.Snapshot{}, err
	}
	defer n.p.finish(l, providers.SnapshotNoun, spec.Key())
	r, err := n.intend(ctx, spec)
	if err != nil {
		return providers.Snapshot{}, err
	}
	if r.Complete {
		return n.object(r), providers.Exists
	}
	err = n.p.inOrder(ctx,
		func() error { return n.copy(ctx, r) },
		func() error { r.Complete = true; return r.save(n.dir(r)) },
	)
	if err != nil {
		return providers.Snapshot{}, err
	}
	return n.object(r), nil
}

// Get returns the snapshot as it is.
func (n snapshots) Get(ctx context.Context, id providers.ID) (providers.Snapshot, error) {
	return get(ctx, n.p, providers.SnapshotNoun, id, sure(n.object))
}

// List returns the owner's snapshots as they are.
func (n snapshots) List(ctx context.Context, o providers.Owner) ([]providers.Snapshot, error) {
	return list(ctx, n.p, providers.SnapshotNoun, o, sure(n.object))
}

// Delete removes the copy. Volumes that were made of it stay as they are.
func (n snapshots) Delete(ctx context.Context, id providers.ID) error {
	return remove(ctx, n.p, providers.SnapshotNoun, id, func(r *snapshotRecord) error {
		if err := eraseData(ctx, n.p, r, n.dir(r)); err != nil {
			return err
		}
		return n.p.sweepAll(ctx)
	})
}

// Update sets the tags.
func (n snapshots) Update(ctx context.Context, id providers.ID, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about("update", providers.SnapshotNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0)); err != nil {
		return providers.Snapshot{}, err
	}
	r, l, err := lockByID[providers.SnapshotSpec](ctx, n.p, providers.SnapshotNoun, id, spec.Key())
	if err != nil {
		return providers.Snapshot{}, err
	}
	defer n.p.finish(l, providers.SnapshotNoun, spec.Key())
	if spec.Volume != "" && spec.Volume != r.Spec.Volume {
		return providers.Snapshot{}, fail(providers.Invalid, "a snapshot stays one of volume %s", r.Spec.Volume)
	}
	if !maps.Equal(spec.Tags, r.Spec.Tags) {
		r.Spec.Tags = maps.Clone(spec.Tags)
		if err := errors.Join(r.save(n.dir(r)), n.p.step(ctx)); err != nil {
			return providers.Snapshot{}, err
		}
	}
	return n.object(r), nil
}

// intend returns the snapshot's record: the one that there is, or a new one, already written.
func (n snapshots) intend(ctx context.Context, s providers.SnapshotSpec) (*snapshotRecord, error) {
	dir := n.p.dir(providers.SnapshotNoun, s.Key())
	r, err := load[providers.SnapshotSpec](dir)
	if err != nil {
		return nil, err
	}
	if r != nil && r.Deleting {
		if err := eraseData(ctx, n.p, r, dir); err != nil {
			return nil, err
		}
		r = nil
	}
	if r != nil && r.Complete {
		return r, nil
	}
	v, err := n.volume(s)
	if err != nil {
		return nil, err
	}
	all, err := n.p.all(ctx)
	if err != nil {
		return nil, err
	}
	defer all.release()
	if r == nil {
		r = &snapshotRecord{ID: newID(s.Key())}
	}
	r.Spec, r.SizeGiB = s, v.Spec.SizeGiB
	return r, errors.Join(r.save(dir), n.p.step(ctx))
}

// volume returns the volume to copy, which must be complete.
func (n snapshots) volume(s providers.SnapshotSpec) (*volumeRecord, error) {
	v, err := byID[providers.VolumeSpec](n.p, providers.VolumeNoun, s.Volume)
	switch {
	case err != nil:
		return nil, err
	case v == nil || v.Spec.Owner != s.Owner || v.Deleting:
		return nil, fail(providers.NotFound, "volume %q", s.Volume)
	case !v.Complete:
		return nil, fail(providers.Conflict, "volume %s is not complete: create it first", v.Spec.Name)
	}
	return v, nil
}

// copy copies the volume's file, which may be written to, grow or be deleted meanwhile.
func (n snapshots) copy(ctx context.Context, r *snapshotRecord) error {
	v, err := n.volume(r.Spec)
	if err != nil {
		return err
	}
	from, err := os.Open(dataOf(volumes(n).dir(v)))
	if errors.Is(err, os.ErrNotExist) {
		return fail(providers.NotFound, "the data of volume %s are gone", v.Spec.Name)
	}
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(dataOf(n.dir(r)), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	r.CreatedUnix = time.Now().Unix()
	err = copyData(ctx, n.p, f, from)
	if errors.Is(err, errBusy) {
		err = n.copyFrozen(ctx, v.ID, f, from)
	}
	if err != nil {
		return err
	}
	s, err := f.Stat()
	if err != nil {
		return err
	}
	r.SizeGiB = int(s.Size() >> 30)
	return f.Sync()
}

// copyFrozen copies the file of a volume that is written to all the while: the machine's file system on it stands still meanwhile.
func (n snapshots) copyFrozen(ctx context.Context, volume providers.ID, to, from *os.File) error {
	f, err := n.freeze(ctx, volume)
	if err != nil {
		return err
	}
	if f == nil {
		return fail(providers.Unavailable, "the volume is written to all the while and is not mounted, so it cannot be stopped: %w", errBusy)
	}
	err = errors.Join(copyData(ctx, n.p, to, from), f.thaw())
	if errors.Is(err, errBusy) {
		return fail(providers.Unavailable, "the volume could not be held still for long enough, %s at most: %w", freezeLimit, err)
	}
	return err
}

// freeze freezes the file system on the volume; nil if it is not mounted in the machine that it is attached to.
func (n snapshots) freeze(ctx context.Context, volume providers.ID) (*freezer, error) {
	v, err := byID[providers.VolumeSpec](n.p, providers.VolumeNoun, volume)
	if err != nil || v == nil || v.Machine == "" {
		return nil, err
	}
	init, err := volumes(n).runningInit(v.Machine)
	if err != nil || init == nil {
		return nil, err
	}
	at, err := loopOf(dataOf(volumes(n).dir(v)))
	if err != nil || at < 0 {
		return nil, err
	}
	rdev, err := at.node()
	if err != nil {
		return nil, err
	}
	return freeze(ctx, *init, rdev)
}

// whole returns the owner's snapshot of the ID, which must be complete.
func (n snapshots) whole(id providers.ID, owner providers.Owner) (*snapshotRecord, error) {
	r, err := byID[providers.SnapshotSpec](n.p, providers.SnapshotNoun, id)
	switch {
	case err != nil:
		return nil, err
	case r == nil || r.Deleting || r.Spec.Owner != owner:
		return nil, fail(providers.NotFound, "snapshot %q", id)
	case !r.Complete:
		return nil, fail(providers.Conflict, "snapshot %s is not complete: create it first", r.Spec.Name)
	}
	return r, nil
}

func (n snapshots) dir(r *snapshotRecord) string {
	return n.p.dir(providers.SnapshotNoun, r.Spec.Key())
}

func (n snapshots) object(r *snapshotRecord) providers.Snapshot {
	return providers.Snapshot{
		Meta: providers.Meta{
			ID: r.ID, Owner: r.Spec.Owner, Name: r.Spec.Name,
			Partial: !r.Complete || r.Deleting, Tags: maps.Clone(r.Spec.Tags),
		},
		Volume: r.Spec.Volume, SizeGiB: r.SizeGiB, CreatedUnix: r.CreatedUnix,
	}
}
