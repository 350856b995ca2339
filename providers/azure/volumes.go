package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"

	"github.com/provisionhq/provision/providers"
)

type volumes struct{ p *Provider }

// volume is a managed disk as the contract has it. Where it is attached, the virtual machine knows best.
func (p *Provider) volume(d *armcompute.Disk, v *vm) providers.Volume {
	tags := read(d.Tags)
	o := providers.Volume{Meta: meta(id{part(val(d.ID), "resourceGroups"), val(d.Name), ""}, tags), Zone: p.zoneOf(d.Zones), Snapshot: providers.ID(tags[copyTag])}
	if d.SKU != nil {
		o.Type = string(val(d.SKU.Name))
	}
	o.Partial = true
	if d.Properties != nil {
		o.SizeGiB = int(val(d.Properties.DiskSizeGB))
		o.Partial = val(d.Properties.ProvisioningState) != "Succeeded"
	}
	if v == nil || !v.there() {
		return o
	}
	if lun, device, ok := v.disk(val(d.ID)); ok && lun >= 0 {
		o.Machine, o.Device = v.id().ID(), device
	}
	return o
}

// disk returns where a data disk is at a machine: its number, and the path of it there.
// https://learn.microsoft.com/azure/virtual-machines/linux/azure-virtual-machine-utilities
func (v *vm) disk(resource string) (lun int32, device string, ok bool) {
	if v.vm == nil || v.vm.Properties == nil || v.vm.Properties.StorageProfile == nil {
		return 0, "", false
	}
	s := v.vm.Properties.StorageProfile
	form := "/dev/disk/azure/scsi1/lun%d"
	if val(s.DiskControllerType) == armcompute.DiskControllerTypesNVMe {
		form = "/dev/disk/azure/data/by-lun/%d"
	}
	for _, d := range s.DataDisks {
		if d.ManagedDisk != nil && strings.EqualFold(val(d.ManagedDisk.ID), resource) && !val(d.ToBeDetached) {
			return val(d.Lun), fmt.Sprintf(form, val(d.Lun)), true
		}
	}
	return 0, "", false
}

// disk returns the disk of a volume's ID; NotFound if it is gone.
func (p *Provider) disk(ctx context.Context, of providers.ID) (*armcompute.Disk, error) {
	i, err := parse(providers.VolumeNoun, of)
	if err != nil {
		return nil, err
	}
	d, err := p.disks.Get(ctx, i.group, i.name, nil)
	if err == nil && !i.fits(read(d.Tags)) {
		err = fail(providers.NotFound, "volume %s", of)
	}
	return &d.Disk, err
}

// holder returns the virtual machine that Azure says the disk is at; nil if it is at none.
func (p *Provider) holder(ctx context.Context, d *armcompute.Disk) (*vm, error) {
	at := val(d.ManagedBy)
	if at == "" {
		return nil, nil
	}
	v := &vm{group: part(at, "resourceGroups"), name: last(at)}
	m, err := p.vms.Get(ctx, v.group, v.name, nil)
	if err != nil {
		return nil, ignoring(err)
	}
	v.vm = &m.VirtualMachine
	return v, nil
}

// whole returns a volume with where it is attached.
func (p *Provider) whole(ctx context.Context, of providers.ID) (o providers.Volume, d *armcompute.Disk, err error) {
	if d, err = p.disk(ctx, of); err != nil {
		return o, d, err
	}
	v, err := p.holder(ctx, d)
	if err != nil {
		return o, d, err
	}
	return p.volume(d, v), d, nil
}

// Get returns the volume as it is.
func (w volumes) Get(ctx context.Context, of providers.ID) (_ providers.Volume, err error) {
	defer about(providers.GetVerb, providers.VolumeNoun, string(of), &err)
	o, _, err := w.p.whole(ctx, of)
	if err != nil {
		return providers.Volume{}, err
	}
	return o, nil
}

// List returns the owner's volumes.
func (w volumes) List(ctx context.Context, o providers.Owner) (all []providers.Volume, err error) {
	defer about(providers.ListVerb, providers.VolumeNoun, string(o), &err)
	found, err := collect(ctx, w.p.disks.NewListByResourceGroupPager(storageGroup(o), nil),
		func(o armcompute.DisksClientListByResourceGroupResponse) []*armcompute.Disk { return o.Value })
	if err != nil {
		return nil, ignoring(err)
	}
	holders := map[string]*vm{}
	for _, d := range found {
		if !belongs(read(d.Tags), providers.VolumeNoun, o) {
			continue
		}
		at := strings.ToLower(val(d.ManagedBy))
		if _, ok := holders[at]; !ok {
			if holders[at], err = w.p.holder(ctx, d); err != nil {
				return nil, err
			}
		}
		all = append(all, w.p.volume(d, holders[at]))
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// Create makes the disk. Params are iops and throughput, which are numbers, and disk_encryption_set, a resource ID.
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
	group := storageGroup(spec.Owner)
	var d *armcompute.Disk
	err = w.p.known(ctx, providers.VolumeNoun, spec.Key(), func() error {
		got, err := w.p.disks.Get(ctx, group, spec.Name, nil)
		d = &got.Disk
		return err
	})
	if ignoring(err) != nil {
		return providers.Volume{}, err
	}
	exists := err == nil
	if exists {
		if t := read(d.Tags); t[providers.OwnerTag] != string(spec.Owner) || t[providers.NameTag] != spec.Name {
			return providers.Volume{}, fail(providers.Conflict, "%s is there and its tags say that it is another's", val(d.ID))
		}
		if o := w.p.volume(d, nil); !o.Partial {
			o, _, err = w.p.whole(ctx, o.ID)
			return o, errors.Join(err, providers.Exists)
		}
	}
	if !exists || val(d.Properties.ProvisioningState) == "Failed" {
		if d, err = w.make(ctx, spec, group); err != nil {
			return providers.Volume{}, err
		}
		w.p.made.note(providers.VolumeNoun, spec.Key(), spec.Name)
	}
	return w.settle(ctx, w.p.volume(d, nil).ID)
}

// settle waits until a volume is complete.
func (w volumes) settle(ctx context.Context, of providers.ID) (o providers.Volume, err error) {
	err = w.p.wait(ctx, "volume "+string(of)+" is not complete", func() (bool, error) {
		got, _, err := w.p.whole(ctx, of)
		if err == nil {
			o = got
		}
		return err == nil && !o.Partial, ignoring(err)
	})
	return o, err
}

// make makes a disk, and the owner's group for storage if that is not there.
func (w volumes) make(ctx context.Context, spec providers.VolumeSpec, group string) (*armcompute.Disk, error) {
	in := armcompute.Disk{Location: &w.p.o.Location, SKU: &armcompute.DiskSKU{Name: ptr(armcompute.DiskStorageAccountTypesStandardSSDLRS)}, Properties: &armcompute.DiskProperties{
		DiskSizeGB: ptr(int32(spec.SizeGiB)), CreationData: &armcompute.CreationData{CreateOption: ptr(armcompute.DiskCreateOptionEmpty)}}}
	zone := spec.Zone
	if zone == "" && len(w.p.o.Zones) > 0 {
		zone = w.p.o.Zones[0]
	}
	in.Zones = zoned(zone)
	if spec.Type != "" {
		in.SKU.Name = ptr(armcompute.DiskStorageAccountTypes(spec.Type))
	}
	if strings.HasSuffix(spec.Type, "_ZRS") {
		in.Zones = nil
	}
	in.Properties.DiskIOPSReadWrite, in.Properties.DiskMBpsReadWrite = number(spec.Params["iops"]), number(spec.Params["throughput"])
	if set := spec.Params["disk_encryption_set"]; set != "" {
		in.Properties.Encryption = &armcompute.Encryption{DiskEncryptionSetID: &set, Type: ptr(armcompute.EncryptionTypeEncryptionAtRestWithCustomerKey)}
	}
	own := map[string]string{}
	if spec.Snapshot != "" {
		s, err := w.p.copy(ctx, spec.Snapshot)
		if err != nil {
			return nil, err
		}
		if have := int(val(s.Properties.DiskSizeGB)); spec.SizeGiB < have {
			return nil, fail(providers.Invalid, "%d GiB: its snapshot has %d", spec.SizeGiB, have)
		}
		in.Properties.CreationData = &armcompute.CreationData{CreateOption: ptr(armcompute.DiskCreateOptionCopy), SourceResourceID: s.ID}
		own[copyTag] = string(spec.Snapshot)
	}
	in.Tags = written(label(providers.VolumeNoun, spec.Key(), fresh(), spec.Tags, own))
	var made armcompute.DisksClientCreateOrUpdateResponse
	err := w.p.stored(ctx, spec.Owner, func() error {
		poller, err := w.p.disks.BeginCreateOrUpdate(ctx, group, spec.Name, in, nil)
		made, err = done(ctx, w.p, poller, err)
		return err
	})
	return &made.Disk, err
}

// number reads a parameter; nil if there is none. check has seen that it is one.
func number(s string) *int64 {
	n, err := strconv.ParseInt(s, 10, 32)
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
	case s.Zone != "" && !slices.Contains(w.p.zones(), s.Zone):
		return fail(providers.Invalid, "zone %q: location %s has %s", s.Zone, w.p.o.Location, strings.Join(w.p.zones(), ", "))
	case s.Type != "" && !slices.Contains(armcompute.PossibleDiskStorageAccountTypesValues(), armcompute.DiskStorageAccountTypes(s.Type)):
		return fail(providers.Invalid, "type %q: Azure has none of that name", s.Type)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Params)) {
		switch k {
		case "iops", "throughput":
			if number(s.Params[k]) == nil {
				return fail(providers.Invalid, "%s %q is no number", k, s.Params[k])
			}
		case "disk_encryption_set":
		default:
			return fail(providers.Invalid, "parameter %q: Azure has iops, throughput and disk_encryption_set", k)
		}
	}
	return checkTags(s.Tags)
}

// Update sets tags.
func (w volumes) Update(ctx context.Context, of providers.ID, spec providers.VolumeSpec) (_ providers.Volume, err error) {
	defer about(providers.UpdateVerb, providers.VolumeNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Volume{}, err
	}
	o, d, err := w.p.whole(ctx, of)
	if err != nil {
		return providers.Volume{}, err
	}
	if err := mine(o.Meta, spec.Key()); err != nil {
		return providers.Volume{}, err
	}
	if spec.SizeGiB > o.SizeGiB {
		return providers.Volume{}, fail(providers.Invalid, "it has %d GiB and grows by a resize, not by an update", o.SizeGiB)
	}
	for _, c := range []struct{ what, have, want string }{{"type", o.Type, spec.Type}, {"zone", o.Zone, spec.Zone}, {"snapshot", string(o.Snapshot), string(spec.Snapshot)}} {
		if c.want != "" && c.have != c.want {
			return providers.Volume{}, fail(providers.Invalid, "its %s is %q and cannot be changed to %q", c.what, c.have, c.want)
		}
	}
	i, _ := parse(providers.VolumeNoun, of)
	if err := w.p.retag(ctx, val(d.ID), read(d.Tags), label(providers.VolumeNoun, spec.Key(), i.generation, spec.Tags, nil)); err != nil {
		return providers.Volume{}, err
	}
	o, _, err = w.p.whole(ctx, of)
	return o, err
}

// Delete removes the volume; Conflict while it is attached.
func (w volumes) Delete(ctx context.Context, of providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.VolumeNoun, string(of), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	d, err := w.p.disk(ctx, of)
	if ignoring(err) != nil {
		return err
	}
	if err == nil {
		if at := val(d.ManagedBy); at != "" {
			return fail(providers.Conflict, "it is attached to %s", at)
		}
		if err := w.p.settled(ctx, func() error {
			poller, err := w.p.disks.BeginDelete(ctx, part(val(d.ID), "resourceGroups"), val(d.Name), nil)
			_, err = done(ctx, w.p, poller, err)
			return ignoring(err)
		}); err != nil {
			return err
		}
		if err := w.p.wait(ctx, "volume "+string(of)+" is still there", func() (bool, error) {
			_, err := w.p.disk(ctx, of)
			return gone(err), ignoring(err)
		}); err != nil {
			return err
		}
		k := meta(id{}, read(d.Tags))
		w.p.made.drop(providers.VolumeNoun, providers.Key{Owner: k.Owner, Name: k.Name})
	}
	return w.p.tidyOf(ctx, of)
}
