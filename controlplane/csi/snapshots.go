package csi

import (
	"context"
	"errors"
	"slices"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/provisionhq/provision/providers"
)

// forClone is the source tag of a snapshot that stands between a volume and its copy, and is nobody's.
const forClone = "clone"

// CreateSnapshot copies a volume as it is now.
func (d *Driver) CreateSnapshot(ctx context.Context, r *spec.CreateSnapshotRequest) (*spec.CreateSnapshotResponse, error) {
	switch {
	case r.GetName() == "":
		return nil, missing("name")
	case r.GetSourceVolumeId() == "":
		return nil, missing("source_volume_id")
	}
	if len(r.GetParameters()) > 0 {
		return nil, status.Error(codes.InvalidArgument, "a snapshot class of this driver has no parameters")
	}
	name := nameOf(r.GetName())
	done, err := d.busy.take("snapshot " + name)
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := d.mine(ctx, r.GetSourceVolumeId())
	if err != nil {
		return nil, failure(err)
	}
	n, err := d.copy(ctx, name, v.ID, d.tags(""))
	if err != nil {
		return nil, failure(err)
	}
	return &spec.CreateSnapshotResponse{Snapshot: d.copied(n)}, nil
}

// copy makes a snapshot, or returns the one that is there if it is of that volume.
func (d *Driver) copy(ctx context.Context, name string, of providers.ID, tags map[string]string) (providers.Snapshot, error) {
	n, err := d.o.Provider.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: d.o.Owner, Name: name, Volume: of, Tags: tags})
	if errors.Is(err, providers.Exists) {
		if err = nil; n.Volume != of || !d.ours(n.Meta) {
			err = status.Errorf(codes.AlreadyExists, "snapshot %s is there already and is one of volume %s", name, n.Volume)
		}
	}
	return n, err
}

// copied is a snapshot as CSI has it.
func (d *Driver) copied(n providers.Snapshot) *spec.Snapshot {
	return &spec.Snapshot{SnapshotId: string(n.ID), SourceVolumeId: string(n.Volume), SizeBytes: int64(n.SizeGiB) * gib,
		CreationTime: timestamppb.New(time.Unix(n.CreatedUnix, 0)), ReadyToUse: !n.Partial}
}

// snapshot returns a snapshot of the driver's; NotFound if there is none of that ID.
func (d *Driver) snapshot(ctx context.Context, id providers.ID) (providers.Snapshot, error) {
	if id == "" {
		return providers.Snapshot{}, missing("snapshot_id")
	}
	n, err := d.o.Provider.Volumes().Snapshots().Get(ctx, id)
	if err == nil && !d.ours(n.Meta) {
		err = status.Errorf(codes.NotFound, "snapshot %s is none of driver %s and cluster %s", id, d.o.Name, d.o.Owner)
	}
	return n, err
}

// GetSnapshot returns one snapshot.
func (d *Driver) GetSnapshot(ctx context.Context, r *spec.GetSnapshotRequest) (*spec.GetSnapshotResponse, error) {
	n, err := d.snapshot(ctx, providers.ID(r.GetSnapshotId()))
	if err != nil {
		return nil, failure(err)
	}
	return &spec.GetSnapshotResponse{Snapshot: d.copied(n)}, nil
}

// DeleteSnapshot removes a snapshot. One whose tags somebody took away stays, and is not reported as gone.
func (d *Driver) DeleteSnapshot(ctx context.Context, r *spec.DeleteSnapshotRequest) (*spec.DeleteSnapshotResponse, error) {
	id := providers.ID(r.GetSnapshotId())
	if id == "" {
		return nil, missing("snapshot_id")
	}
	done, err := d.busy.take("snapshot " + string(id))
	if err != nil {
		return nil, err
	}
	defer done()
	n, err := d.o.Provider.Volumes().Snapshots().Get(ctx, id)
	if errors.Is(err, providers.NotFound) {
		return &spec.DeleteSnapshotResponse{}, nil
	}
	if err == nil && !d.ours(n.Meta) {
		err = d.strange("snapshot", n.Meta)
	}
	if err == nil {
		err = d.o.Provider.Volumes().Snapshots().Delete(ctx, id)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &spec.DeleteSnapshotResponse{}, nil
}

// ListSnapshots returns the driver's snapshots: all, one, or those of a volume.
func (d *Driver) ListSnapshots(ctx context.Context, r *spec.ListSnapshotsRequest) (*spec.ListSnapshotsResponse, error) {
	all, err := d.find(ctx, providers.ID(r.GetSnapshotId()), providers.ID(r.GetSourceVolumeId()))
	if err != nil {
		return nil, failure(err)
	}
	part, next, err := page(all, func(n providers.Snapshot) string { return n.Name }, r.GetStartingToken(), int(r.GetMaxEntries()))
	if err != nil {
		return nil, err
	}
	out := &spec.ListSnapshotsResponse{NextToken: next}
	for _, n := range part {
		out.Entries = append(out.Entries, &spec.ListSnapshotsResponse_Entry{Snapshot: d.copied(n)})
	}
	return out, nil
}

func (d *Driver) find(ctx context.Context, id, of providers.ID) (all []providers.Snapshot, err error) {
	if id == "" {
		all, err = d.o.Provider.Volumes().Snapshots().List(ctx, d.o.Owner)
	} else {
		var one providers.Snapshot
		if one, err = d.o.Provider.Volumes().Snapshots().Get(ctx, id); errors.Is(err, providers.NotFound) {
			return nil, nil
		}
		all = append(all, one)
	}
	return slices.DeleteFunc(all, func(n providers.Snapshot) bool {
		return !d.ours(n.Meta) || n.Tags[sourceTag] == forClone || of != "" && n.Volume != of
	}), err
}
