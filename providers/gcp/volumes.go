package gcp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

type volumes struct{ p *Provider }

// defaultType is the type of volumes unless the spec asks for another.
const defaultType = "pd-balanced"

// volume is a disk as the contract has it. Where it is attached, only its instance says: nil if it is at none.
func volume(d *computepb.Disk, at *computepb.Instance) providers.Volume {
	r := ref{last(d.GetZone()), d.GetName(), d.GetId()}
	o := providers.Volume{Meta: meta(r, unlabel(d.GetLabels())), SizeGiB: int(d.GetSizeGb()), Type: last(d.GetType()), Zone: r.place}
	o.Partial = d.GetStatus() != "READY"
	if d.GetSourceSnapshot() != "" {
		num, _ := strconv.ParseUint(d.GetSourceSnapshotId(), 10, 64)
		o.Snapshot = ref{globalPlace, last(d.GetSourceSnapshot()), num}.id()
	}
	for _, a := range at.GetDisks() {
		if last(a.GetSource()) == d.GetName() {
			o.Machine = ref{last(at.GetZone()), at.GetName(), at.GetId()}.id()
			o.Device = "/dev/disk/by-id/google-" + a.GetDeviceName()
		}
	}
	return o
}

// whole returns the disk with where it is attached.
func (p *Provider) whole(ctx context.Context, d *computepb.Disk) (providers.Volume, error) {
	for _, user := range d.GetUsers() {
		i, err := p.instanceAt(ctx, last(d.GetZone()), last(user))
		if err != nil && !gone(err) {
			return providers.Volume{}, err
		}
		if err == nil {
			return volume(d, i), nil
		}
	}
	return volume(d, nil), nil
}

func (p *Provider) diskAt(ctx context.Context, zone, name string) (*computepb.Disk, error) {
	return get(ctx, p, func() (*computepb.Disk, error) {
		return p.api.disks.Get(ctx, &computepb.GetDiskRequest{Project: p.o.Project, Zone: zone, Disk: name})
	})
}

// disk returns the one of that ID; NotFound if it is gone.
func (p *Provider) disk(ctx context.Context, id providers.ID) (*computepb.Disk, error) {
	r, err := refOf(providers.VolumeNoun, id)
	if err != nil {
		return nil, err
	}
	d, err := p.diskAt(ctx, r.place, r.name)
	if err == nil && d.GetId() != r.num {
		return nil, fail(providers.NotFound, "disk %s: there is another one of the name, %d", id, d.GetId())
	}
	return d, err
}

// disks returns those of the region that the filter finds.
func (p *Provider) disks(ctx context.Context, filter *string) (all []*computepb.Disk, err error) {
	pairs, err := collect(ctx, p, func() func() (compute.DisksScopedListPair, error) {
		return p.api.disks.AggregatedList(ctx, &computepb.AggregatedListDisksRequest{Project: p.o.Project, Filter: filter}).Next
	})
	for _, pair := range pairs {
		for _, d := range pair.Value.GetDisks() {
			if strings.HasPrefix(last(d.GetZone()), p.o.Region+"-") {
				all = append(all, d)
			}
		}
	}
	return all, err
}

// Get returns the volume as it is.
func (w volumes) Get(ctx context.Context, id providers.ID) (o providers.Volume, err error) {
	defer about(providers.GetVerb, providers.VolumeNoun, string(id), &err)
	d, err := w.p.disk(ctx, id)
	if err != nil {
		return o, err
	}
	return w.p.whole(ctx, d)
}

// List returns the owner's volumes in the region.
func (w volumes) List(ctx context.Context, o providers.Owner) (all []providers.Volume, err error) {
	defer about(providers.ListVerb, providers.VolumeNoun, string(o), &err)
	found, err := w.p.disks(ctx, filter(providers.VolumeNoun, o))
	if err != nil {
		return nil, err
	}
	at := map[string]*computepb.Instance{}
	for _, d := range found {
		for _, user := range d.GetUsers() {
			if at[user] == nil {
				if at[user], err = w.p.instanceAt(ctx, last(d.GetZone()), last(user)); ignoring(err) != nil {
					return nil, err
				}
			}
			all = append(all, volume(d, at[user]))
			break
		}
		if len(d.GetUsers()) == 0 {
			all = append(all, volume(d, nil))
		}
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// Create makes the disk.
func (w volumes) Create(ctx context.Context, spec providers.VolumeSpec) (o providers.Volume, err error) {
	defer about(providers.CreateVerb, providers.VolumeNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return o, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.VolumeNoun, spec.Key().String())
	if err != nil {
		return o, err
	}
	defer unlock()
	name := vendorName(providers.VolumeNoun, spec.Key(), "")
	found, err := w.p.disks(ctx, ptr("name = "+name))
	if err != nil {
		return o, err
	}
	exists := len(found) > 0
	zone := w.zone(spec)
	if exists {
		zone = last(found[0].GetZone())
		if o, err = w.p.whole(ctx, found[0]); err != nil || !o.Partial {
			return o, errors.Join(err, ours(o.Meta, spec.Key()), orNil(err == nil, providers.Exists))
		}
	} else {
		in, err := w.request(ctx, spec, name, zone)
		if err != nil {
			return o, err
		}
		err = w.p.do(ctx, func(id *string) (*compute.Operation, error) {
			return w.p.api.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: w.p.o.Project, Zone: zone, DiskResource: in, RequestId: id})
		})
		if exists = taken(err); err != nil && !exists {
			return o, err
		}
	}
	late := !exists
	err = w.p.wait(ctx, "disk "+name+" is not ready", func() (bool, error) {
		d, err := soon(ctx, w.p, func() (*computepb.Disk, error) { return w.p.diskAt(ctx, zone, name) })
		if err != nil {
			return false, err
		}
		if d.GetStatus() == "FAILED" {
			return false, fail(providers.Unavailable, "disk %s failed", name)
		}
		o, err = w.p.whole(ctx, d)
		late = late || o.Partial
		return !o.Partial, err
	})
	return o, errors.Join(err, orNil(err == nil, ours(o.Meta, spec.Key())), orNil(err == nil && !late, providers.Exists))
}

// orNil returns err if it is so.
func orNil(so bool, err error) error {
	if so {
		return err
	}
	return nil
}

// zone is where the volume goes.
func (w volumes) zone(spec providers.VolumeSpec) string {
	if spec.Zone == "" {
		return w.p.o.Zones[0]
	}
	return spec.Zone
}

// request says what disk to make.
func (w volumes) request(ctx context.Context, spec providers.VolumeSpec, name, zone string) (*computepb.Disk, error) {
	kind := spec.Type
	if kind == "" {
		kind = defaultType
	}
	size := spec.SizeGiB
	switch { // the least: https://cloud.google.com/compute/docs/disks/persistent-disks and …/hyperdisks
	case strings.HasPrefix(kind, "pd-"):
		size = max(size, 10)
	case strings.HasPrefix(kind, "hyperdisk-"):
		size = max(size, 4)
	}
	d := &computepb.Disk{Name: &name, SizeGb: ptr(int64(size)), Type: ptr("zones/" + zone + "/diskTypes/" + kind), Labels: labels(label(providers.VolumeNoun, spec.Key(), spec.Tags, nil))}
	d.ProvisionedIops, d.ProvisionedThroughput = number(spec.Params["iops"]), number(spec.Params["throughput"])
	if key := spec.Params["kms_key"]; key != "" {
		d.DiskEncryptionKey = &computepb.CustomerEncryptionKey{KmsKeyName: &key}
	}
	if spec.Snapshot != "" {
		s, err := w.p.snapshot(ctx, spec.Snapshot)
		if err != nil {
			return nil, err
		}
		if spec.SizeGiB < int(s.GetDiskSizeGb()) {
			return nil, fail(providers.Invalid, "%d GiB: its snapshot has %d", spec.SizeGiB, s.GetDiskSizeGb())
		}
		d.SourceSnapshot = s.SelfLink
	}
	return d, nil
}

// number reads a parameter; nil if there is none. check has seen that it is one.
func number(s string) *int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil
	}
	return &n
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
	case s.Type != "" && !nameForm.MatchString(s.Type):
		return fail(providers.Invalid, "type %q: Google has none of that name", s.Type)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Params)) {
		switch k {
		case "iops", "throughput":
			if number(s.Params[k]) == nil {
				return fail(providers.Invalid, "%s %q is no number", k, s.Params[k])
			}
		case "kms_key":
		default:
			return fail(providers.Invalid, "parameter %q: disks have iops, throughput and kms_key", k)
		}
	}
	return checkTags(providers.VolumeNoun, s.Tags)
}

// Update sets tags.
func (w volumes) Update(ctx context.Context, id providers.ID, spec providers.VolumeSpec) (_ providers.Volume, err error) {
	defer about(providers.UpdateVerb, providers.VolumeNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Volume{}, err
	}
	err = w.p.fresh(ctx, func() error {
		d, err := w.p.disk(ctx, id)
		if err != nil {
			return err
		}
		if err := changeable(volume(d, nil), spec); err != nil {
			return err
		}
		want := labels(retagged(unlabel(d.GetLabels()), label(providers.VolumeNoun, spec.Key(), spec.Tags, nil)))
		if same(d.GetLabels(), want) {
			return nil
		}
		return w.p.do(ctx, func(request *string) (*compute.Operation, error) {
			return w.p.api.disks.SetLabels(ctx, &computepb.SetLabelsDiskRequest{Project: w.p.o.Project, Zone: last(d.GetZone()), Resource: d.GetName(), RequestId: request,
				ZoneSetLabelsRequestResource: &computepb.ZoneSetLabelsRequest{Labels: want, LabelFingerprint: d.LabelFingerprint}})
		})
	})
	if err != nil {
		return providers.Volume{}, err
	}
	d, err := w.p.disk(ctx, id)
	if err != nil {
		return providers.Volume{}, err
	}
	return w.p.whole(ctx, d)
}

// changeable returns why the volume cannot become what the spec says.
func changeable(o providers.Volume, spec providers.VolumeSpec) error {
	if err := mine(o.Meta, spec.Key()); err != nil {
		return err
	}
	if spec.SizeGiB > o.SizeGiB {
		return fail(providers.Invalid, "it has %d GiB and grows by a resize, not by an update", o.SizeGiB)
	}
	for _, d := range []struct{ what, have, want string }{{"type", o.Type, spec.Type}, {"zone", o.Zone, spec.Zone}, {"snapshot", string(o.Snapshot), string(spec.Snapshot)}} {
		if d.want != "" && d.have != d.want {
			return fail(providers.Invalid, "its %s is %q and cannot be changed to %q", d.what, d.have, d.want)
		}
	}
	return nil
}

// Delete removes the volume; Conflict while it is attached.
func (w volumes) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.VolumeNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	d, err := w.p.disk(ctx, id)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(d.GetUsers()) > 0 {
		return fail(providers.Conflict, "it is attached to %s", last(d.GetUsers()[0]))
	}
	if err := ignoring(w.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return w.p.api.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: w.p.o.Project, Zone: last(d.GetZone()), Disk: d.GetName(), RequestId: request})
	})); err != nil {
		return err
	}
	return vanished(ctx, w.p, "disk "+string(id), func() (*computepb.Disk, error) { return w.p.disk(ctx, id) })
}

// Snapshots returns the snapshots.
func (w volumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	return snapshots(w)
}
