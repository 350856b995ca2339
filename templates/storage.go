package templates

import "errors"

// What the two halves of the CSI driver have in common: the controller in the cloud agent, and the part of each node in its agent.
const (
	// VolumeDevice is the key of the publish context under which the controller says where the machine has the volume.
	VolumeDevice = "device"
	// VolumeZone is the key of the topology that volumes and nodes have: Kubernetes' own label, so that scheduler and node
	// autoscaler understand it.
	VolumeZone = "topology.kubernetes.io/zone"

	// VolumeCount is the label that says how many volumes can be attached to a node's machine, if the vendor has a limit.
	VolumeCount = "provision.sh/volumes"
)

// A Storage is what the manifests of a cluster whose nodes mount volumes depend on.
type Storage struct {
	Vendor    string // as the cloud agent is told it
	Snapshots bool   // its volumes can be copied
}

// RenderStorage returns the CSI driver's object, the default storage class, what the cloud agents may do for volumes, and, where
// volumes can be copied, Kubernetes' definitions of snapshots, as YAML. The class of snapshots is made by the cloud agent: it
// cannot be applied together with its definition.
func RenderStorage(s Storage) ([]byte, error) {
	if s.Vendor == "" {
		return nil, errors.New("render storage: the vendor is required")
	}
	driver := CSIDriver(s.Vendor)
	b, err := render("storage.yaml", struct {
		Driver, Group, Lease string
		Snapshots            bool
	}{driver, CloudGroup, CSILease(driver), s.Snapshots})
	if err == nil && s.Snapshots {
		b = append(b, static("snapshots.yaml")...)
	}
	return b, err
}

// StorageClass is the name of the default storage class, and of the class of snapshots.
const StorageClass = "provision"

// CSILease is the name of the Lease, in kube-system, that the cloud agents elect the one by that works on a driver's volumes.
func CSILease(driver string) string { return "provision-" + driver }
