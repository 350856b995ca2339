package templates

// What the two halves of the CSI driver have in common: the controller in the cloud agent, and the part of each node in its agent.
const (
	// VolumeDevice is the key of the publish context under which the controller says where the machine has the volume.
	VolumeDevice = "device"
	// VolumeZone is the key of the topology that volumes and nodes have: Kubernetes' own label, so that scheduler and node
	// autoscaler understand it.
	VolumeZone = "topology.kubernetes.io/zone"
)
