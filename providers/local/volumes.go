//go:build linux

package local

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// volumeType is the only type of volume: a sparse file.
const volumeType = "file"

type volumes struct{ p *Provider }

// Volumes returns the volumes of this host.
func (p *Provider) Volumes() providers.Volumes { return volumes{p} }

// Create makes the volume's file, which takes no space before something is written, or takes the snapshot's data along.
func (v volumes) Create(ctx context.Context, spec providers.VolumeSpec) (_ providers.Volume, err error) {
	defer about("create", providers.VolumeNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), v.check(spec)); err != nil {
		return providers.Volume{}, err
	}
	l, err := v.p.lockObject(ctx, providers.VolumeNoun, spec.Key())
	if err != nil {
		return providers.Volume{}, err
	}
	defer v.p.finish(l, providers.VolumeNoun, spec.Key())
	r, err := v.intend(ctx, spec)
	if err != nil {
		return providers.Volume{}, err
	}
	if r.Complete {
		return v.object(r), providers.Exists
	}
	err = v.p.inOrder(ctx,
		func() error { return v.fill(ctx, r) },
		func() error { r.Complete = true; return r.save(v.dir(r)) },
	)
	if err != nil {
		return providers.Volume{}, err
	}
	return v.object(r), nil
}

// Get returns the volume as it is.
func (v volumes) Get(ctx context.Context, id providers.ID) (providers.Volume, error) {
	return get(ctx, v.p, providers.VolumeNoun, id, sure(v.object))
}

// List returns the owner's volumes as they are.
func (v volumes) List(ctx context.Context, o providers.Owner) ([]providers.Volume, error) {
	return list(ctx, v.p, providers.VolumeNoun, o, sure(v.object))
}

// Delete removes the volume with its data.
func (v volumes) Delete(ctx context.Context, id providers.ID) error {
	return remove(ctx, v.p, providers.VolumeNoun, id, func(r *volumeRecord) error {
		if r.Machine != "" {
			return fail(providers.Conflict, "it is attached to machine %s: detach it first", r.Machine)
		}
		if err := eraseData(ctx, v.p, r, v.dir(r)); err != nil {
			return err
		}
		return v.p.sweepAll(ctx)
	})
}

// Update sets the tags.
func (v volumes) Update(ctx context.Context, id providers.ID, spec providers.VolumeSpec) (_ providers.Volume, err error) {
	defer about("update", providers.VolumeNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), v.check(spec)); err != nil {
		return providers.Volume{}, err
	}
	r, l, err := lockByID[providers.VolumeSpec](ctx, v.p, providers.VolumeNoun, id, spec.Key())
	if err != nil {
		return providers.Volume{}, err
	}
	defer v.p.finish(l, providers.VolumeNoun, spec.Key())
	switch {
	case spec.SizeGiB > r.Spec.SizeGiB:
		return providers.Volume{}, fail(providers.Invalid, "a volume of %d GiB grows by a resize, not by an update", r.Spec.SizeGiB)
	case spec.Snapshot != "" && spec.Snapshot != r.Spec.Snapshot:
		return providers.Volume{}, fail(providers.Invalid, "what a volume was copied from cannot be changed")
	}
	if !maps.Equal(spec.Tags, r.Spec.Tags) {
		r.Spec.Tags = maps.Clone(spec.Tags)
		if err := errors.Join(r.save(v.dir(r)), v.p.step(ctx)); err != nil {
			return providers.Volume{}, err
		}
	}
	return v.object(r), nil
}

// check returns why there can be no such volume on this host.
func (v volumes) check(s providers.VolumeSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	switch {
	case s.Type != "" && s.Type != volumeType:
		return fail(providers.Invalid, "type %q: volumes of this provider are of type %s", s.Type, volumeType)
	case s.Zone != "":
		return fail(providers.Invalid, "zone %q: this host is one place without zones", s.Zone)
	case s.Encrypted:
		return fail(providers.Unsupported, "volumes of this provider are as encrypted as the disk that their files are on")
	case s.SizeGiB < 1 && (s.SizeGiB < 0 || s.Snapshot == ""):
		return fail(providers.Invalid, "%d GiB: a volume has at least 1", s.SizeGiB)
	}
	for k := range s.Params {
		return fail(providers.Invalid, "parameter %q: volumes of this provider have none", k)
	}
	return v.p.preflight()
}

// intend returns the volume's record: the one that there is, or a new one, already written.
func (v volumes) intend(ctx context.Context, s providers.VolumeSpec) (*volumeRecord, error) {
	dir := v.p.dir(providers.VolumeNoun, s.Key())
	r, err := load[providers.VolumeSpec](dir)
	if err != nil {
		return nil, err
	}
	if r != nil && r.Deleting {
		if err := eraseData(ctx, v.p, r, dir); err != nil {
			return nil, err
		}
		r = nil
	}
	if r != nil && r.Complete {
		return r, nil
	}
	if s.Snapshot != "" {
		if s, err = v.copied(s); err != nil {
			return nil, err
		}
	}
	if err := v.p.room(s.SizeGiB, 0); err != nil {
		return nil, err
	}
	all, err := v.p.all(ctx)
	if err != nil {
		return nil, err
	}
	defer all.release()
	if r == nil {
		r = &volumeRecord{ID: newID(s.Key())}
	}
	r.Spec, r.Spec.Type = s, volumeType
	return r, errors.Join(r.save(dir), v.p.step(ctx))
}

// copied returns the spec of a copy of a snapshot, with the snapshot's size if it names none.
func (v volumes) copied(s providers.VolumeSpec) (providers.VolumeSpec, error) {
	n, err := snapshots(v).whole(s.Snapshot, s.Owner)
	switch {
	case err != nil:
		return s, err
	case s.SizeGiB == 0:
		s.SizeGiB = n.SizeGiB
	case s.SizeGiB < n.SizeGiB:
		return s, fail(providers.Invalid, "%d GiB: its snapshot has %d", s.SizeGiB, n.SizeGiB)
	}
	return s, nil
}

// fill makes the volume's file, anew if there is one: nobody has used it before the volume is complete.
func (v volumes) fill(ctx context.Context, r *volumeRecord) error {
	f, err := os.OpenFile(dataOf(v.dir(r)), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if r.Spec.Snapshot != "" {
		if err := v.take(ctx, f, r); err != nil {
			return err
		}
	}
	return errors.Join(stretch(f, r.Spec.SizeGiB), f.Sync())
}

// take copies the data of the volume's snapshot, which may be deleted meanwhile.
func (v volumes) take(ctx context.Context, f *os.File, r *volumeRecord) error {
	n, err := snapshots(v).whole(r.Spec.Snapshot, r.Spec.Owner)
	if err != nil {
		return err
	}
	from, err := os.Open(dataOf(snapshots(v).dir(n)))
	if err != nil {
		return err
	}
	defer from.Close()
	return copyData(ctx, v.p, f, from)
}

// Resize grows the volume at once, also while it is attached and in use.
func (v volumes) Resize(ctx context.Context, id providers.ID, sizeGiB int) (_ providers.Volume, err error) {
	key, _ := keyOf(id)
	defer about("resize", providers.VolumeNoun, key, &err)
	r, l, err := v.lock(ctx, id)
	if err != nil {
		return providers.Volume{}, err
	}
	defer v.p.finish(l, providers.VolumeNoun, key)
	if sizeGiB < r.Spec.SizeGiB {
		return providers.Volume{}, fail(providers.Invalid, "%d GiB: it has %d and never shrinks", sizeGiB, r.Spec.SizeGiB)
	}
	if sizeGiB > r.Spec.SizeGiB {
		if err := v.p.room(sizeGiB, takes(dataOf(v.dir(r)))); err != nil {
			return providers.Volume{}, err
		}
	}
	err = v.p.inOrder(ctx,
		func() error { return stretchFile(dataOf(v.dir(r)), sizeGiB) },
		func() error {
			if at, err := loopOf(dataOf(v.dir(r))); at >= 0 || err != nil {
				return errors.Join(err, at.grow())
			}
			return nil
		},
		func() error {
			if r.Spec.SizeGiB == sizeGiB {
				return nil
			}
			r.Spec.SizeGiB = sizeGiB
			return r.save(v.dir(r))
		},
	)
	return v.object(r), err
}

// lock takes the lock of a volume that is complete and returns its record.
func (v volumes) lock(ctx context.Context, id providers.ID) (*volumeRecord, *lock, error) {
	key, known := keyOf(id)
	if !known {
		return nil, nil, errors.Join(providers.NotFound, ctx.Err())
	}
	if r, err := byID[providers.VolumeSpec](v.p, providers.VolumeNoun, id); err != nil || r == nil {
		return nil, nil, errors.Join(err, missing(err), ctx.Err())
	}
	l, err := v.p.lockObject(ctx, providers.VolumeNoun, key)
	if err != nil {
		return nil, nil, err
	}
	r, err := byID[providers.VolumeSpec](v.p, providers.VolumeNoun, id)
	switch {
	case err != nil:
	case r == nil || r.Deleting:
		err = providers.NotFound
	case !r.Complete:
		err = fail(providers.Conflict, "it is not complete: create it first")
	default:
		return r, l, nil
	}
	v.p.finish(l, providers.VolumeNoun, key)
	return nil, nil, err
}

// missing is the error of an object that there is not, unless there is another error.
func missing(err error) error {
	if err != nil {
		return nil
	}
	return providers.NotFound
}

func (v volumes) dir(r *volumeRecord) string { return v.p.dir(providers.VolumeNoun, r.Spec.Key()) }

func (v volumes) object(r *volumeRecord) providers.Volume {
	o := providers.Volume{
		Meta: providers.Meta{
			ID: r.ID, Owner: r.Spec.Owner, Name: r.Spec.Name,
			Partial: !r.Complete || r.Deleting, Tags: maps.Clone(r.Spec.Tags),
		},
		SizeGiB: r.Spec.SizeGiB, Type: r.Spec.Type, Machine: r.Machine, Snapshot: r.Spec.Snapshot,
	}
	if r.Machine != "" {
		o.Device = filepath.Join("/", deviceFolder, deviceName(r.ID))
	}
	return o
}

// room returns why a volume of that size, of which so many bytes are written already, has no place on this host. What other volumes
// have not written yet is not taken.
func (p *Provider) room(sizeGiB int, has uint64) error {
	var s unix.Statfs_t
	if err := statfsAbove(p.folder, &s); err != nil {
		return err
	}
	all, free := s.Blocks*uint64(s.Bsize)>>30, (s.Bavail*uint64(s.Bsize)+has)>>30
	switch {
	case uint64(sizeGiB) > all:
		return fail(providers.Quota, "%d GiB: the file system of %s has %d GiB in all", sizeGiB, p.folder, all)
	case uint64(sizeGiB) > free:
		return fail(providers.Capacity, "%d GiB: the file system of %s has %d GiB for it", sizeGiB, p.folder, free)
	}
	return nil
}

// statfsAbove asks about the folder or, while there is none, about the one that it will be made in.
func statfsAbove(folder string, s *unix.Statfs_t) error {
	err := unix.Statfs(folder, s)
	for ; errors.Is(err, unix.ENOENT) && folder != "/"; err = unix.Statfs(folder, s) {
		folder = filepath.Dir(folder)
	}
	return err
}
