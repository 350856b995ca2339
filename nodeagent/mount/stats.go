package mount

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// growTime is how long a machine may take to see that a device has grown.
const growTime = 20 * time.Second

// NodeExpandVolume lets the file system, which stays in use, be as large as the device has become.
func (n *Node) NodeExpandVolume(ctx context.Context, r *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	disk, mounted, err := n.published(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	done, err := n.take(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer done()
	size, err := grown(ctx, disk, r.GetCapacityRange().GetRequiredBytes())
	if err != nil {
		return nil, err
	}
	if mounted {
		if err := n.fill(disk, r.GetVolumePath()); err != nil {
			return nil, err
		}
	}
	return &spec.NodeExpandVolumeResponse{CapacityBytes: size}, nil
}

// published returns the device of what is at a path, and whether its file system is; NotFound if no volume is there.
func (n *Node) published(volume, path string) (disk string, mounted bool, err error) {
	switch {
	case volume == "":
		return "", false, missing("volume_id")
	case path == "":
		return "", false, missing("volume_path")
	}
	if checkBlock(path) == nil {
		return path, false, nil // the device itself is bound there
	}
	at, err := mountedAt(path)
	switch {
	case err != nil:
		return "", false, internal("see what is mounted at "+path, err)
	case at == nil || !filepath.IsAbs(path):
		return "", false, status.Errorf(codes.NotFound, "volume %s is not at %s", volume, path)
	}
	return at.Source, true, nil
}

// grown returns the device's size as soon as it is as large as asked for. Where the kernel does not see by itself that a disk
// has grown, SCSI's, it is told to look.
func grown(ctx context.Context, disk string, need int64) (int64, error) {
	var st unix.Stat_t
	if unix.Stat(disk, &st) == nil {
		_ = os.WriteFile(filepath.Join(sys(st.Rdev), "device/rescan"), []byte("1"), 0)
	}
	ctx, cancel := context.WithTimeout(ctx, growTime)
	defer cancel()
	for {
		size, err := sizeOf(disk)
		if err != nil {
			return 0, internal("see how large "+disk+" is", err)
		}
		if size >= need {
			return size, nil
		}
		select {
		case <-ctx.Done():
			return 0, status.Errorf(codes.Unavailable, "the machine sees %d bytes of %s, and not yet the %d that it shall have", size, disk, need)
		case <-time.After(lookAgain):
		}
	}
}

func sizeOf(disk string) (int64, error) {
	f, err := os.Open(disk)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}

// NodeGetVolumeStats says how full a volume is, in bytes and in inodes.
func (n *Node) NodeGetVolumeStats(_ context.Context, r *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	disk, mounted, err := n.published(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	if !mounted {
		size, err := sizeOf(disk)
		if err != nil {
			return nil, internal("see how large "+disk+" is", err)
		}
		return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{{Unit: spec.VolumeUsage_BYTES, Total: size}}}, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(r.GetVolumePath(), &st); errors.Is(err, unix.ENOENT) {
		return nil, status.Errorf(codes.NotFound, "volume %s is not at %s", r.GetVolumeId(), r.GetVolumePath())
	} else if err != nil {
		return nil, internal("look at "+r.GetVolumePath(), err)
	}
	unit := int64(st.Frsize)
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{
		{Unit: spec.VolumeUsage_BYTES, Total: int64(st.Blocks) * unit, Available: int64(st.Bavail) * unit, Used: int64(st.Blocks-st.Bfree) * unit},
		{Unit: spec.VolumeUsage_INODES, Total: int64(st.Files), Available: int64(st.Ffree), Used: int64(st.Files - st.Ffree)},
	}}, nil
}
