package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/provisionhq/provision/providers"
)

type volumes struct {
	objects[providers.VolumeSpec, providers.Volume]
}

func volumeKind() kind[providers.VolumeSpec, providers.Volume] {
	return kind[providers.VolumeSpec, providers.Volume]{
		noun:   providers.VolumeNoun,
		steps:  1,
		pick:   volumeTable,
		meta:   func(v *providers.Volume) *providers.Meta { return &v.Meta },
		clone:  cloneVolume,
		build:  buildVolume,
		tags:   func(s providers.VolumeSpec) map[string]string { return s.Tags },
		update: updateVolume,
		leave: func(_ *state, v providers.Volume) ([]change, error) {
			if v.Machine != "" {
				return nil, fmt.Errorf("%w: it is attached to %s", providers.Conflict, v.Machine)
			}
			return nil, nil
		},
	}
}

func cloneVolume(v providers.Volume) providers.Volume {
	v.Tags = maps.Clone(v.Tags)
	return v
}

func buildVolume(s *state, spec providers.VolumeSpec, id providers.ID) (v providers.Volume, err error) {
	size := spec.SizeGiB
	if spec.Snapshot != "" {
		r, ok := s.snapshots.rows[spec.Snapshot]
		if !ok || r.Object.Owner != spec.Owner {
			return v, fmt.Errorf("snapshot %q: %w", spec.Snapshot, providers.NotFound)
		}
		if size == 0 {
			size = r.Object.SizeGiB
		}
		if size < r.Object.SizeGiB {
			return v, fmt.Errorf("%d GiB: %w: its snapshot has %d", size, providers.Invalid, r.Object.SizeGiB)
		}
	}
	if size < 1 {
		return v, fmt.Errorf("%d GiB: %w: it must be at least 1", size, providers.Invalid)
	}
	zone := spec.Zone
	if zone == "" {
		zone = zones()[hash(string(id))%uint64(len(zones()))]
	}
	if !slices.Contains(zones(), zone) {
		return v, fmt.Errorf("zone %q: %w: there is none of that name", zone, providers.Invalid)
	}
	return providers.Volume{SizeGiB: size, Type: orElse(spec.Type, "standard"), Zone: zone, Snapshot: spec.Snapshot}, nil
}

// updateVolume changes nothing but tags; what else the spec asks for must be so already.
func updateVolume(_ *state, v *providers.Volume, spec providers.VolumeSpec) error {
	if spec.SizeGiB > v.SizeGiB {
		return fmt.Errorf("%w: a volume of %d GiB grows by a resize, not by an update", providers.Invalid, v.SizeGiB)
	}
	for _, d := range []struct{ what, have, want string }{
		{"type", v.Type, spec.Type}, {"zone", v.Zone, spec.Zone}, {"snapshot", string(v.Snapshot), string(spec.Snapshot)},
	} {
		if d.want != "" && d.have != d.want {
			return fmt.Errorf("%w: the %s of a volume cannot be changed from %q to %q", providers.Invalid, d.what, d.have, d.want)
		}
	}
	return nil
}

// updateSnapshot changes nothing but tags.
func updateSnapshot(_ *state, o *providers.Snapshot, spec providers.SnapshotSpec) error {
	if spec.Volume != "" && spec.Volume != o.Volume {
		return fmt.Errorf("%w: a snapshot stays one of volume %s", providers.Invalid, o.Volume)
	}
	return nil
}

// Attach returns Invalid if the machine is in another zone.
func (v volumes) Attach(ctx context.Context, volume, machine providers.ID) (providers.Volume, error) {
	c := providers.Call{Noun: v.noun, Verb: providers.AttachVerb, ID: volume}
	return v.change(ctx, c, func(s *state, o *providers.Volume) (bool, error) {
		m, ok := s.machines.rows[machine]
		switch {
		case !ok || m.Object.Owner != o.Owner:
			return false, fmt.Errorf("machine %q: %w", machine, providers.NotFound)
		case o.Machine == machine:
			return false, nil
		case o.Machine != "":
			return false, fmt.Errorf("%w: it is attached to %s", providers.Conflict, o.Machine)
		case m.Object.Zone != o.Zone:
			return false, fmt.Errorf("%w: the volume is in zone %s, the machine in %s", providers.Invalid, o.Zone, m.Object.Zone)
		case s.full(m.Object):
			return false, fmt.Errorf("machine %s: %w: a %s takes no more volumes", m.Object.Name, providers.Quota, m.Object.Type)
		}
		o.Machine, o.Device = machine, "/dev/disk/by-id/"+string(volume)
		return true, nil
	})
}

// full says whether the machine has as many volumes as its type takes.
func (s *state) full(m providers.Machine) bool {
	has := 0
	for _, r := range s.volumes.rows {
		if r.Object.Machine == m.ID {
			has++
		}
	}
	return slices.ContainsFunc(machineTypes(), func(t providers.MachineType) bool { return t.Name == m.Type && has >= t.Volumes })
}

// Detach returns NotFound if there is no such volume.
func (v volumes) Detach(ctx context.Context, volume, machine providers.ID) error {
	c := providers.Call{Noun: v.noun, Verb: providers.DetachVerb, ID: volume}
	_, err := v.change(ctx, c, func(_ *state, o *providers.Volume) (bool, error) {
		if o.Machine != machine || machine == "" {
			return false, nil
		}
		o.Machine, o.Device = "", ""
		return true, nil
	})
	return err
}

// Resize changes the size at once.
func (v volumes) Resize(ctx context.Context, volume providers.ID, sizeGiB int) (providers.Volume, error) {
	c := providers.Call{Noun: v.noun, Verb: providers.ResizeVerb, ID: volume}
	return v.change(ctx, c, func(_ *state, o *providers.Volume) (bool, error) {
		if sizeGiB < o.SizeGiB {
			return false, fmt.Errorf("%d GiB: %w: it has %d and never shrinks", sizeGiB, providers.Invalid, o.SizeGiB)
		}
		changed := sizeGiB > o.SizeGiB
		o.SizeGiB = sizeGiB
		return changed, nil
	})
}

// Snapshots returns the snapshots.
func (v volumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	if v.fake.lacks("snapshot") {
		return providers.NoSnapshots{}
	}
	return objects[providers.SnapshotSpec, providers.Snapshot]{v.fake, snapshotKind()}
}

func snapshotKind() kind[providers.SnapshotSpec, providers.Snapshot] {
	return kind[providers.SnapshotSpec, providers.Snapshot]{
		noun:  providers.SnapshotNoun,
		steps: 1,
		pick:  snapshotTable,
		meta:  func(s *providers.Snapshot) *providers.Meta { return &s.Meta },
		clone: func(s providers.Snapshot) providers.Snapshot {
			s.Tags = maps.Clone(s.Tags)
			return s
		},
		build: func(s *state, spec providers.SnapshotSpec, _ providers.ID) (providers.Snapshot, error) {
			r, ok := s.volumes.rows[spec.Volume]
			if !ok || r.Object.Owner != spec.Owner {
				return providers.Snapshot{}, fmt.Errorf("volume %q: %w", spec.Volume, providers.NotFound)
			}
			return providers.Snapshot{Volume: spec.Volume, SizeGiB: r.Object.SizeGiB, CreatedUnix: time.Now().Unix()}, nil
		},
		tags:   func(s providers.SnapshotSpec) map[string]string { return s.Tags },
		update: updateSnapshot,
		leave:  free[providers.Snapshot],
	}
}
