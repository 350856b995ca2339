package providertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/provisionhq/provision/providers"
)

func volumesOf(s *suite) *kind[providers.VolumeSpec, providers.Volume] {
	return &kind[providers.VolumeSpec, providers.Volume]{
		noun:    providers.VolumeNoun,
		objects: func() providers.Objects[providers.VolumeSpec, providers.Volume] { return s.Provider.Volumes() },
		spec:    s.volumeSpec,
		edit: func(v *providers.VolumeSpec) (*providers.Owner, *string, *map[string]string) {
			return &v.Owner, &v.Name, &v.Tags
		},
		same: sameVolume,
	}
}

// volumeSpec is for the zone of the first owner's shared machine.
func (s *suite) volumeSpec(ctx context.Context, owner providers.Owner, name string) (spec providers.VolumeSpec, err error) {
	m, err := s.machines.of(ctx, s.owner)
	if err != nil {
		return spec, err
	}
	spec = providers.VolumeSpec{Owner: owner, Name: name, SizeGiB: 10, Tags: someTags()}
	if len(s.Provider.Caps().Zones) > 0 {
		spec.Zone = m.got.Zone
	}
	if s.Volume != nil {
		s.Volume(&spec)
	}
	return spec, nil
}

func sameVolume(spec providers.VolumeSpec, v providers.Volume) error {
	switch {
	case v.SizeGiB < spec.SizeGiB:
		return fmt.Errorf("the volume has %d GiB, want at least %d", v.SizeGiB, spec.SizeGiB)
	case spec.Type != "" && v.Type != spec.Type, spec.Zone != "" && v.Zone != spec.Zone:
		return fmt.Errorf("the volume is of type %q in zone %q, want %q in %q", v.Type, v.Zone, spec.Type, spec.Zone)
	case v.Snapshot != spec.Snapshot:
		return fmt.Errorf("the volume is a copy of snapshot %q, want %q", v.Snapshot, spec.Snapshot)
	case v.Machine != "" || v.Device != "":
		return fmt.Errorf("a new volume is attached to %q as %q", v.Machine, v.Device)
	}
	return nil
}

func volumeCases() []Case {
	n := providers.VolumeNoun
	of := func(s *suite) *kind[providers.VolumeSpec, providers.Volume] { return s.volumes }
	return append(generic(n, of),
		Case{Name: "volume/update-size", noun: n, run: cannotUpdate(of, "Update to a larger size", func(v *providers.VolumeSpec) { v.SizeGiB += 100 }),
			Rule: "Update to more than the volume has must return Invalid and change nothing, because a volume grows by Resize, whose caller grows the file system too."},
		Case{Name: "volume/attach", noun: n, run: attached(tryAttach),
			Rule: "Attach must return the volume with its machine and device, and Get must agree, because the node looks for that device."},
		Case{Name: "volume/attach-again", noun: n, run: attached(tryAttachAgain),
			Rule: "Attaching where the volume already is must succeed, because Kubernetes asks again when an answer is lost."},
		Case{Name: "volume/attach-elsewhere", noun: n, run: attached(tryAttachElsewhere),
			Rule: "Attaching a volume that is attached elsewhere must return Conflict and leave it there, because two machines writing one disk destroy it."},
		Case{Name: "volume/attach-missing", noun: n, run: attached(tryAttachMissing),
			Rule: "Attach of a volume or to a machine that there is not must return NotFound, because Kubernetes then gives up on the one that is gone."},
		Case{Name: "volume/delete-attached", noun: n, run: attached(tryDeleteAttached),
			Rule: "Delete of an attached volume must return Conflict and leave it attached, because a machine is using it."},
		Case{Name: "volume/detach-elsewhere", noun: n, run: attached(tryDetachElsewhere),
			Rule: "Detach from a machine where the volume is not must succeed and leave it where it is, because an old request must not hurt a new one."},
		Case{Name: "volume/detach", noun: n, run: attached(tryDetach),
			Rule: "Detach must leave the volume attached to nothing, and succeed when it already is, because Kubernetes asks again when an answer is lost."},
		Case{Name: "volume/resize", noun: n, run: tryResize,
			Rule: "Resize must grow the volume to at least the size, and succeed if it has it, because the file system is grown next."},
		Case{Name: "volume/shrink", noun: n, run: tryShrink,
			Rule: "Resize to less must return Invalid and leave the size, because data would be lost."},
		Case{Name: "volume/size-invalid", noun: n, run: trySizeInvalid,
			Rule: "A size below 1 GiB must return Invalid and make nothing, because it is a mistake in a file."},
		Case{Name: "volume/outlives-machine", noun: n, run: attached(tryOutlives),
			Rule: "Deleting a machine must detach its volumes and keep them, because they hold data that the machine does not."},
	)
}

// attached tries with a volume that is attached to the first of two machines, and detaches it again.
func attached(try func(ctx context.Context, s *suite, v providers.Volume, here, elsewhere providers.Machine) error) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error {
		m, err := s.machines.of(ctx, s.owner)
		if err != nil {
			return err
		}
		other, err := s.neighbour(ctx, m.got.Zone)
		if err != nil {
			return err
		}
		v, err := s.volumes.spare(ctx, s.owner)
		if err != nil {
			return err
		}
		if _, err := s.Provider.Volumes().Attach(ctx, v.ID, other.ID); err != nil {
			return fmt.Errorf("Attach: %w", err)
		}
		if v, err = s.Provider.Volumes().Get(ctx, v.ID); err != nil {
			return unmet("Get", err)
		}
		defer func() {
			_ = s.Provider.Volumes().Detach(ctx, v.ID, other.ID)
			_ = s.Provider.Volumes().Detach(ctx, v.ID, m.got.ID)
			if _, err := s.Provider.Volumes().Get(ctx, v.ID); err == nil {
				s.volumes.spares = append(s.volumes.spares, v)
			}
		}()
		return try(ctx, s, v, other, m.got)
	}
}

// neighbour returns a spare machine in the zone, which stays one.
func (s *suite) neighbour(ctx context.Context, zone string) (m providers.Machine, err error) {
	for _, m := range s.machines.spares {
		if m.Zone == zone && m.Owner == s.owner {
			return m, nil
		}
	}
	spec, err := s.machineSpec(ctx, s.owner, s.machines.name("k-near"))
	if err != nil {
		return m, unmet("a spec", err)
	}
	if len(s.Provider.Caps().Zones) > 0 {
		spec.Zone = zone
	}
	if m, err = s.machines.objects().Create(ctx, spec); err != nil {
		return m, unmet("a second machine", err)
	}
	m.Zone = zone // that it is there has a case of its own
	s.machines.spares = append(s.machines.spares, m)
	return m, nil
}

// isAttached says in what the volume is not attached to the machine.
func (s *suite) isAttached(ctx context.Context, v providers.ID, m providers.ID) error {
	got, err := s.Provider.Volumes().Get(ctx, v)
	if err != nil {
		return fmt.Errorf("Get: %w", err)
	}
	if got.Machine != m {
		return fmt.Errorf("the volume is attached to %q, want %q", got.Machine, m)
	}
	return nil
}

func tryAttach(ctx context.Context, s *suite, v providers.Volume, here, _ providers.Machine) error {
	if err := s.isAttached(ctx, v.ID, here.ID); err != nil {
		return err
	}
	if v.Device == "" {
		return errors.New("the volume is attached and has no device")
	}
	if err := s.Provider.Volumes().Detach(ctx, v.ID, here.ID); err != nil {
		return unmet("Detach", err)
	}
	got, err := s.Provider.Volumes().Attach(ctx, v.ID, here.ID)
	if err != nil {
		return fmt.Errorf("Attach after Detach: %w", err)
	}
	if got.Machine != here.ID || got.Device == "" {
		return fmt.Errorf("Attach to %s returned machine %q and device %q", here.ID, got.Machine, got.Device)
	}
	return nil
}

func tryAttachAgain(ctx context.Context, s *suite, v providers.Volume, here, _ providers.Machine) error {
	got, err := s.Provider.Volumes().Attach(ctx, v.ID, here.ID)
	if err != nil {
		return fmt.Errorf("Attach where it is: %w", err)
	}
	if got.Machine != here.ID || got.Device != v.Device {
		return fmt.Errorf("Attach where it is returned machine %q and device %q, want %q and %q", got.Machine, got.Device, here.ID, v.Device)
	}
	return nil
}

func tryAttachElsewhere(ctx context.Context, s *suite, v providers.Volume, here, elsewhere providers.Machine) error {
	_, err := s.Provider.Volumes().Attach(ctx, v.ID, elsewhere.ID)
	if err := refused("Attach of a volume that is attached elsewhere", err, providers.Conflict); err != nil {
		return err
	}
	return s.isAttached(ctx, v.ID, here.ID)
}

func tryAttachMissing(ctx context.Context, s *suite, v providers.Volume, here, _ providers.Machine) error {
	_, err := s.Provider.Volumes().Attach(ctx, "none-such", here.ID)
	if err := refused("Attach of a volume that there is not", err, providers.NotFound); err != nil {
		return err
	}
	if err := s.Provider.Volumes().Detach(ctx, v.ID, here.ID); err != nil {
		return unmet("Detach", err)
	}
	_, err = s.Provider.Volumes().Attach(ctx, v.ID, "none-such")
	return refused("Attach to a machine that there is not", err, providers.NotFound)
}

func tryDeleteAttached(ctx context.Context, s *suite, v providers.Volume, here, _ providers.Machine) error {
	if err := refused("Delete of an attached volume", s.Provider.Volumes().Delete(ctx, v.ID), providers.Conflict); err != nil {
		return err
	}
	return s.isAttached(ctx, v.ID, here.ID)
}

func tryDetachElsewhere(ctx context.Context, s *suite, v providers.Volume, here, elsewhere providers.Machine) error {
	if err := s.Provider.Volumes().Detach(ctx, v.ID, elsewhere.ID); err != nil {
		return fmt.Errorf("Detach from where it is not: %w", err)
	}
	return s.isAttached(ctx, v.ID, here.ID)
}

func tryDetach(ctx context.Context, s *suite, v providers.Volume, here, _ providers.Machine) error {
	for _, doing := range []string{"Detach", "Detach again"} {
		if err := s.Provider.Volumes().Detach(ctx, v.ID, here.ID); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		if err := s.isAttached(ctx, v.ID, ""); err != nil {
			return fmt.Errorf("after %s: %w", doing, err)
		}
	}
	return nil
}

func tryResize(ctx context.Context, s *suite) error {
	v, err := s.volumes.spare(ctx, s.owner)
	if err != nil {
		return err
	}
	s.volumes.spares = append(s.volumes.spares, v)
	for _, size := range []int{v.SizeGiB + 2, v.SizeGiB + 2} {
		got, err := s.Provider.Volumes().Resize(ctx, v.ID, size)
		if err != nil {
			return fmt.Errorf("Resize to %d GiB: %w", size, err)
		}
		there, err := s.Provider.Volumes().Get(ctx, v.ID)
		if err != nil {
			return unmet("Get", err)
		}
		if got.SizeGiB < size || there.SizeGiB != got.SizeGiB {
			return fmt.Errorf("Resize to %d GiB returned %d, Get %d", size, got.SizeGiB, there.SizeGiB)
		}
	}
	_, err = s.Provider.Volumes().Resize(ctx, "none-such", 100)
	return refused("Resize of a volume that there is not", err, providers.NotFound)
}

func tryShrink(ctx context.Context, s *suite) error {
	v, err := s.volumes.of(ctx, s.owner)
	if err != nil {
		return err
	}
	_, err = s.Provider.Volumes().Resize(ctx, v.got.ID, v.got.SizeGiB-1)
	if err := refused("Resize to less", err, providers.Invalid); err != nil {
		return err
	}
	there, err := s.Provider.Volumes().Get(ctx, v.got.ID)
	if err != nil {
		return unmet("Get", err)
	}
	if there.SizeGiB != v.got.SizeGiB {
		return fmt.Errorf("Resize to less was refused and yet the size is %d, want %d", there.SizeGiB, v.got.SizeGiB)
	}
	return nil
}

func trySizeInvalid(ctx context.Context, s *suite) error {
	for _, size := range []int{0, -1} {
		doing := fmt.Sprintf("Create of %d GiB", size)
		spoil := func(v *providers.VolumeSpec) { v.SizeGiB = size }
		if err := s.volumes.refuses(ctx, s, doing, spoil, providers.Invalid); err != nil {
			return err
		}
	}
	return nil
}

func tryOutlives(ctx context.Context, s *suite, v providers.Volume, here, _ providers.Machine) error {
	if err := s.Provider.Machines().Delete(ctx, here.ID); err != nil {
		return unmet("Delete of the machine", err)
	}
	for i, m := range s.machines.spares {
		if m.ID == here.ID {
			s.machines.spares = append(s.machines.spares[:i:i], s.machines.spares[i+1:]...)
			break
		}
	}
	if err := s.isAttached(ctx, v.ID, ""); err != nil {
		return fmt.Errorf("after the machine was deleted: %w", err)
	}
	return nil
}
