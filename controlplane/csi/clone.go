package csi

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
)

// clone makes a volume a copy of another, by a snapshot of which nothing is left afterwards.
func (d *Driver) clone(ctx context.Context, s providers.VolumeSpec, want size, zones []string, of providers.ID) (providers.Volume, error) {
	v, ok, err := d.made(ctx, s)
	if err != nil {
		return v, err
	}
	if ok {
		return v, d.same(v, s, want)
	}
	from, err := d.mine(ctx, string(of))
	if err != nil {
		return v, err
	}
	n, err := d.copy(ctx, cloneName(s.Name), from.ID, d.tags(forClone))
	if err != nil {
		return v, err
	}
	s.Snapshot = n.ID
	v, err = d.make(ctx, s, want, zones, max(n.SizeGiB, from.SizeGiB))
	if resumed(err) {
		return v, err
	}
	return v, errors.Join(err, d.drop(ctx, n.ID))
}

// made returns the clone if a try before came so far, and removes the snapshot if that try was cut off just then.
func (d *Driver) made(ctx context.Context, s providers.VolumeSpec) (v providers.Volume, ok bool, err error) {
	volumes, err := d.o.Provider.Volumes().List(ctx, s.Owner)
	i := slices.IndexFunc(volumes, func(v providers.Volume) bool { return v.Name == s.Name && !v.Partial })
	if err != nil || i < 0 {
		return v, false, err
	}
	copies, err := d.o.Provider.Volumes().Snapshots().List(ctx, s.Owner)
	if err != nil {
		return v, false, err
	}
	for _, n := range copies {
		if n.Name == cloneName(s.Name) && d.ours(n.Meta) {
			err = d.drop(ctx, n.ID)
		}
	}
	return volumes[i], true, err
}

// dropTime is how long a snapshot's removal may take when the call that needed it has ended.
const dropTime = time.Minute

// drop removes a snapshot, whether the call's time is over or not: after a failure that is final nobody asks again.
func (d *Driver) drop(ctx context.Context, id providers.ID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTime)
	defer cancel()
	return d.o.Provider.Volumes().Snapshots().Delete(ctx, id)
}

// resumed says whether the provisioner makes the same call again after an error, whatever became of the claim.
func resumed(err error) bool {
	if err == nil {
		return false
	}
	return slices.Contains([]codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Aborted}, status.Code(failure(err)))
}
