package providertest

import (
	"context"
	"fmt"
	"time"

	"github.com/provisionhq/provision/providers"
)

func snapshotsOf(s *suite) *kind[providers.SnapshotSpec, providers.Snapshot] {
	return &kind[providers.SnapshotSpec, providers.Snapshot]{
		noun: providers.SnapshotNoun,
		objects: func() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
			return s.Provider.Volumes().Snapshots()
		},
		spec: func(ctx context.Context, owner providers.Owner, name string) (spec providers.SnapshotSpec, err error) {
			v, err := s.volumes.of(ctx, owner)
			return providers.SnapshotSpec{Owner: owner, Name: name, Volume: v.id(), Tags: someTags()}, err
		},
		edit: func(n *providers.SnapshotSpec) (*providers.Owner, *string, *map[string]string) {
			return &n.Owner, &n.Name, &n.Tags
		},
		same: func(spec providers.SnapshotSpec, n providers.Snapshot) error {
			if n.Volume != spec.Volume || n.SizeGiB < 1 {
				return fmt.Errorf("the snapshot has %d GiB of volume %q, want some of %q", n.SizeGiB, n.Volume, spec.Volume)
			}
			return nil
		},
	}
}

// id returns the object's ID, none if there is none.
func (m *made[S, O]) id() providers.ID {
	if m == nil {
		return ""
	}
	return m.got.GetMeta().ID
}

func snapshotCases() []Case {
	n := providers.SnapshotNoun
	of := func(s *suite) *kind[providers.SnapshotSpec, providers.Snapshot] { return s.snapshots }
	return append(generic(n, of),
		Case{Name: "snapshot/update-volume", noun: n, run: cannotUpdate(of, "Update to another volume", func(n *providers.SnapshotSpec) { n.Volume = "none-such" }),
			Rule: "Update to another volume must return Invalid and change nothing, because a snapshot stays what it was taken of."},
		Case{Name: "snapshot/time", noun: n, run: trySnapshotTime,
			Rule: "A snapshot must say when it was made, within a day of now, because the newest is restored and the oldest deleted."},
		Case{Name: "snapshot/volume-missing", noun: n, run: trySnapshotMissing,
			Rule: "A snapshot of a volume that there is not must return NotFound or Invalid and make nothing, because it would hold nothing."},
		Case{Name: "snapshot/restore", noun: n, run: tryRestore,
			Rule: "A volume made from a snapshot must name it and have at least its size, because all its data must fit."},
		Case{Name: "snapshot/restore-missing", noun: n, run: tryRestoreMissing,
			Rule: "A volume from a snapshot that there is not must return NotFound or Invalid and make nothing, because an empty volume in its place looks like lost data."},
		Case{Name: "snapshot/restore-smaller", noun: n, run: tryRestoreSmaller,
			Rule: "A volume smaller than its snapshot must return Invalid and make nothing, because the data does not fit."},
		Case{Name: "snapshot/outlives-volume", noun: n, run: tryOutlivesVolume,
			Rule: "A snapshot must outlive its volume, because it is made for the day when the volume is gone."},
	)
}

func trySnapshotTime(ctx context.Context, s *suite) error {
	n, err := s.snapshots.of(ctx, s.owner)
	if err != nil {
		return err
	}
	if age := time.Since(time.Unix(n.got.CreatedUnix, 0)); age.Abs() > 24*time.Hour {
		return fmt.Errorf("the snapshot was made %s ago", age)
	}
	return nil
}

func trySnapshotMissing(ctx context.Context, s *suite) error {
	spoil := func(n *providers.SnapshotSpec) { n.Volume = "none-such" }
	return s.snapshots.refuses(ctx, s, "Create of a volume that there is not", spoil, providers.NotFound, providers.Invalid)
}

func tryRestore(ctx context.Context, s *suite) error {
	n, err := s.snapshots.of(ctx, s.owner)
	if err != nil {
		return err
	}
	spec, err := s.volumeSpec(ctx, s.owner, s.volumes.name("l-restored"))
	if err != nil {
		return unmet("a spec", err)
	}
	spec.Snapshot, spec.SizeGiB = n.got.ID, n.got.SizeGiB+1
	v, err := s.Provider.Volumes().Create(ctx, spec)
	if err != nil {
		return fmt.Errorf("Create from a snapshot: %w", err)
	}
	if v.Snapshot != n.got.ID || v.SizeGiB < spec.SizeGiB {
		return fmt.Errorf("the volume has %d GiB from snapshot %q, want %d from %q", v.SizeGiB, v.Snapshot, spec.SizeGiB, n.got.ID)
	}
	return nil
}

func tryRestoreMissing(ctx context.Context, s *suite) error {
	spoil := func(v *providers.VolumeSpec) { v.Snapshot = "none-such" }
	return s.volumes.refuses(ctx, s, "Create from a snapshot that there is not", spoil, providers.NotFound, providers.Invalid)
}

func tryRestoreSmaller(ctx context.Context, s *suite) error {
	n, err := s.snapshots.of(ctx, s.owner)
	if err != nil {
		return err
	}
	spoil := func(v *providers.VolumeSpec) { v.Snapshot, v.SizeGiB = n.got.ID, n.got.SizeGiB-1 }
	return s.volumes.refuses(ctx, s, "Create of a volume smaller than its snapshot", spoil, providers.Invalid)
}

func tryOutlivesVolume(ctx context.Context, s *suite) error {
	v, err := s.volumes.make(ctx, s.owner, s.volumes.name("m-short"))
	if err != nil {
		return unmet("a volume", err)
	}
	spec := providers.SnapshotSpec{Owner: s.owner, Name: s.snapshots.name("m-long"), Volume: v.got.ID}
	n, err := s.Provider.Volumes().Snapshots().Create(ctx, spec)
	if err != nil {
		return unmet("a snapshot", err)
	}
	if err := s.Provider.Volumes().Delete(ctx, v.got.ID); err != nil {
		return fmt.Errorf("Delete of a volume that has a snapshot: %w", err)
	}
	if _, err := s.Provider.Volumes().Snapshots().Get(ctx, n.ID); err != nil {
		return fmt.Errorf("Get of a snapshot whose volume is gone: %w", err)
	}
	return nil
}
