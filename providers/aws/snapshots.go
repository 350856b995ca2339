package aws

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

type snapshots struct{ p *Provider }

// snapshot is an EBS snapshot as the contract has it.
func snapshot(s types.Snapshot) providers.Snapshot {
	o := providers.Snapshot{Meta: meta(aws.ToString(s.SnapshotId), read(s.Tags)), Volume: providers.ID(aws.ToString(s.VolumeId)),
		SizeGiB: int(aws.ToInt32(s.VolumeSize)), CreatedUnix: aws.ToTime(s.StartTime).Unix()}
	o.Partial = s.State != types.SnapshotStateCompleted
	return o
}

// snapshot returns the one of that ID; NotFound if it is gone.
func (p *Provider) snapshot(ctx context.Context, id providers.ID) (s types.Snapshot, err error) {
	if !isID(string(id), "snap") {
		return s, fail(providers.NotFound, "%q is not the ID of a snapshot", id)
	}
	out, err := p.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{string(id)}})
	if err != nil {
		return s, err
	}
	if len(out.Snapshots) == 0 {
		return s, fail(providers.NotFound, "snapshot %s", id)
	}
	return out.Snapshots[0], nil
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

// find returns the owner's snapshots, the oldest of a name first.
func (w snapshots) find(ctx context.Context, k providers.Key) ([]types.Snapshot, error) {
	all, err := collect(ctx, ec2.NewDescribeSnapshotsPaginator(w.p.ec2, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: owned(providers.SnapshotNoun, k)}),
		func(o *ec2.DescribeSnapshotsOutput) []types.Snapshot { return o.Snapshots })
	slices.SortFunc(all, func(a, b types.Snapshot) int { return aws.ToTime(a.StartTime).Compare(aws.ToTime(b.StartTime)) })
	return all, err
}

// List returns the owner's snapshots.
func (w snapshots) List(ctx context.Context, o providers.Owner) (all []providers.Snapshot, err error) {
	defer about(providers.ListVerb, providers.SnapshotNoun, string(o), &err)
	found, err := w.find(ctx, providers.Key{Owner: o})
	for _, s := range found {
		all = append(all, snapshot(s))
	}
	slices.SortFunc(all, byName)
	return all, err
}

// Create copies the volume as it is now. AWS has no client token for it, so what is there is looked for first.
func (w snapshots) Create(ctx context.Context, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about(providers.CreateVerb, providers.SnapshotNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0), checkTags(spec.Tags)); err != nil {
		return providers.Snapshot{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.SnapshotNoun, spec.Key().String())
	if err != nil {
		return providers.Snapshot{}, err
	}
	defer unlock()
	id, err := w.there(ctx, spec.Key())
	if err != nil {
		return providers.Snapshot{}, err
	}
	exists := id != ""
	if !exists {
		if _, err := w.p.volume(ctx, spec.Volume); err != nil {
			return providers.Snapshot{}, err
		}
		out, err := w.p.ec2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: ptr(string(spec.Volume)),
			TagSpecifications: specified(types.ResourceTypeSnapshot, label(providers.SnapshotNoun, spec.Key(), spec.Tags, nil))})
		w.p.made.unanswered(providers.SnapshotNoun, spec.Key(), err)
		if err != nil {
			return providers.Snapshot{}, err
		}
		id = aws.ToString(out.SnapshotId)
		w.p.made.note(providers.SnapshotNoun, spec.Key(), id)
	}
	var o providers.Snapshot
	late := false
	err = w.p.wait(ctx, "snapshot "+id+" is not complete", func() (bool, error) {
		s, err := w.p.snapshot(ctx, providers.ID(id))
		if gone(err) {
			late = true
			return false, nil
		}
		if o = snapshot(s); s.State == types.SnapshotStateError {
			return false, fail(providers.Unavailable, "snapshot %s failed: %s", id, aws.ToString(s.StateMessage))
		}
		late = late || o.Partial
		return !o.Partial, err
	})
	if err == nil && exists && !late {
		err = providers.Exists
	}
	return o, err
}

// there returns the ID of the owner's snapshot of that name, if there is one.
func (w snapshots) there(ctx context.Context, k providers.Key) (string, error) {
	if id := w.p.made.recent(providers.SnapshotNoun, k, w.p.o.Lag); id != "" {
		err := w.p.soon(ctx, func() error { _, err := w.p.snapshot(ctx, providers.ID(id)); return err })
		if err == nil || !gone(err) {
			return id, err
		}
	}
	var all []types.Snapshot
	err := w.p.surely(ctx, providers.SnapshotNoun, k, func() (_ bool, err error) {
		all, err = w.find(ctx, k)
		return len(all) > 0, err
	})
	if err != nil || len(all) == 0 {
		return "", err
	}
	return aws.ToString(all[0].SnapshotId), nil
}

// Update sets tags.
func (w snapshots) Update(ctx context.Context, id providers.ID, spec providers.SnapshotSpec) (_ providers.Snapshot, err error) {
	defer about(providers.UpdateVerb, providers.SnapshotNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), spec.Key().Validate(0), checkTags(spec.Tags)); err != nil {
		return providers.Snapshot{}, err
	}
	s, err := w.p.snapshot(ctx, id)
	if err != nil {
		return providers.Snapshot{}, err
	}
	o := snapshot(s)
	if err := mine(o.Meta, spec.Key(), func() (providers.ID, error) {
		all, err := w.find(ctx, spec.Key())
		if err != nil || len(all) == 0 {
			return "", err
		}
		return providers.ID(aws.ToString(all[0].SnapshotId)), nil
	}); err != nil {
		return providers.Snapshot{}, err
	}
	if spec.Volume != "" && spec.Volume != o.Volume {
		return providers.Snapshot{}, fail(providers.Invalid, "it stays a copy of volume %s", o.Volume)
	}
	if err := w.p.retag(ctx, string(id), read(s.Tags), label(providers.SnapshotNoun, spec.Key(), spec.Tags, nil)); err != nil {
		return providers.Snapshot{}, err
	}
	if s, err = w.p.snapshot(ctx, id); err != nil {
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
	if _, err := w.p.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: ptr(string(id))}); ignoring(err) != nil {
		return err
	}
	o := snapshot(s)
	w.p.made.drop(providers.SnapshotNoun, providers.Key{Owner: o.Owner, Name: o.Name})
	return w.p.wait(ctx, "snapshot "+string(id)+" is still there", func() (bool, error) {
		_, err := w.p.snapshot(ctx, id)
		if gone(err) {
			return true, nil
		}
		return false, err
	})
}
