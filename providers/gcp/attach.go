package gcp

import (
	"context"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// Attach connects the volume to the machine. The machine's system finds it by the disk's name.
func (w volumes) Attach(ctx context.Context, id, m providers.ID) (o providers.Volume, err error) {
	defer about(providers.AttachVerb, providers.VolumeNoun, string(id), &err)
	unlock, err := w.p.keys.lock(ctx, providers.MachineNoun, "disks of "+string(m))
	if err != nil {
		return o, err
	}
	defer unlock()
	d, err := w.p.disk(ctx, id)
	if err != nil {
		return o, err
	}
	i, err := w.p.instance(ctx, m)
	if err != nil {
		return o, err
	}
	if last(i.GetZone()) != last(d.GetZone()) {
		return o, fail(providers.Invalid, "it is in zone %s and machine %s in %s", last(d.GetZone()), i.GetName(), last(i.GetZone()))
	}
	if o, err = w.p.whole(ctx, d); err != nil {
		return o, err
	}
	switch o.Machine {
	case m:
		return o, nil
	case "":
		err = w.p.do(ctx, func(request *string) (*compute.Operation, error) {
			return w.p.api.instances.AttachDisk(ctx, &computepb.AttachDiskInstanceRequest{Project: w.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), RequestId: request,
				AttachedDiskResource: &computepb.AttachedDisk{Source: d.SelfLink, DeviceName: d.Name, AutoDelete: ptr(false)}})
		})
		if err != nil {
			return o, err
		}
	default:
		return o, fail(providers.Conflict, "it is attached to %s", o.Machine)
	}
	err = w.p.wait(ctx, "volume "+string(id)+" is not attached", func() (bool, error) {
		d, err := w.p.disk(ctx, id)
		if err == nil {
			o, err = w.p.whole(ctx, d)
		}
		return o.Machine == m, err
	})
	return o, err
}

// Detach disconnects the volume from the machine and waits until that is done.
func (w volumes) Detach(ctx context.Context, id, m providers.ID) (err error) {
	defer about(providers.DetachVerb, providers.VolumeNoun, string(id), &err)
	d, err := w.p.disk(ctx, id)
	if err != nil {
		return err
	}
	o, err := w.p.whole(ctx, d)
	if err != nil || o.Machine != m || m == "" {
		return err
	}
	err = w.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return w.p.api.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: w.p.o.Project, Zone: last(d.GetZone()), Instance: last(d.GetUsers()[0]),
			DeviceName: strings.TrimPrefix(o.Device, "/dev/disk/by-id/google-"), RequestId: request})
	})
	if ignoring(err) != nil {
		return err
	}
	return w.p.wait(ctx, "volume "+string(id)+" is still attached", func() (bool, error) {
		d, err := w.p.disk(ctx, id)
		if err != nil {
			return false, err
		}
		o, err := w.p.whole(ctx, d)
		return o.Machine != m, err
	})
}

// Resize grows the volume.
func (w volumes) Resize(ctx context.Context, id providers.ID, size int) (o providers.Volume, err error) {
	defer about(providers.ResizeVerb, providers.VolumeNoun, string(id), &err)
	d, err := w.p.disk(ctx, id)
	if err != nil {
		return o, err
	}
	if o, err = w.p.whole(ctx, d); err != nil || size == o.SizeGiB {
		return o, err
	}
	if size < o.SizeGiB {
		return o, fail(providers.Invalid, "it has %d GiB and cannot shrink to %d", o.SizeGiB, size)
	}
	err = w.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return w.p.api.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: w.p.o.Project, Zone: last(d.GetZone()), Disk: d.GetName(), RequestId: request,
			DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: ptr(int64(size))}})
	})
	if err != nil {
		return o, err
	}
	err = w.p.wait(ctx, "volume "+string(id)+" has not grown", func() (bool, error) {
		d, err := w.p.disk(ctx, id)
		if err == nil {
			o, err = w.p.whole(ctx, d)
		}
		return o.SizeGiB >= size, err
	})
	return o, err
}
