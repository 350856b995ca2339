package mount

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/provisionhq/provision/templates"
)

// GetPluginInfo says who answers.
func (n *Node) GetPluginInfo(context.Context, *spec.GetPluginInfoRequest) (*spec.GetPluginInfoResponse, error) {
	return &spec.GetPluginInfoResponse{Name: n.o.Driver, VendorVersion: n.o.Version}, nil
}

// GetPluginCapabilities says whether volumes are in zones.
func (n *Node) GetPluginCapabilities(context.Context, *spec.GetPluginCapabilitiesRequest) (*spec.GetPluginCapabilitiesResponse, error) {
	out := &spec.GetPluginCapabilitiesResponse{}
	if n.o.Zone != "" {
		out.Capabilities = append(out.Capabilities, &spec.PluginCapability{Type: &spec.PluginCapability_Service_{
			Service: &spec.PluginCapability_Service{Type: spec.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS}}})
	}
	return out, nil
}

// Probe says that the node half is ready: it has nothing to wait for.
func (n *Node) Probe(context.Context, *spec.ProbeRequest) (*spec.ProbeResponse, error) {
	return &spec.ProbeResponse{}, nil
}

// NodeGetCapabilities says what the node half can.
func (n *Node) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	out := &spec.NodeGetCapabilitiesResponse{}
	for _, t := range []spec.NodeServiceCapability_RPC_Type{
		spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		spec.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		spec.NodeServiceCapability_RPC_EXPAND_VOLUME,
		spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		out.Capabilities = append(out.Capabilities, &spec.NodeServiceCapability{
			Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{Type: t}}})
	}
	return out, nil
}

// NodeGetInfo says which node this is, and where.
func (n *Node) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	out := &spec.NodeGetInfoResponse{NodeId: n.o.Node, MaxVolumesPerNode: int64(n.o.Most)}
	if n.o.Zone != "" {
		out.AccessibleTopology = &spec.Topology{Segments: map[string]string{templates.VolumeZone: n.o.Zone}}
	}
	return out, nil
}
