package gcp

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

type snapshots struct{ p *Provider }

// snapshot is one of Google's as the contract has it.
func snapshot(s *computepb.Snapshot) providers.Snapshot {
	of, _ := strconv.ParseUint(s.GetSourceDiskId(), 10, 64)
	made, _ := time.Parse(time.RFC3339, s.GetCreationTimestamp())
	o := providers.Snapshot{Meta: meta(ref{globalPlace, s.GetName(), s.GetId()}, unlabel(s.GetLabels())), SizeGiB: int(s.GetDiskSizeGb()), CreatedUnix: made.Unix(),
		Volume: ref{zoneIn(s.GetSourceDisk()), last(s.GetSourceDisk()), of}.id()}
	o.Partial = s.GetStatus() != "READY"
	return o
}

// zoneIn is the zone in the URL of something.
func zoneIn(url string) string {
	_, rest, _ := strings.Cut(url, "/zones/")
	zone, _, _ := strings.Cut(rest, "/")
	return zone
}

func (p *Provider) snapshotAt(ctx context.Context, name string) (*computepb.Snapshot, error) {
	return get(ctx, p, func() (*computepb.Snapshot, error) {
		return p.api.snapshots.Get(ctx, &computepb.GetSnapshotRequest{Project: p.o.Project, Snapshot: name})
	})
}

// snapshot returns the one of that ID; NotFound if it is gone.
func (p *Provider) snapshot(ctx context.Context, id providers.ID) (*computepb.Snapshot, error) {
	r, err := refOf(providers.SnapshotNoun, id)
	if err != nil {
		return nil, err
	}
	s, err := p.snapshotAt(ctx, r.name)
	if err == nil && s.GetId() != r.num {
		return nil, fail(providers.NotFound, "snapshot %s: there is another one of the name, %d", id, s.GetId())
	}
	return s, err
}

// Get returns the snapshot as it is.
func (w snapshots) Get(ctx context.Context, id providers.ID) (_ providers.Snapshot, err error) {
	defer about(providers.GetVerb, providers.SnapshotNoun, string(id), &err)
	s, err := w.p.snapshot(ctx, id)
	if err != nil {
		return providers.Snapshot{}, err
	}
	return snapshot(s), nil
}

// List returns the owner's snapshots.
func (w snapshots) List(ctx context.Context, o providers.Owner) (all []providers.Snapshot, err error) {
	defer about(providers.ListVerb, providers.SnapshotNoun, string(o), &err)
	found, err := collect(ctx, w.p, func() func() (*computepb.Snapshot, error) {
		return w.p.api.snapshots.List(ctx, &computepb.ListSnapshotsRequest{Project: w.p.o.Project, Filter: filter(providers.SnapshotNoun, o)}).Next
	})
	for _, s := range found {
		all = append(all, snapshot(s))
	}
	slices.SortFunc(all, byName)
	return all, err
}

// Create copies the volume as it is now.
func (w snapshots) Create(ctx context.Context, spec providers.SnapshotSpec) (o providers.Snapshot, err error) {
	defer about(providers.CreateVerb, providers.SnapshotNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0), checkTags(providers.SnapshotNoun, spec.Tags)); err != nil {
		return o, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.SnapshotNoun, spec.Key().String())
	if err != nil {
		return o, err
	}
	defer unlock()
	name := vendorName(providers.SnapshotNoun, spec.Key(), "")
	_, err = w.p.snapshotAt(ctx, name)
	exists := err == nil
	if gone(err) {
		exists, err = w.copy(ctx, spec, name)
	}
	if err != nil {
		return o, err
	}
	late := !exists
	err = w.p.wait(ctx, "snapshot "+name+" is not complete", func() (bool, error) {
		s, err := soon(ctx, w.p, func() (*computepb.Snapshot, error) { return w.p.snapshotAt(ctx, name) })
		if err != nil {
			return false, err
		}
		if o = snapshot(s); s.GetStatus() == "FAILED" {
			return false, fail(providers.Unavailable, "snapshot %s failed", name)
		}
		late = late || o.Partial
		return !o.Partial, nil
	})
	return o, errors.Join(err, orNil(err == nil, ours(o.Meta, spec.Key())), orNil(err == nil && !late, providers.Exists))
}

// copy makes the snapshot, or finds that there is one of the name.
func (w snapshots) copy(ctx context.Context, spec providers.SnapshotSpec, name string) (exists bool, err error) {
	d, err := w.p.disk(ctx, spec.Volume)
	if err != nil {
		return false, err
	}
	err = w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.snapshots.Insert(ctx, &computepb.InsertSnapshotRequest{Project: w.p.o.Project, RequestId: id, SnapshotResource: &computepb.Snapshot{
			Name: &name, SourceDisk: d.SelfLink, Labels: labels(label(providers.SnapshotNoun, spec.Key(), spec.Tags, nil))}})
	})
	if taken(err) {
		return true, nil
	}
	return false, err
}

// Update sets tags.
func (w snapshots) Update(ctx context.Context, id providers.ID, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about(providers.UpdateVerb, providers.SnapshotNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0), checkTags(providers.SnapshotNoun, spec.Tags)); err != nil {
		return providers.Snapshot{}, err
	}
	err = w.p.fresh(ctx, func() error {
		s, err := w.p.snapshot(ctx, id)
		if err != nil {
			return err
		}
		o := snapshot(s)
		if err := mine(o.Meta, spec.Key()); err != nil {
			return err
		}
		if spec.Volume != "" && spec.Volume != o.Volume {
			return fail(providers.Invalid, "it stays a copy of volume %s", o.Volume)
		}
		want := labels(retagged(unlabel(s.GetLabels()), label(providers.SnapshotNoun, spec.Key(), spec.Tags, nil)))
		if same(s.GetLabels(), want) {
			return nil
		}
		return w.p.do(ctx, func(*string) (*compute.Operation, error) { // it has no request ID
			return w.p.api.snapshots.SetLabels(ctx, &computepb.SetLabelsSnapshotRequest{Project: w.p.o.Project, Resource: s.GetName(),
				GlobalSetLabelsRequestResource: &computepb.GlobalSetLabelsRequest{Labels: want, LabelFingerprint: s.LabelFingerprint}})
		})
	})
	if err != nil {
		return providers.Snapshot{}, err
	}
	s, err := w.p.snapshot(ctx, id)
	if err != nil {
		return providers.Snapshot{}, err
	}
	return snapshot(s), nil
}

// Delete removes the snapshot.
func (w snapshots) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.SnapshotNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := w.p.snapshot(ctx, id)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := ignoring(w.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return w.p.api.snapshots.Delete(ctx, &computepb.DeleteSnapshotRequest{Project: w.p.o.Project, Snapshot: s.GetName(), RequestId: request})
	})); err != nil {
		return err
	}
	return vanished(ctx, w.p, "snapshot "+string(id), func() (*computepb.Snapshot, error) { return w.p.snapshot(ctx, id) })
}
