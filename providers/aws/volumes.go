package aws

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

type volumes struct{ p *Provider }

// volume is an EBS volume as the contract has it.
func volume(v types.Volume) providers.Volume {
	o := providers.Volume{Meta: meta(aws.ToString(v.VolumeId), read(v.Tags)), SizeGiB: int(aws.ToInt32(v.Size)), Type: string(v.VolumeType),
		Zone: aws.ToString(v.AvailabilityZone), Snapshot: providers.ID(aws.ToString(v.SnapshotId))}
	o.Partial = v.State == types.VolumeStateCreating || v.State == types.VolumeStateError || v.State == types.VolumeStateDeleting
	for _, a := range v.Attachments {
		if a.State != types.VolumeAttachmentStateDetached {
			o.Machine = providers.ID(aws.ToString(a.InstanceId))
			o.Device = serial(aws.ToString(v.VolumeId))
		}
	}
	return o
}

// serial is how a machine on Nitro sees a volume: its NVMe disk's serial number is the volume's ID without the dash.
func serial(id string) string {
	return "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(id, "-", "")
}

// volume returns the one of that ID; NotFound if it is gone.
func (p *Provider) volume(ctx context.Context, id providers.ID) (v types.Volume, err error) {
	if !isID(string(id), "vol") {
		return v, fail(providers.NotFound, "%q is not the ID of a volume", id)
	}
	out, err := p.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{string(id)}})
	if err != nil {
		return v, err
	}
	if len(out.Volumes) == 0 || out.Volumes[0].State == types.VolumeStateDeleted {
		return v, fail(providers.NotFound, "volume %s", id)
	}
	return out.Volumes[0], nil
}

// Get returns the volume as it is.
func (w volumes) Get(ctx context.Context, id providers.ID) (_ providers.Volume, err error) {
	defer about(providers.GetVerb, providers.VolumeNoun, string(id), &err)
	v, err := w.p.volume(ctx, id)
	if err != nil {
		return providers.Volume{}, err
	}
	return volume(v), nil
}

func (w volumes) find(ctx context.Context, k providers.Key) ([]types.Volume, error) {
	return collect(ctx, ec2.NewDescribeVolumesPaginator(w.p.ec2, &ec2.DescribeVolumesInput{Filters: owned(providers.VolumeNoun, k)}),
		func(o *ec2.DescribeVolumesOutput) []types.Volume { return o.Volumes })
}

// List returns the owner's volumes.
func (w volumes) List(ctx context.Context, o providers.Owner) (all []providers.Volume, err error) {
	defer about(providers.ListVerb, providers.VolumeNoun, string(o), &err)
	found, err := w.find(ctx, providers.Key{Owner: o})
	for _, v := range found {
		all = append(all, volume(v))
	}
	slices.SortFunc(all, byName)
	return all, err
}

// Create makes the volume. Params are iops and throughput, which are numbers, and kms_key.
func (w volumes) Create(ctx context.Context, spec providers.VolumeSpec) (_ providers.Volume, err error) {
	defer about(providers.CreateVerb, providers.VolumeNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Volume{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.VolumeNoun, spec.Key().String())
	if err != nil {
		return providers.Volume{}, err
	}
	defer unlock()
	id, err := w.there(ctx, spec.Key())
	if err != nil {
		return providers.Volume{}, err
	}
	exists := id != ""
	if !exists {
		if id, err = w.make(ctx, spec); err != nil {
			return providers.Volume{}, err
		}
		w.p.made.note(providers.VolumeNoun, spec.Key(), id)
	}
	var o providers.Volume
	late := false
	err = w.p.wait(ctx, "volume "+id+" is not available", func() (bool, error) {
		v, err := w.p.volume(ctx, providers.ID(id))
		if gone(err) {
			late = true
			return false, nil
		}
		if o = volume(v); err == nil && v.State == types.VolumeStateError {
			return false, fail(providers.Unavailable, "volume %s failed", id)
		}
		late = late || o.Partial
		return !o.Partial, err
	})
	if err == nil && exists && !late {
		err = providers.Exists
	}
	return o, err
}

// there returns the ID of the owner's volume of that name, if there is one.
func (w volumes) there(ctx context.Context, k providers.Key) (string, error) {
	if id := w.p.made.recent(providers.VolumeNoun, k, w.p.o.Lag); id != "" {
		err := w.p.soon(ctx, func() error { _, err := w.p.volume(ctx, providers.ID(id)); return err })
		if err == nil || !gone(err) {
			return id, err
		}
	}
	all, err := w.find(ctx, k)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return aws.ToString(all[0].VolumeId), nil
}

// make makes a volume, of the first generation that AWS does not remember of one that is gone.
func (w volumes) make(ctx context.Context, spec providers.VolumeSpec) (string, error) {
	in := &ec2.CreateVolumeInput{AvailabilityZone: &spec.Zone, VolumeType: types.VolumeType(spec.Type), TagSpecifications: specified(types.ResourceTypeVolume, label(providers.VolumeNoun, spec.Key(), spec.Tags, nil))}
	if spec.Zone == "" {
		in.AvailabilityZone = &w.p.o.Zones[0]
	}
	if spec.Type == "" {
		in.VolumeType = types.VolumeTypeGp3
	}
	if spec.SizeGiB > 0 {
		in.Size = ptr(int32(spec.SizeGiB))
	}
	if spec.Encrypted || spec.Params["kms_key"] != "" {
		in.Encrypted = ptr(true)
	}
	if k := spec.Params["kms_key"]; k != "" {
		in.KmsKeyId = &k
	}
	in.Iops, in.Throughput = number(spec.Params["iops"]), number(spec.Params["throughput"])
	if spec.Snapshot != "" {
		in.SnapshotId = ptr(string(spec.Snapshot))
		n, err := w.p.snapshot(ctx, spec.Snapshot)
		if err != nil {
			return "", err
		}
		if have := int(aws.ToInt32(n.VolumeSize)); spec.SizeGiB < have {
			return "", fail(providers.Invalid, "%d GiB: its snapshot has %d", spec.SizeGiB, have)
		}
	}
	for g := w.p.made.generation(providers.VolumeNoun, spec.Key()); ; g++ {
		in.ClientToken = tokenFor(providers.VolumeNoun, spec.Key(), g, "")
		out, err := w.p.ec2.CreateVolume(ctx, in)
		if is(err, "IdempotentParameterMismatch") && g < 20 {
			if id, e := w.there(ctx, spec.Key()); id != "" || e != nil {
				return id, e
			}
			continue
		}
		if err != nil {
			return "", err
		}
		id := aws.ToString(out.VolumeId)
		err = w.p.soon(ctx, func() error { _, err := w.p.volume(ctx, providers.ID(id)); return err })
		if !gone(err) || g >= 20 {
			return id, err
		}
	}
}

// number reads a parameter; nil if there is none. check has seen that it is one.
func number(s string) *int32 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return nil
	}
	return ptr(int32(n))
}

// check returns why there can be no such volume.
func (w volumes) check(s providers.VolumeSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	switch {
	case s.SizeGiB < 1 || s.SizeGiB > 65536:
		return fail(providers.Invalid, "%d GiB: it can have from 1 to 65536", s.SizeGiB)
	case s.Zone != "" && !slices.Contains(w.p.Caps().Zones, s.Zone):
		return fail(providers.Invalid, "zone %q: region %s has %s", s.Zone, w.p.o.Region, strings.Join(w.p.Caps().Zones, ", "))
	case s.Type != "" && !slices.Contains(types.VolumeType("").Values(), types.VolumeType(s.Type)):
		return fail(providers.Invalid, "type %q: EBS has none of that name", s.Type)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Params)) {
		switch k {
		case "iops", "throughput":
			if number(s.Params[k]) == nil {
				return fail(providers.Invalid, "%s %q is no number", k, s.Params[k])
			}
		case "kms_key":
		default:
			return fail(providers.Invalid, "parameter %q: EBS has iops, throughput and kms_key", k)
		}
	}
	return checkTags(s.Tags)
}

// Update sets tags.
func (w volumes) Update(ctx context.Context, id providers.ID, spec providers.VolumeSpec) (_ providers.Volume, err error) {
	defer about(providers.UpdateVerb, providers.VolumeNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Volume{}, err
	}
	v, err := w.p.volume(ctx, id)
	if err != nil {
		return providers.Volume{}, err
	}
	o := volume(v)
	if err := mine(o.Meta, spec.Key(), func() (providers.ID, error) {
		all, err := w.find(ctx, spec.Key())
		if err != nil || len(all) == 0 {
			return "", err
		}
		return providers.ID(aws.ToString(all[0].VolumeId)), nil
	}); err != nil {
		return providers.Volume{}, err
	}
	if spec.SizeGiB > o.SizeGiB {
		return providers.Volume{}, fail(providers.Invalid, "it has %d GiB and grows by a resize, not by an update", o.SizeGiB)
	}
	for _, d := range []struct{ what, have, want string }{{"type", o.Type, spec.Type}, {"zone", o.Zone, spec.Zone}, {"snapshot", string(o.Snapshot), string(spec.Snapshot)}} {
		if d.want != "" && d.have != d.want {
			return providers.Volume{}, fail(providers.Invalid, "its %s is %q and cannot be changed to %q", d.what, d.have, d.want)
		}
	}
	if err := w.p.retag(ctx, string(id), read(v.Tags), label(providers.VolumeNoun, spec.Key(), spec.Tags, nil)); err != nil {
		return providers.Volume{}, err
	}
	if v, err = w.p.volume(ctx, id); err != nil {
		return providers.Volume{}, err
	}
	return volume(v), nil
}

// Delete removes the volume; Conflict while it is attached.
func (w volumes) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.VolumeNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	v, err := w.p.volume(ctx, id)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	o := volume(v)
	if o.Machine != "" {
		return fail(providers.Conflict, "it is attached to %s", o.Machine)
	}
	if v.State != types.VolumeStateDeleting {
		if _, err := w.p.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: ptr(string(id))}); ignoring(err) != nil {
			return err
		}
	}
	if err := w.p.wait(ctx, "volume "+string(id)+" is still there", func() (bool, error) {
		_, err := w.p.volume(ctx, id)
		if gone(err) {
			return true, nil
		}
		return false, err
	}); err != nil {
		return err
	}
	w.p.made.drop(providers.VolumeNoun, providers.Key{Owner: o.Owner, Name: o.Name})
	return nil
}

// Attach connects the volume to the machine, under a name that no other of the machine's volumes has.
func (w volumes) Attach(ctx context.Context, id, m providers.ID) (_ providers.Volume, err error) {
	defer about(providers.AttachVerb, providers.VolumeNoun, string(id), &err)
	unlock, err := w.p.keys.lock(ctx, providers.MachineNoun, "devices of "+string(m))
	if err != nil {
		return providers.Volume{}, err
	}
	defer unlock()
	v, err := w.p.volume(ctx, id)
	if err != nil {
		return providers.Volume{}, err
	}
	i, err := w.p.instance(ctx, m)
	if err != nil {
		return providers.Volume{}, err
	}
	switch o := volume(v); {
	case o.Machine == "":
		device, err := vacant(i)
		if err != nil {
			return providers.Volume{}, err
		}
		if _, err := w.p.ec2.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: ptr(string(id)), InstanceId: ptr(string(m)), Device: &device}); err != nil {
			return providers.Volume{}, err
		}
	case o.Machine != m:
		return providers.Volume{}, fail(providers.Conflict, "it is attached to %s", o.Machine)
	}
	var o providers.Volume
	err = w.p.wait(ctx, "volume "+string(id)+" is not attached", func() (bool, error) {
		v, err := w.p.volume(ctx, id)
		o = volume(v)
		return o.Machine == m && v.Attachments[0].State == types.VolumeAttachmentStateAttached, err
	})
	return o, err
}

// vacant returns a device name that is free. Names from f to p are for volumes:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
func vacant(i types.Instance) (string, error) {
	for _, second := range "abcdefghijklmnopqrstuvwxyz" {
		for _, first := range "bcd" {
			name := "/dev/xvd" + string(first) + string(second)
			if !slices.ContainsFunc(i.BlockDeviceMappings, func(b types.InstanceBlockDeviceMapping) bool { return aws.ToString(b.DeviceName) == name }) {
				return name, nil
			}
		}
	}
	return "", fail(providers.Quota, "machine %s has no device name left", aws.ToString(i.InstanceId))
}

// Detach disconnects the volume from the machine and waits until that is done.
func (w volumes) Detach(ctx context.Context, id, m providers.ID) (err error) {
	defer about(providers.DetachVerb, providers.VolumeNoun, string(id), &err)
	v, err := w.p.volume(ctx, id)
	if err != nil {
		return err
	}
	if volume(v).Machine != m || m == "" {
		return nil
	}
	_, err = w.p.ec2.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: ptr(string(id)), InstanceId: ptr(string(m))})
	if err != nil && !is(err, "IncorrectState") {
		return ignoring(err)
	}
	return w.p.wait(ctx, "volume "+string(id)+" is still attached", func() (bool, error) {
		v, err := w.p.volume(ctx, id)
		return volume(v).Machine != m, err
	})
}

// Resize grows the volume. AWS lets it grow once in six hours.
func (w volumes) Resize(ctx context.Context, id providers.ID, size int) (_ providers.Volume, err error) {
	defer about(providers.ResizeVerb, providers.VolumeNoun, string(id), &err)
	v, err := w.p.volume(ctx, id)
	if err != nil {
		return providers.Volume{}, err
	}
	o := volume(v)
	if size < o.SizeGiB {
		return providers.Volume{}, fail(providers.Invalid, "it has %d GiB and cannot shrink to %d", o.SizeGiB, size)
	}
	if size == o.SizeGiB {
		return o, nil
	}
	if _, err := w.p.ec2.ModifyVolume(ctx, &ec2.ModifyVolumeInput{VolumeId: ptr(string(id)), Size: ptr(int32(size))}); err != nil {
		return providers.Volume{}, err
	}
	err = w.p.wait(ctx, "volume "+string(id)+" has not grown", func() (bool, error) {
		v, err := w.p.volume(ctx, id)
		o = volume(v)
		return o.SizeGiB >= size, err
	})
	return o, err
}

// Snapshots returns the snapshots.
func (w volumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	return snapshots(w)
}
