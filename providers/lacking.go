package providers

import (
	"context"
	"fmt"
)

// NoLoadBalancers is what a vendor without balancers returns: every method returns an error that wraps Unsupported.
type NoLoadBalancers struct {
	lacking[LoadBalancerSpec, LoadBalancer]
}

// NoVolumes is what a vendor without volumes returns: every method returns an error that wraps Unsupported.
type NoVolumes struct {
	lacking[VolumeSpec, Volume]
}

// Attach returns Unsupported.
func (n NoVolumes) Attach(context.Context, ID, ID) (Volume, error) { return Volume{}, n.err() }

// Detach returns Unsupported.
func (n NoVolumes) Detach(context.Context, ID, ID) error { return n.err() }

// Resize returns Unsupported.
func (n NoVolumes) Resize(context.Context, ID, int) (Volume, error) { return Volume{}, n.err() }

// Snapshots returns NoSnapshots.
func (n NoVolumes) Snapshots() Objects[SnapshotSpec, Snapshot] { return NoSnapshots{} }

// NoSnapshots is what the volumes of a vendor that cannot copy them return: every method returns an error that wraps
// Unsupported.
type NoSnapshots struct {
	lacking[SnapshotSpec, Snapshot]
}

type lacking[S, O any] struct{}

func (lacking[S, O]) err() error {
	var o O
	return fmt.Errorf("%T: %w: the vendor has none", o, Unsupported)
}

// Create returns Unsupported.
func (l lacking[S, O]) Create(context.Context, S) (o O, err error) { return o, l.err() }

// Get returns Unsupported.
func (l lacking[S, O]) Get(context.Context, ID) (o O, err error) { return o, l.err() }

// List returns Unsupported.
func (l lacking[S, O]) List(context.Context, Owner) ([]O, error) { return nil, l.err() }

// Delete returns Unsupported.
func (l lacking[S, O]) Delete(context.Context, ID) error { return l.err() }

// Update returns Unsupported.
func (l lacking[S, O]) Update(context.Context, ID, S) (o O, err error) { return o, l.err() }
