package csi

import (
	"context"
	"errors"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// ControllerPublishVolume attaches a volume to a node's machine, and says how the machine sees it.
func (d *Driver) ControllerPublishVolume(ctx context.Context, r *spec.ControllerPublishVolumeRequest) (*spec.ControllerPublishVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetNodeId() == "":
		return nil, missing("node_id")
	case r.GetVolumeCapability() == nil:
		return nil, missing("volume_capability")
	}
	if err := checkCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	done, err := d.busy.take("volume " + r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := d.mine(ctx, r.GetVolumeId())
	if err == nil {
		v, err = d.attach(ctx, v, r.GetNodeId())
	}
	if err != nil {
		return nil, failure(err)
	}
	return &spec.ControllerPublishVolumeResponse{PublishContext: map[string]string{templates.VolumeDevice: v.Device}}, nil
}

// attach attaches the volume. Machines of one name follow each other, so one that is not there is looked for once more.
func (d *Driver) attach(ctx context.Context, v providers.Volume, node string) (providers.Volume, error) {
	m, err := d.nodes.machine(ctx, node, false)
	if err != nil {
		return v, err
	}
	got, err := d.o.Provider.Volumes().Attach(ctx, v.ID, m)
	if errors.Is(err, providers.NotFound) {
		again, e := d.nodes.machine(ctx, node, true)
		if e != nil || again == m {
			return v, errors.Join(e, err)
		}
		m = again
		got, err = d.o.Provider.Volumes().Attach(ctx, v.ID, m)
	}
	if errors.Is(err, providers.Conflict) && v.Machine != "" && v.Machine != m {
		return v, d.elsewhere(ctx, v, err)
	}
	return got, err
}

// elsewhere says in a person's words where a volume is, if not at the node it shall be attached to.
func (d *Driver) elsewhere(ctx context.Context, v providers.Volume, err error) error {
	if names, e := d.nodes.names(ctx, []providers.ID{v.Machine}); e == nil && names[v.Machine] != "" {
		return status.Errorf(codes.FailedPrecondition, "volume %s is attached to node %s: %v", v.ID, names[v.Machine], err)
	}
	return err
}

// ControllerUnpublishVolume detaches a volume from a node's machine; from whichever it is at if none is named. A machine that is
// gone has no volumes.
func (d *Driver) ControllerUnpublishVolume(ctx context.Context, r *spec.ControllerUnpublishVolumeRequest) (*spec.ControllerUnpublishVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	done, err := d.busy.take("volume " + r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	if err := d.detach(ctx, r.GetVolumeId(), r.GetNodeId()); err != nil {
		return nil, failure(err)
	}
	return &spec.ControllerUnpublishVolumeResponse{}, nil
}

func (d *Driver) detach(ctx context.Context, id, node string) error {
	v, err := d.o.Provider.Volumes().Get(ctx, providers.ID(id))
	switch {
	case errors.Is(err, providers.NotFound):
		return nil // a volume that is gone is nowhere
	case err != nil:
		return err
	case v.Machine == "" || v.Owner != d.o.Owner && v.Owner != "": // one whose tags were taken away is still let go
		return nil
	}
	if node != "" {
		names, err := d.nodes.names(ctx, []providers.ID{v.Machine})
		if err != nil {
			return err
		}
		if name, known := names[v.Machine]; known && name != node {
			return nil // it is attached to another by now
		}
	}
	err = d.o.Provider.Volumes().Detach(ctx, v.ID, v.Machine)
	if errors.Is(err, providers.NotFound) {
		return nil
	}
	return err
}
