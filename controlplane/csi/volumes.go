package csi

import (
	"context"
	"errors"
	"maps"
	"slices"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// CreateVolume makes a volume, empty or as a copy of a snapshot or a volume.
func (d *Driver) CreateVolume(ctx context.Context, r *spec.CreateVolumeRequest) (*spec.CreateVolumeResponse, error) {
	if r.GetName() == "" {
		return nil, missing("name")
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return nil, err
	}
	want, err := sizeOf(r.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	s, err := wished(r.GetParameters())
	if err != nil {
		return nil, err
	}
	zones, err := d.zones(ctx, r.GetAccessibilityRequirements())
	if err != nil {
		return nil, failure(err)
	}
	s.Owner, s.Name = d.o.Owner, nameOf(r.GetName())
	done, err := d.busy.take("volume " + s.Name)
	if err != nil {
		return nil, err
	}
	defer done()
	maps.Copy(s.Tags, d.tags(source(r.GetVolumeContentSource())))
	v, err := d.create(ctx, s, want, zones, r.GetVolumeContentSource())
	if err != nil {
		return nil, failure(err)
	}
	out := d.volume(v)
	out.ContentSource = r.GetVolumeContentSource()
	return &spec.CreateVolumeResponse{Volume: out}, nil
}

// tags are those that a thing gets.
func (d *Driver) tags(source string) map[string]string {
	all := maps.Clone(d.o.Tags)
	if all == nil {
		all = map[string]string{}
	}
	all[Tag] = d.o.Name
	if source != "" {
		all[sourceTag] = source
	}
	return all
}

// source writes what a volume is a copy of.
func source(s *spec.VolumeContentSource) string {
	if id := s.GetSnapshot().GetSnapshotId(); id != "" {
		return "snapshot:" + id
	}
	if id := s.GetVolume().GetVolumeId(); id != "" {
		return "volume:" + id
	}
	return ""
}

func (d *Driver) create(ctx context.Context, s providers.VolumeSpec, want size, zones []string, from *spec.VolumeContentSource) (providers.Volume, error) {
	switch {
	case from.GetVolume() != nil:
		return d.clone(ctx, s, want, zones, providers.ID(from.GetVolume().GetVolumeId()))
	case from.GetSnapshot() != nil:
		n, err := d.snapshot(ctx, providers.ID(from.GetSnapshot().GetSnapshotId()))
		if err != nil {
			return providers.Volume{}, err
		}
		s.Snapshot = n.ID
		return d.make(ctx, s, want, zones, n.SizeGiB)
	case from != nil:
		return providers.Volume{}, missing("the content source's ID")
	}
	return d.make(ctx, s, want, zones, 0)
}

// make makes the volume in the first of the zones that has room for it, of at least so many GiB.
func (d *Driver) make(ctx context.Context, s providers.VolumeSpec, want size, zones []string, least int) (v providers.Volume, err error) {
	if s.SizeGiB, err = want.choose(least); err != nil {
		return v, err
	}
	for _, s.Zone = range zones {
		if v, err = d.o.Provider.Volumes().Create(ctx, s); !errors.Is(err, providers.Capacity) {
			break
		}
	}
	if errors.Is(err, providers.Exists) {
		return v, d.same(v, s, want)
	}
	return v, err
}

// same returns why the volume that is there already is not what is asked for.
func (d *Driver) same(v providers.Volume, s providers.VolumeSpec, want size) error {
	switch {
	case !d.ours(v.Meta):
		return status.Errorf(codes.AlreadyExists, "the cluster has a volume %s that is none of the driver's", s.Name)
	case !want.has(v.SizeGiB):
		return status.Errorf(codes.AlreadyExists, "volume %s is there already and has %d GiB", s.Name, v.SizeGiB)
	case v.Tags[sourceTag] != s.Tags[sourceTag]:
		return status.Errorf(codes.AlreadyExists, "volume %s is there already and is a copy of something else", s.Name)
	case s.Type != "" && v.Type != s.Type:
		return status.Errorf(codes.AlreadyExists, "volume %s is there already and is of type %s", s.Name, v.Type)
	}
	return nil
}

// ours says whether the driver made a thing, for this cluster.
func (d *Driver) ours(m providers.Meta) bool { return m.Owner == d.o.Owner && m.Tags[Tag] == d.o.Name }

// DeleteVolume removes a volume. One whose tags somebody took away stays, and is not reported as gone.
func (d *Driver) DeleteVolume(ctx context.Context, r *spec.DeleteVolumeRequest) (*spec.DeleteVolumeResponse, error) {
	id := providers.ID(r.GetVolumeId())
	if id == "" {
		return nil, missing("volume_id")
	}
	done, err := d.busy.take("volume " + string(id))
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := d.o.Provider.Volumes().Get(ctx, id)
	if errors.Is(err, providers.NotFound) {
		return &spec.DeleteVolumeResponse{}, nil
	}
	if err == nil && !d.ours(v.Meta) {
		err = d.strange("volume", v.Meta)
	}
	if err == nil {
		err = d.o.Provider.Volumes().Delete(ctx, id)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &spec.DeleteVolumeResponse{}, nil
}

// strange refuses to remove what is not, or no longer, the driver's.
func (d *Driver) strange(what string, m providers.Meta) error {
	return status.Errorf(codes.FailedPrecondition, "%s %s does not bear the tags %s=%s and %s=%s, so it is left alone: give it the tags back, or remove it by hand",
		what, m.ID, providers.OwnerTag, d.o.Owner, Tag, d.o.Name)
}

// mine returns a volume of the driver's; NotFound if there is none of that ID.
func (d *Driver) mine(ctx context.Context, id string) (providers.Volume, error) {
	if id == "" {
		return providers.Volume{}, missing("volume_id")
	}
	v, err := d.o.Provider.Volumes().Get(ctx, providers.ID(id))
	if err == nil && !d.ours(v.Meta) {
		err = status.Errorf(codes.NotFound, "volume %s is none of driver %s and cluster %s", id, d.o.Name, d.o.Owner)
	}
	return v, err
}

// volume is a volume as CSI has it.
func (d *Driver) volume(v providers.Volume) *spec.Volume {
	out := &spec.Volume{VolumeId: string(v.ID), CapacityBytes: int64(v.SizeGiB) * gib}
	if v.Zone != "" && d.zoned() {
		out.AccessibleTopology = []*spec.Topology{{Segments: map[string]string{templates.VolumeZone: v.Zone}}}
	}
	return out
}

// ValidateVolumeCapabilities confirms what a volume can be used for.
func (d *Driver) ValidateVolumeCapabilities(ctx context.Context, r *spec.ValidateVolumeCapabilitiesRequest) (*spec.ValidateVolumeCapabilitiesResponse, error) {
	if r.GetVolumeId() != "" && len(r.GetVolumeCapabilities()) == 0 {
		return nil, missing("volume_capabilities")
	}
	if _, err := d.mine(ctx, r.GetVolumeId()); err != nil {
		return nil, failure(err)
	}
	if err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
		return &spec.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &spec.ValidateVolumeCapabilitiesResponse{Confirmed: &spec.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters()}}, nil
}

// ControllerExpandVolume lets a volume grow, whether it is in use or not.
func (d *Driver) ControllerExpandVolume(ctx context.Context, r *spec.ControllerExpandVolumeRequest) (*spec.ControllerExpandVolumeResponse, error) {
	if r.GetVolumeId() != "" && r.GetCapacityRange() == nil {
		return nil, missing("capacity_range")
	}
	want, err := sizeOf(r.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	done, err := d.busy.take("volume " + r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := d.mine(ctx, r.GetVolumeId())
	if err == nil && v.SizeGiB < want.least {
		v, err = d.o.Provider.Volumes().Resize(ctx, v.ID, want.least)
	}
	if err == nil && !want.has(v.SizeGiB) {
		err = status.Errorf(codes.OutOfRange, "volume %s has %d GiB and does not shrink", r.GetVolumeId(), v.SizeGiB)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &spec.ControllerExpandVolumeResponse{CapacityBytes: int64(v.SizeGiB) * gib, NodeExpansionRequired: r.GetVolumeCapability().GetBlock() == nil}, nil
}

// ListVolumes returns the driver's volumes, in one call of the vendor's for each page.
func (d *Driver) ListVolumes(ctx context.Context, r *spec.ListVolumesRequest) (*spec.ListVolumesResponse, error) {
	all, err := d.o.Provider.Volumes().List(ctx, d.o.Owner)
	if err != nil {
		return nil, failure(err)
	}
	all = slices.DeleteFunc(all, func(v providers.Volume) bool { return !d.ours(v.Meta) })
	part, next, err := page(all, func(v providers.Volume) string { return v.Name }, r.GetStartingToken(), int(r.GetMaxEntries()))
	if err != nil {
		return nil, err
	}
	var at []providers.ID
	for _, v := range part {
		if v.Machine != "" {
			at = append(at, v.Machine)
		}
	}
	names, err := d.nodes.names(ctx, at)
	if err != nil {
		return nil, failure(err)
	}
	out := &spec.ListVolumesResponse{NextToken: next}
	for _, v := range part {
		out.Entries = append(out.Entries, &spec.ListVolumesResponse_Entry{
			Volume: d.volume(v), Status: &spec.ListVolumesResponse_VolumeStatus{PublishedNodeIds: published(v, names)}})
	}
	return out, nil
}

// published is where a volume is.
func published(v providers.Volume, names map[providers.ID]string) []string {
	if n := names[v.Machine]; n != "" {
		return []string{n}
	}
	return nil
}

// ControllerGetVolume returns one volume.
func (d *Driver) ControllerGetVolume(ctx context.Context, r *spec.ControllerGetVolumeRequest) (*spec.ControllerGetVolumeResponse, error) {
	v, err := d.mine(ctx, r.GetVolumeId())
	if err != nil {
		return nil, failure(err)
	}
	names := map[providers.ID]string{}
	if v.Machine != "" {
		if names, err = d.nodes.names(ctx, []providers.ID{v.Machine}); err != nil {
			return nil, failure(err)
		}
	}
	return &spec.ControllerGetVolumeResponse{Volume: d.volume(v), Status: &spec.ControllerGetVolumeResponse_VolumeStatus{PublishedNodeIds: published(v, names)}}, nil
}

// ControllerGetVolumeHealth says whether the vendor knows that something is wrong with a volume.
func (d *Driver) ControllerGetVolumeHealth(ctx context.Context, r *spec.ControllerGetVolumeHealthRequest) (*spec.ControllerGetVolumeHealthResponse, error) {
	v, err := d.mine(ctx, r.GetVolumeId())
	if err != nil {
		return nil, failure(err)
	}
	h := &spec.VolumeHealth{VolumeId: r.GetVolumeId()}
	if v.Partial {
		h.HealthStatuses = []*spec.VolumeHealth_VolumeHealthEntry{{
			Status: spec.VolumeHealthErrorType_INACCESSIBLE, Reason: "VolumeNotComplete", Message: "the vendor says that the volume is not complete, or failed"}}
	}
	return &spec.ControllerGetVolumeHealthResponse{VolumeHealth: h}, nil
}
