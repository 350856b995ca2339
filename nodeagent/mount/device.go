package mount

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lookAgain is how often a device is looked for that is not there yet: the kernel tells udev, which makes the link.
const lookAgain = 200 * time.Millisecond

// device returns the path of the block device that the controller named, as soon as it is there.
func (n *Node) device(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", missing("publish_context's device")
	}
	ctx, cancel := context.WithTimeout(ctx, n.wait)
	defer cancel()
	for {
		path, err := find(name)
		if err == nil {
			return path, nil
		}
		select {
		case <-ctx.Done():
			return "", status.Errorf(codes.Unavailable, "device %s is attached, but this machine does not see it: %v", name, err)
		case <-time.After(lookAgain):
		}
	}
}

// find returns the path of a block device. Its name is a path under /dev, or a disk's serial number. A path that udev should
// have made, and did not, ends with the serial number.
func find(name string) (string, error) {
	if filepath.IsAbs(name) {
		if !strings.HasPrefix(filepath.Clean(name), "/dev/") {
			return "", fmt.Errorf("it is not under /dev")
		}
		path, err := filepath.EvalSymlinks(name)
		if err == nil {
			return path, checkBlock(path)
		}
		if filepath.Dir(name) != "/dev/disk/by-id" {
			return "", err
		}
	}
	return bySerial("/sys/block", filepath.Base(name))
}

func checkBlock(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return fmt.Errorf("%s is no block device", path)
	}
	return nil
}

// bySerial returns the disk whose serial number is the name, or what the name ends with.
func bySerial(dir, name string) (string, error) {
	disks, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, d := range disks {
		for _, s := range serials(filepath.Join(dir, d.Name())) {
			if s == name || len(s) >= 8 && (strings.HasSuffix(name, "_"+s) || strings.HasSuffix(name, "-"+s)) {
				path := "/dev/" + strings.ReplaceAll(d.Name(), "!", "/")
				return path, checkBlock(path)
			}
		}
	}
	return "", fmt.Errorf("no disk has the serial number %s", name)
}

// serials are the serial numbers that the kernel knows of a disk: NVMe's and virtio's are files, SCSI's are in page 0x80 (one
// number) and page 0x83 (descriptors, of which those of type 1 hold a vendor's name and a number).
func serials(disk string) (all []string) {
	for _, file := range []string{"serial", "device/serial"} {
		if b, err := os.ReadFile(filepath.Join(disk, file)); err == nil {
			all = append(all, strings.TrimSpace(string(b)))
		}
	}
	if b, err := os.ReadFile(filepath.Join(disk, "device/vpd_pg80")); err == nil && len(b) > 4 {
		all = append(all, text(b[4:]))
	}
	if b, err := os.ReadFile(filepath.Join(disk, "device/vpd_pg83")); err == nil && len(b) > 4 {
		for b = b[4:]; len(b) > 4 && len(b) >= 4+int(b[3]); b = b[4+int(b[3]):] {
			if b[1]&0xf == 1 {
				if words := strings.Fields(text(b[4 : 4+int(b[3])])); len(words) > 0 {
					all = append(all, words[len(words)-1])
				}
			}
		}
	}
	kept := all[:0]
	for _, s := range all {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func text(b []byte) string { return strings.TrimSpace(string(bytes.Trim(b, "\x00"))) }
