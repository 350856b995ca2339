package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	mountutils "k8s.io/mount-utils"

	"github.com/provisionhq/provision/templates"
)

// NodePublishVolume gives a pod a volume: what is staged, or the raw block device.
func (n *Node) NodePublishVolume(ctx context.Context, r *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetTargetPath() == "":
		return nil, missing("target_path")
	case r.GetVolumeCapability() == nil:
		return nil, missing("volume_capability")
	case r.GetStagingTargetPath() == "":
		return nil, status.Error(codes.FailedPrecondition, "staging_target_path is missing: volumes are staged first")
	}
	done, err := n.take(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	from, err := n.from(ctx, r)
	if err == nil {
		err = n.publish(from, r)
	}
	if err != nil {
		return nil, err
	}
	return &spec.NodePublishVolumeResponse{}, nil
}

// A where is a thing as the kernel's table of mounts has it: its path, and the number of the device that its file system is on.
type where struct {
	path         string
	major, minor int
}

// from returns what the pod gets. A staging path where nothing is mounted, as after the machine was started anew, would be a
// folder of the machine's own disk: the kubelet has to stage again.
func (n *Node) from(ctx context.Context, r *spec.NodePublishVolumeRequest) (where, error) {
	if r.GetVolumeCapability().GetBlock() == nil {
		at, err := mountedAt(r.GetStagingTargetPath())
		switch {
		case err != nil:
			return where{}, internal("see what is mounted at "+r.GetStagingTargetPath(), err)
		case at == nil:
			return where{}, status.Errorf(codes.FailedPrecondition, "volume %s is not staged: nothing is mounted at %s", r.GetVolumeId(), r.GetStagingTargetPath())
		}
		return where{at.MountPoint, at.Major, at.Minor}, nil
	}
	disk, err := n.device(ctx, r.GetPublishContext()[templates.VolumeDevice])
	if err != nil {
		return where{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil {
		return where{}, internal("look at "+disk, err)
	}
	return where{disk, int(unix.Major(st.Dev)), int(unix.Minor(st.Dev))}, nil
}

func (n *Node) publish(from where, r *spec.NodePublishVolumeRequest) error {
	c, target := r.GetVolumeCapability(), r.GetTargetPath()
	block := c.GetBlock() != nil
	at, err := mountedAt(target)
	switch {
	case err != nil:
		return internal("see what is mounted at "+target, err)
	case at != nil:
		return n.already(at, from, r)
	}
	if c.GetAccessMode().GetMode() == spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
		if other, err := elsewhere(from, r.GetStagingTargetPath(), block); err != nil {
			return internal("see where the volume is mounted", err)
		} else if other != "" {
			return status.Errorf(codes.FailedPrecondition, "volume %s is for one pod at a time, and is mounted at %s", r.GetVolumeId(), other)
		}
	}
	if err := makeTarget(target, block); err != nil {
		return internal("make "+target, err)
	}
	options := []string{"bind"}
	if r.GetReadonly() {
		options = append(options, "ro")
	}
	if !block {
		options = append(options, c.GetMount().GetMountFlags()...)
	}
	if err := n.mounter.Mount(from.path, target, "", options); err != nil {
		return internal("mount "+target, errors.Join(err, clear(target)))
	}
	return nil
}

// already accepts what a call before did, of which the answer was lost, if it is the same. A bind mount is made read-only in a
// second step, which a kill may have prevented.
func (n *Node) already(at *mountutils.MountInfo, from where, r *spec.NodePublishVolumeRequest) error {
	if r.GetVolumeCapability().GetBlock() != nil {
		if !sameNode(r.GetTargetPath(), from.path) {
			return status.Errorf(codes.AlreadyExists, "another device than %s is at %s", from.path, r.GetTargetPath())
		}
	} else if at.Major != from.major || at.Minor != from.minor {
		return status.Errorf(codes.AlreadyExists, "%s is mounted at %s", at.Source, r.GetTargetPath())
	}
	if r.GetReadonly() && !slices.Contains(at.MountOptions, "ro") {
		if err := n.mounter.Mount(from.path, r.GetTargetPath(), "", []string{"bind", "remount", "ro"}); err != nil {
			return internal("make "+r.GetTargetPath()+" read-only", err)
		}
	}
	return nil
}

// sameNode says whether two paths are of one device.
func sameNode(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Mode&unix.S_IFMT == unix.S_IFBLK && x.Rdev == y.Rdev
}

// elsewhere returns where else than at the staging path the volume is mounted; "" if nowhere.
func elsewhere(from where, staging string, block bool) (string, error) {
	all, err := mountutils.ParseMountInfo("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for _, m := range all {
		if m.Major != from.major || m.Minor != from.minor || m.MountPoint == from.path || m.MountPoint == staging {
			continue
		}
		if !block || sameNode(m.MountPoint, from.path) {
			return m.MountPoint, nil
		}
	}
	return "", nil
}

// makeTarget makes what is mounted upon: a folder, or a file for a device.
func makeTarget(path string, block bool) error {
	if !block {
		return os.MkdirAll(path, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

// NodeUnpublishVolume takes a volume from a pod, and removes what it was mounted upon.
func (n *Node) NodeUnpublishVolume(_ context.Context, r *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetTargetPath() == "":
		return nil, missing("target_path")
	}
	done, err := n.take(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	if err := n.unmount(r.GetTargetPath()); err != nil {
		return nil, err
	}
	if err := clear(r.GetTargetPath()); err != nil { // a folder with something in it stays: nobody knows whose that is
		return nil, internal("remove "+r.GetTargetPath(), err)
	}
	return &spec.NodeUnpublishVolumeResponse{}, nil
}
