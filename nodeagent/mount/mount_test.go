package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/templates"
)

// A rig is a node half and one disk, which is a file of this host behind a loop device.
type rig struct {
	*Node
	t          *testing.T
	file, disk string
	stage      string
}

func newRig(t *testing.T, sizeMiB int64) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	r := &rig{New(Options{Driver: "fake.csi.provision.sh", Node: "one", Zone: "a", Most: 7, Kubelet: dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}), t,
		filepath.Join(dir, "disk"), "", filepath.Join(dir, "stage")}
	r.wait = 300 * time.Millisecond
	if err := os.WriteFile(r.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.file, sizeMiB<<20); err != nil {
		t.Fatal(err)
	}
	r.disk = r.run("losetup", "--find", "--show", r.file)
	t.Cleanup(func() {
		for range 3 {
			for _, p := range []string{filepath.Join(dir, "pod"), filepath.Join(dir, "pod2"), r.stage} {
				_ = exec.Command("umount", p).Run()
			}
		}
		if err := exec.Command("losetup", "--detach", r.disk).Run(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) run(name string, args ...string) string {
	r.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *rig) pod(name string) string { return filepath.Join(filepath.Dir(r.file), name) }

func capability(fs string, mode spec.VolumeCapability_AccessMode_Mode, flags ...string) *spec.VolumeCapability {
	return &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{FsType: fs, MountFlags: flags}}}
}

func raw() *spec.VolumeCapability {
	return &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: writer}, AccessType: &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}}
}

const writer = spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER

func (r *rig) stageIt(c *spec.VolumeCapability) error {
	_, err := r.NodeStageVolume(r.t.Context(), &spec.NodeStageVolumeRequest{VolumeId: "v", StagingTargetPath: r.stage, VolumeCapability: c,
		PublishContext: map[string]string{templates.VolumeDevice: r.disk}})
	return err
}

func (r *rig) publishIt(pod string, c *spec.VolumeCapability, readOnly bool) error {
	_, err := r.NodePublishVolume(r.t.Context(), &spec.NodePublishVolumeRequest{VolumeId: "v", StagingTargetPath: r.stage, TargetPath: r.pod(pod), VolumeCapability: c,
		Readonly: readOnly, PublishContext: map[string]string{templates.VolumeDevice: r.disk}})
	return err
}

func (r *rig) unpublishIt(pod string) error {
	_, err := r.NodeUnpublishVolume(r.t.Context(), &spec.NodeUnpublishVolumeRequest{VolumeId: "v", TargetPath: r.pod(pod)})
	return err
}

func (r *rig) unstageIt() error {
	_, err := r.NodeUnstageVolume(r.t.Context(), &spec.NodeUnstageVolumeRequest{VolumeId: "v", StagingTargetPath: r.stage})
	return err
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) want(err error, code codes.Code) {
	r.t.Helper()
	if got := status.Code(err); got != code {
		r.t.Fatalf("code is %s, want %s: %v", got, code, err)
	}
}

// write writes to the disk itself.
func (r *rig) write(at int64, b []byte) {
	r.t.Helper()
	f, err := os.OpenFile(r.disk, os.O_RDWR, 0)
	r.must(err)
	_, err = f.WriteAt(b, at)
	r.must(errors.Join(err, f.Sync(), f.Close()))
}

// holds is all that the disk holds.
func (r *rig) holds() []byte {
	r.t.Helper()
	f, size, err := open(r.disk, true)
	r.must(err)
	defer f.Close()
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	r.must(err)
	return b
}

// TestLife takes a disk through all that a pod's volume goes through, each step twice, for each file system: it keeps its data.
func TestLife(t *testing.T) {
	for _, fs := range []string{"", "ext4", "xfs"} {
		t.Run("fs="+fs, func(t *testing.T) {
			if _, err := exec.LookPath("mkfs.xfs"); fs == "xfs" && err != nil {
				t.Skip("mkfs.xfs is not here: apt-get install xfsprogs")
			}
			r := newRig(t, 320)
			c := capability(fs, writer, "noatime")
			twice := func(step func() error) { t.Helper(); r.must(step()); r.must(step()) }
			for round := range 2 {
				twice(func() error { return r.stageIt(c) })
				twice(func() error { return r.publishIt("pod", c, false) })
				twice(func() error { return r.publishIt("pod2", c, true) })
				if file := r.pod("pod") + "/data"; round == 0 {
					r.must(os.WriteFile(file, []byte("kept"), 0o600))
				} else if b, err := os.ReadFile(file); string(b) != "kept" {
					t.Errorf("the data is %q, %v", b, err)
				}
				if err := os.WriteFile(r.pod("pod2")+"/data", nil, 0o600); err == nil {
					t.Error("what is read-only was written to")
				}
				r.stats(r.pod("pod"))
				twice(func() error { return r.unpublishIt("pod") })
				twice(func() error { return r.unpublishIt("pod2") })
				twice(r.unstageIt)
				if _, err := os.Stat(r.pod("pod")); !os.IsNotExist(err) {
					t.Errorf("the pod's path is left: %v", err)
				}
			}
		})
	}
}

func (r *rig) stats(path string) {
	r.t.Helper()
	out, err := r.NodeGetVolumeStats(r.t.Context(), &spec.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: path})
	r.must(err)
	for _, u := range out.Usage {
		if u.Total == 0 || u.Used == 0 || u.Available == 0 || u.Used+u.Available > u.Total {
			r.t.Errorf("usage %v", u)
		}
	}
	if len(out.Usage) != 2 {
		r.t.Errorf("usage is %v, want bytes and inodes", out.Usage)
	}
}

// TestForeignData shows disks with something on them, known or not, anywhere: none is formatted or written to.
func TestForeignData(t *testing.T) {
	for name, put := range map[string]func(r *rig){
		"xfs in place of ext4": func(r *rig) { r.run("mkfs.ext4", "-q", "-F", "-t", "ext3", r.disk) },
		"swap":                 func(r *rig) { r.run("mkswap", r.disk) },
		"a partition table":    func(r *rig) { r.write(446, partitioned()) },
		"unknown at its start": func(r *rig) { r.write(100, []byte("somebody's")) },
		"unknown at its end":   func(r *rig) { r.write(64<<20-20, []byte("somebody's")) },
		"unknown in between":   func(r *rig) { r.write(32<<20, bytes.Repeat([]byte("x"), 128<<10)) },
		"nearly our mark":      func(r *rig) { r.write(last(64<<20), being[:len(being)-2]) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 64)
			put(r)
			before := r.holds()
			for _, c := range []*spec.VolumeCapability{capability("ext4", writer), capability("", writer)} {
				r.want(r.stageIt(c), codes.FailedPrecondition)
			}
			if !bytes.Equal(before, r.holds()) {
				t.Error("the disk was written to")
			}
			if at, err := mountedAt(r.stage); at != nil || err != nil {
				t.Errorf("mounted: %v, %v", at, err)
			}
		})
	}
}

// partitioned is a partition table with one partition, from where it begins in its sector.
func partitioned() []byte {
	b := make([]byte, 66)
	copy(b, []byte{0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x10, 0, 0})
	b[64], b[65] = 0x55, 0xaa
	return b
}

// TestFormattingCutOff kills mkfs at several moments: the disk is formatted again, here or on another node, and used.
func TestFormattingCutOff(t *testing.T) {
	for name, left := range map[string]func(r *rig){
		"before it began": func(r *rig) {},
		"in its middle":   func(r *rig) { r.write(5<<20, bytes.Repeat([]byte("half"), 4096)) },
		"after its end":   func(r *rig) { r.run("mkfs.ext4", "-q", "-F", r.disk); r.write(last(64<<20), being) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 64)
			r.write(last(64<<20), being)
			left(r)
			r.want(r.stageIt(capability("ext4", writer, "ro")), codes.FailedPrecondition)
			r.must(r.stageIt(capability("ext4", writer)))
			if f, size, err := open(r.disk, true); err != nil {
				t.Error(err)
			} else if still, _ := marked(f, size); still || f.Close() != nil {
				t.Error("the mark is left, and whoever stages next would format again")
			}
		})
	}
}

// TestMkfsFails lets mkfs fail, and then not.
func TestMkfsFails(t *testing.T) {
	r := newRig(t, 64)
	bin := t.TempDir()
	r.must(os.WriteFile(bin+"/mkfs.ext4", []byte("#!/bin/sh\nhead -c 8192 /dev/urandom > \"$3\"; echo no room; exit 3\n"), 0o700))
	path := os.Getenv("PATH")
	t.Setenv("PATH", bin+":"+path)
	err := r.stageIt(capability("ext4", writer))
	r.want(err, codes.Internal)
	if !strings.Contains(err.Error(), "no room") {
		t.Errorf("mkfs's words are lost: %v", err)
	}
	t.Setenv("PATH", path)
	r.must(r.stageIt(capability("ext4", writer)))
}

// TestCrash loses what is mounted, as when a machine is started anew, between stage and publish: nothing is published from the
// machine's own disk, and after another stage all goes on.
func TestCrash(t *testing.T) {
	r := newRig(t, 64)
	c := capability("ext4", writer)
	r.must(r.stageIt(c))
	r.must(r.publishIt("pod", c, false))
	r.must(os.WriteFile(r.pod("pod")+"/data", []byte("kept"), 0o600))
	r.run("umount", r.pod("pod"))
	r.run("umount", r.stage)
	again := New(r.o) // an agent that knows nothing
	again.wait = r.wait
	r.Node = again
	r.want(r.publishIt("pod", c, false), codes.FailedPrecondition)
	r.must(r.stageIt(c))
	r.must(r.publishIt("pod", c, false))
	if b, err := os.ReadFile(r.pod("pod") + "/data"); string(b) != "kept" {
		t.Errorf("the data is %q, %v", b, err)
	}
	r.must(r.unpublishIt("pod"))
	r.must(r.unstageIt())
}

// TestReadOnlyCutOff finds a bind mount that was to be made read-only in a second step.
func TestReadOnlyCutOff(t *testing.T) {
	r := newRig(t, 64)
	c := capability("ext4", writer)
	r.must(r.stageIt(c))
	r.must(os.Mkdir(r.pod("pod"), 0o700))
	r.run("mount", "--bind", r.stage, r.pod("pod"))
	r.must(r.publishIt("pod", c, true))
	if err := os.WriteFile(r.pod("pod")+"/data", nil, 0o600); err == nil {
		t.Error("what is read-only was written to")
	}
}

// TestGrow lets the disk grow under a file system in use.
func TestGrow(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			if _, err := exec.LookPath("mkfs.xfs"); fs == "xfs" && err != nil {
				t.Skip("mkfs.xfs is not here: apt-get install xfsprogs")
			}
			r := newRig(t, 320)
			c := capability(fs, writer)
			r.must(r.stageIt(c))
			r.must(r.publishIt("pod", c, false))
			total := func() int64 {
				out, err := r.NodeGetVolumeStats(t.Context(), &spec.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: r.pod("pod")})
				r.must(err)
				return out.Usage[0].Total
			}
			before := total()
			r.must(os.Truncate(r.file, 640<<20))
			r.run("losetup", "--set-capacity", r.disk)
			grow := func() (*spec.NodeExpandVolumeResponse, error) {
				return r.NodeExpandVolume(t.Context(), &spec.NodeExpandVolumeRequest{VolumeId: "v", VolumePath: r.pod("pod"), CapacityRange: &spec.CapacityRange{RequiredBytes: 640 << 20}})
			}
			if fs == "ext4" && !mayResize() {
				t.Log("without CAP_SYS_RESOURCE ext4 does not grow in use, but when it is mounted next")
				_, err := grow()
				r.want(err, codes.FailedPrecondition)
				r.must(r.unpublishIt("pod"))
				r.must(r.unstageIt())
				r.must(r.stageIt(c))
				r.must(r.publishIt("pod", c, false))
			}
			for range 2 {
				out, err := grow()
				r.must(err)
				if out.CapacityBytes != 640<<20 || total() < before*3/2 {
					t.Errorf("the device has %d bytes, the file system %d, %d before", out.CapacityBytes, total(), before)
				}
			}
		})
	}
}

// mayResize says whether this process has CAP_SYS_RESOURCE, which the kernel asks for.
func mayResize() bool {
	b, _ := os.ReadFile("/proc/self/status")
	_, line, _ := strings.Cut(string(b), "CapEff:")
	caps, _ := strconv.ParseUint(strings.Fields(line)[0], 16, 64)
	return caps&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// TestCopyFillsItsDisk stages a copy of a smaller disk.
func TestCopyFillsItsDisk(t *testing.T) {
	r := newRig(t, 256)
	r.run("mkfs.ext4", "-q", "-F", r.disk, "64M")
	r.must(r.stageIt(capability("ext4", writer)))
	out, err := r.NodeGetVolumeStats(t.Context(), &spec.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: r.stage})
	r.must(err)
	if out.Usage[0].Total < 200<<20 {
		t.Errorf("the file system has %d bytes of 256 MiB", out.Usage[0].Total)
	}
}

// TestRaw gives a pod the device itself.
func TestRaw(t *testing.T) {
	r := newRig(t, 64)
	for range 2 {
		r.must(r.stageIt(raw()))
		r.must(r.publishIt("pod", raw(), false))
	}
	r.must(os.WriteFile(r.pod("pod"), []byte("the pod's own"), 0))
	out, err := r.NodeGetVolumeStats(t.Context(), &spec.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: r.pod("pod")})
	if r.must(err); out.Usage[0].Total != 64<<20 {
		t.Errorf("usage %v", out.Usage)
	}
	r.must(os.Truncate(r.file, 128<<20))
	r.run("losetup", "--set-capacity", r.disk)
	grown, err := r.NodeExpandVolume(t.Context(), &spec.NodeExpandVolumeRequest{VolumeId: "v", VolumePath: r.pod("pod"), CapacityRange: &spec.CapacityRange{RequiredBytes: 128 << 20}})
	if r.must(err); grown.CapacityBytes != 128<<20 {
		t.Errorf("it grew to %v", grown)
	}
	for range 2 {
		r.must(r.unpublishIt("pod"))
		r.must(r.unstageIt())
	}
	if !bytes.HasPrefix(r.holds(), []byte("the pod's own")) {
		t.Error("what the pod wrote is not on the disk")
	}
	r.want(r.stageIt(capability("ext4", writer)), codes.FailedPrecondition) // now it holds a pod's data
}

// TestOnePod refuses a second pod a volume that is for one.
func TestOnePod(t *testing.T) {
	for name, c := range map[string]*spec.VolumeCapability{"mounted": capability("ext4", writer), "raw": raw()} {
		t.Run(name, func(t *testing.T) {
			c.AccessMode.Mode = spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
			r := newRig(t, 64)
			r.must(r.stageIt(c))
			r.must(r.publishIt("pod", c, false))
			r.want(r.publishIt("pod2", c, false), codes.FailedPrecondition)
			r.must(r.unpublishIt("pod"))
			r.must(r.publishIt("pod2", c, false))
		})
	}
}

// TestAnotherVolumeInTheWay finds another disk where this one shall be.
func TestAnotherVolumeInTheWay(t *testing.T) {
	a, b := newRig(t, 64), newRig(t, 64)
	c := capability("ext4", writer)
	a.must(a.stageIt(c))
	b.stage = a.stage
	b.want(b.stageIt(c), codes.AlreadyExists)
}

// TestNoDevice names devices that are not there, or are none.
func TestNoDevice(t *testing.T) {
	r := newRig(t, 64)
	for name, code := range map[string]codes.Code{"": codes.InvalidArgument, "/dev/disk/by-id/none": codes.Unavailable, "/etc/passwd": codes.Unavailable,
		"/dev/../etc/passwd": codes.Unavailable, "/dev/null": codes.Unavailable, "no-such-serial": codes.Unavailable} {
		_, err := r.device(t.Context(), name)
		r.want(err, code)
	}
}

// TestLateDevice makes the device's link while it is looked for.
func TestLateDevice(t *testing.T) {
	r := newRig(t, 64)
	r.wait = 10 * time.Second
	link := fmt.Sprintf("/dev/provision-test-%d", os.Getpid())
	time.AfterFunc(300*time.Millisecond, func() { _ = os.Symlink(r.disk, link) })
	t.Cleanup(func() { os.Remove(link) })
	if path, err := r.device(t.Context(), link); err != nil || path != r.disk {
		t.Errorf("got %q, %v", path, err)
	}
}

// TestSerials reads what the kernel says of disks: NVMe's, virtio's and SCSI's.
func TestSerials(t *testing.T) {
	dir := t.TempDir()
	put := func(path, content string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700), os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("nvme1n1/device/serial", "vol0123456789abcdef \n")
	put("vda/serial", "abcdefghij")
	put("sdb/device/vpd_pg80", "\x00\x80\x00\x09WD-1234567")
	put("sdc/device/vpd_pg83", "\x00\x83\x00\x2c\x01\x03\x00\x08\x50\x00\x00\x00\x00\x00\x00\x01\x02\x01\x00\x1eGoogle  PersistentDisk  pvc-77")
	put("sdd/device/vpd_pg83", "\x00\x83\x00\x08\x02\x01\x00\xff")
	for disk, want := range map[string]string{"nvme1n1": "vol0123456789abcdef", "vda": "abcdefghij", "sdb": "WD-1234567", "sdc": "pvc-77", "sdd": "", "sde": ""} {
		if got := strings.Join(serials(filepath.Join(dir, disk)), " "); got != want {
			t.Errorf("%s: got %q, want %q", disk, got, want)
		}
	}
	for name, disk := range map[string]string{"vol0123456789abcdef": "nvme1n1", "nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef": "nvme1n1", "virtio-abcdefghij": "vda"} {
		if _, err := bySerial(dir, name); err == nil || !strings.Contains(err.Error(), "/dev/"+disk) && !errors.Is(err, os.ErrNotExist) {
			if _, e := os.Stat("/dev/" + disk); e == nil && err != nil {
				t.Errorf("%s: got %v, want %s", name, err, disk)
			}
		}
	}
	if _, err := bySerial(dir, "other"); err == nil || !strings.Contains(err.Error(), "no disk has") {
		t.Errorf("got %v", err)
	}
}

func TestInfo(t *testing.T) {
	n := New(Options{Driver: "fake.csi.provision.sh", Node: "one", Zone: "a", Most: 7})
	out, err := n.NodeGetInfo(t.Context(), nil)
	if err != nil || out.NodeId != "one" || out.MaxVolumesPerNode != 7 || out.AccessibleTopology.Segments[templates.VolumeZone] != "a" {
		t.Errorf("got %v, %v", out, err)
	}
}

// dialable says whether somebody answers at a socket.
func dialable(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return err == nil
}
