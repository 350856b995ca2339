package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	mountutils "k8s.io/mount-utils"
	"k8s.io/utils/exec"

	"github.com/provisionhq/provision/templates"
)

// NodeStageVolume mounts a volume once for the node, and formats it before if it is blank. Of a raw block device nothing is
// staged: only that it is there is seen to.
func (n *Node) NodeStageVolume(ctx context.Context, r *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetStagingTargetPath() == "":
		return nil, missing("staging_target_path")
	case r.GetVolumeCapability() == nil:
		return nil, missing("volume_capability")
	}
	done, err := n.take(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	disk, err := n.device(ctx, r.GetPublishContext()[templates.VolumeDevice])
	if err == nil && r.GetVolumeCapability().GetBlock() == nil {
		err = n.stage(disk, r.GetStagingTargetPath(), r.GetVolumeCapability())
	}
	if err != nil {
		return nil, err
	}
	return &spec.NodeStageVolumeResponse{}, nil
}

func (n *Node) stage(disk, path string, c *spec.VolumeCapability) error {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return internal("make "+path, err)
	}
	at, err := mountedAt(path)
	switch {
	case err != nil:
		return internal("see what is mounted at "+path, err)
	case at != nil && !sameDisk(at, disk):
		return status.Errorf(codes.AlreadyExists, "%s is mounted at %s, and not %s", at.Source, path, disk)
	case at != nil && slices.Contains(at.MountOptions, "ro"):
		return nil
	case at != nil: // by a call before, which may have been cut off here
		return n.fill(disk, path)
	}
	fs := c.GetMount().GetFsType()
	if fs == "" {
		fs = "ext4"
	}
	options := slices.Clone(c.GetMount().GetMountFlags())
	if c.GetAccessMode().GetMode() == spec.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY && !slices.Contains(options, "ro") {
		options = append(options, "ro")
	}
	readOnly := slices.Contains(options, "ro")
	if fs == "xfs" {
		options = append(options, "nouuid") // a copy has the same as what it is a copy of, and both may be here
	}
	if err := n.prepare(disk, fs, readOnly); err != nil {
		return err
	}
	mount := func() error {
		if err := n.mounter.FormatAndMount(disk, path, fs, options); err != nil {
			return mountFailure(disk, err)
		}
		return nil
	}
	if err := mount(); err != nil || readOnly {
		return err
	}
	err = n.fill(disk, path)
	if status.Code(err) != codes.FailedPrecondition {
		return err
	}
	if err := errors.Join(n.unmount(path), n.fillAtRest(disk)); err != nil {
		return err
	}
	return mount()
}

// fill lets the file system, which is mounted, be as large as its disk: a copy may be of something smaller. FailedPrecondition
// where root may not do that.
func (n *Node) fill(disk, path string) error {
	resize := mountutils.NewResizeFs(n.mounter.Exec)
	need, err := resize.NeedResize(disk, path)
	if err == nil && need {
		_, err = resize.Resize(disk, path)
	}
	if err != nil && strings.Contains(err.Error(), "Permission denied to resize") {
		return status.Errorf(codes.FailedPrecondition, "ext4 on %s grows when it is mounted next: root of this machine lacks CAP_SYS_RESOURCE, without which it does not while it is in use", disk)
	}
	if err != nil {
		return internal("let the file system fill "+disk, err)
	}
	return nil
}

// fillAtRest lets an ext4 that is not mounted be as large as its disk. It is checked in full before, which takes its time.
func (n *Node) fillAtRest(disk string) error {
	out, err := n.mounter.Exec.Command("e2fsck", "-f", "-p", disk).CombinedOutput()
	if e, ok := err.(exec.ExitError); ok && e.ExitStatus() == 1 { // it mended something
		err = nil
	}
	if err == nil {
		out, err = n.mounter.Exec.Command("resize2fs", disk).CombinedOutput()
	}
	if err != nil {
		return internal("let the file system fill "+disk, fmt.Errorf("%w: %s", err, out))
	}
	return nil
}

// mountFailure tells what a person can do something about from the rest.
func mountFailure(disk string, err error) error {
	var m mountutils.MountError
	if errors.As(err, &m) && m.Type == mountutils.HasFilesystemErrors {
		return status.Errorf(codes.FailedPrecondition, "the file system on %s is damaged, and fsck does not mend it by itself: %v", disk, err)
	}
	return internal("mount "+disk, err)
}

// NodeUnstageVolume unmounts a volume.
func (n *Node) NodeUnstageVolume(_ context.Context, r *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	switch {
	case r.GetVolumeId() == "":
		return nil, missing("volume_id")
	case r.GetStagingTargetPath() == "":
		return nil, missing("staging_target_path")
	}
	done, err := n.take(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	if err := n.unmount(r.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	return &spec.NodeUnstageVolumeResponse{}, nil
}

// unmount unmounts what is mounted at a path, all of it if there is more than one, and leaves the path itself.
func (n *Node) unmount(path string) error {
	for {
		at, err := mountedAt(path)
		if err != nil {
			return internal("see what is mounted at "+path, err)
		}
		if at == nil {
			return nil
		}
		if err := n.mounter.Unmount(path); err != nil {
			return internal("unmount "+path, err)
		}
	}
}

// mountedAt returns what is mounted at a path; nil if nothing is. It asks the kernel's table and not the path, which does not
// answer when the disk is gone.
func mountedAt(path string) (*mountutils.MountInfo, error) {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	all, err := mountutils.ParseMountInfo("/proc/self/mountinfo")
	for i := len(all) - 1; i >= 0 && err == nil; i-- {
		if all[i].MountPoint == path {
			return &all[i], nil
		}
	}
	return nil, err
}

// sameDisk says whether a mount is of a disk's file system.
func sameDisk(m *mountutils.MountInfo, disk string) bool {
	var st unix.Stat_t
	return unix.Stat(disk, &st) == nil && int(unix.Major(st.Rdev)) == m.Major && int(unix.Minor(st.Rdev)) == m.Minor
}
