package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"

	"github.com/provisionhq/provision/providers"
)

// Attach connects the volume to the machine, under a number that no other of the machine's disks has.
func (w volumes) Attach(ctx context.Context, of, machine providers.ID) (_ providers.Volume, err error) {
	defer about(providers.AttachVerb, providers.VolumeNoun, string(of), &err)
	unlock, err := w.p.keys.lock(ctx, providers.MachineNoun, "disks of "+string(machine))
	if err != nil {
		return providers.Volume{}, err
	}
	defer unlock()
	o, d, err := w.p.whole(ctx, of)
	if err != nil {
		return providers.Volume{}, err
	}
	v, err := w.p.machine(ctx, machine)
	if err == nil && v.vm == nil {
		err = fail(providers.NotFound, "machine %s has no virtual machine yet", machine)
	}
	if err != nil {
		return providers.Volume{}, err
	}
	if o.Machine != "" && o.Machine != machine {
		return providers.Volume{}, fail(providers.Conflict, "it is attached to %s", o.Machine)
	}
	if o.Machine == "" {
		lun, err := vacantLUN(v)
		if err != nil {
			return providers.Volume{}, err
		}
		if err := w.change(ctx, v, armcompute.AttachDetachDataDisksRequest{DataDisksToAttach: []*armcompute.DataDisksToAttach{{DiskID: d.ID, Lun: &lun}}}); err != nil {
			return providers.Volume{}, err
		}
	}
	err = w.p.wait(ctx, "volume "+string(of)+" is not attached", func() (_ bool, err error) {
		o, _, err = w.p.whole(ctx, of)
		return o.Machine == machine, err
	})
	return o, err
}

// change attaches or detaches disks.
func (w volumes) change(ctx context.Context, v *vm, in armcompute.AttachDetachDataDisksRequest) error {
	return w.p.settled(ctx, func() error {
		poller, err := w.p.vms.BeginAttachDetachDataDisks(ctx, v.group, v.name, in, nil)
		_, err = done(ctx, w.p, poller, err)
		return err
	})
}

// vacantLUN returns a number that is free: Azure has 64.
func vacantLUN(v *vm) (int32, error) {
	taken := map[int32]bool{}
	if v.vm.Properties != nil && v.vm.Properties.StorageProfile != nil {
		for _, d := range v.vm.Properties.StorageProfile.DataDisks {
			taken[val(d.Lun)] = true
		}
	}
	for n := range int32(64) {
		if !taken[n] {
			return n, nil
		}
	}
	return 0, fail(providers.Quota, "machine %s has 64 disks", v.name)
}

// Detach disconnects the volume from the machine.
func (w volumes) Detach(ctx context.Context, of, machine providers.ID) (err error) {
	defer about(providers.DetachVerb, providers.VolumeNoun, string(of), &err)
	unlock, err := w.p.keys.lock(ctx, providers.MachineNoun, "disks of "+string(machine))
	if err != nil {
		return err
	}
	defer unlock()
	o, d, err := w.p.whole(ctx, of)
	if err != nil {
		return err
	}
	if o.Machine != machine {
		return nil
	}
	v, err := w.p.machine(ctx, machine)
	if err == nil {
		err = w.change(ctx, v, armcompute.AttachDetachDataDisksRequest{DataDisksToDetach: []*armcompute.DataDisksToDetach{{DiskID: d.ID}}})
	}
	if ignoring(err) != nil {
		return err
	}
	return w.p.wait(ctx, "volume "+string(of)+" is still attached", func() (bool, error) {
		d, err := w.p.disk(ctx, of)
		return err == nil && val(d.ManagedBy) == "", err
	})
}

// Resize grows the volume.
func (w volumes) Resize(ctx context.Context, of providers.ID, sizeGiB int) (_ providers.Volume, err error) {
	defer about(providers.ResizeVerb, providers.VolumeNoun, string(of), &err)
	o, d, err := w.p.whole(ctx, of)
	if err != nil {
		return providers.Volume{}, err
	}
	switch {
	case sizeGiB < o.SizeGiB:
		return providers.Volume{}, fail(providers.Invalid, "it has %d GiB and cannot shrink to %d", o.SizeGiB, sizeGiB)
	case sizeGiB > 65536:
		return providers.Volume{}, fail(providers.Invalid, "%d GiB: Azure has up to 65536", sizeGiB)
	case sizeGiB == o.SizeGiB:
		return o, nil
	}
	err = w.p.settled(ctx, func() error {
		poller, err := w.p.disks.BeginUpdate(ctx, part(val(d.ID), "resourceGroups"), val(d.Name),
			armcompute.DiskUpdate{Properties: &armcompute.DiskUpdateProperties{DiskSizeGB: ptr(int32(sizeGiB))}}, nil)
		_, err = done(ctx, w.p, poller, err)
		return err
	})
	if err != nil {
		return providers.Volume{}, err
	}
	err = w.p.wait(ctx, "volume "+string(of)+" has not grown", func() (_ bool, err error) {
		o, _, err = w.p.whole(ctx, of)
		return o.SizeGiB >= sizeGiB, err
	})
	return o, err
}

// Snapshots returns the snapshots.
func (w volumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	return snapshots(w)
}
