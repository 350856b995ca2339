//go:build linux

package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// programPath is where a machine sees the program that its process 1 is.
const programPath = "/usr/local/sbin/machine-init"

// machineLoops is how many loop devices a machine has nodes for. They are the host's, as the kernel has one set of them.
const machineLoops = 256

const procFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// enterRoot makes the machine's root of its layers and folders and goes there. It is called in new namespaces and leaves
// nothing of the host's mounts behind.
func enterRoot(b *bootConfig) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cut mounts off from the host's: %w", err)
	}
	top := filepath.Join(b.Dir, "root")
	r := root{b.Dir, b.Layers}
	for i, layer := range b.Layers {
		if err := mountLayer(r, i, filepath.Join(top, layer)); err != nil {
			return err
		}
	}
	if err := bindAll(b, r, top); err != nil {
		return err
	}
	if err := mountKernel(b, top); err != nil {
		return err
	}
	if err := os.Chdir(top); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func mountLayer(r root, i int, at string) error {
	lower := r.layers[i]
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", escapeOption(lower), escapeOption(r.upper(i)), escapeOption(r.work(i)))
	err := unix.Mount("overlay", at, "overlay", 0, options)
	if errors.Is(err, unix.EINVAL) {
		return fail(providers.Unsupported, "no overlay of %s can be kept in %s: its file system is one that overlays cannot write to (another overlay, or one over the network); choose a folder on a real disk: %w", lower, r.dir, err)
	}
	if err != nil {
		return kernelLacks("overlays (module overlay)", err)
	}
	return nil
}

// escapeOption writes a path as an option of an overlay's mount.
func escapeOption(path string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}

// bindAll mounts the machine's disk folders and its program, and hides the folder that all machines are kept in.
func bindAll(b *bootConfig, r root, top string) error {
	if _, err := os.Stat(filepath.Join(top, b.Folder)); err == nil && !below(b.Folder, []string{"/var/lib/provision"}) {
		if err := unix.Mount("none", filepath.Join(top, b.Folder), "tmpfs", unix.MS_RDONLY, "size=0,mode=0755"); err != nil {
			return fmt.Errorf("hide %s: %w", b.Folder, err)
		}
	}
	for path, name := range diskFolders() {
		if err := unix.Mount(r.disk(name), filepath.Join(top, path), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	program := filepath.Join(top, programPath)
	if err := touch(program); err != nil {
		return err
	}
	if err := unix.Mount(b.Program, program, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", programPath, err)
	}
	return unix.Mount("", program, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o755)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountKernel mounts what the kernel shows of itself.
func mountKernel(b *bootConfig, top string) error {
	for _, m := range []struct {
		path, fstype, options string
		flags                 uintptr
	}{
		{"/proc", "proc", "", procFlags},
		{"/sys", "sysfs", "", procFlags},
		{"/run", "tmpfs", "mode=0755,size=20%", unix.MS_NOSUID | unix.MS_NODEV},
		{"/dev", "tmpfs", "mode=0755,size=1m", unix.MS_NOSUID},
	} {
		if err := mountAt(top, m.path, m.fstype, m.flags, m.options); err != nil {
			return err
		}
	}
	if err := guardSysctls(top); err != nil {
		return err
	}
	if err := showMemory(top, b.MemoryMiB); err != nil {
		return err
	}
	if err := fillDev(top, b.Devices); err != nil {
		return err
	}
	return mountGroups(b.Groups, top)
}

func mountAt(top, path, fstype string, flags uintptr, options string) error {
	if err := os.MkdirAll(filepath.Join(top, path), 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fstype, filepath.Join(top, path), fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// guardSysctls keeps what a machine sets away from the host: only the settings of its own network namespace are real. Those
// that a kubelet insists on setting are files of the machine's own.
func guardSysctls(top string) error {
	sys := filepath.Join(top, "proc/sys")
	own := filepath.Join(top, "run/sysctl")
	if err := unix.Mount(sys, sys, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	net := filepath.Join(sys, "net")
	if err := unix.Mount(net, net, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		b, err := os.ReadFile(filepath.Join(sys, name))
		if err != nil {
			continue // this kernel does not have it
		}
		if err := writeFile(filepath.Join(own, name), b, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(filepath.Join(own, name), filepath.Join(sys, name), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := unix.Mount("", sys, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|procFlags, ""); err != nil {
		return fmt.Errorf("make /proc/sys read-only: %w", err)
	}
	trigger := filepath.Join(top, "proc/sysrq-trigger")
	if _, err := os.Stat(trigger); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unix.Mount(trigger, trigger, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", trigger, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|procFlags, "")
}

// showMemory lets programs see as much memory as the machine may use, a kubelet above all. It is the memory at boot: what is
// free later is in the control group.
func showMemory(top string, memoryMiB int) error {
	file, own := filepath.Join(top, "proc/meminfo"), filepath.Join(top, "run/meminfo")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(own, []byte(capMemory(string(b), memoryMiB)), 0o444); err != nil {
		return err
	}
	return unix.Mount(own, file, "", unix.MS_BIND, "")
}

// capMemory returns the text of a meminfo file in which nothing is more than there is.
func capMemory(meminfo string, memoryMiB int) string {
	var b strings.Builder
	for line := range strings.Lines(meminfo) {
		name, rest, _ := strings.Cut(line, ":")
		var kib int
		if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
			b.WriteString(line)
			continue
		}
		switch name {
		case "SwapTotal", "SwapFree":
			kib = 0
		case "VmallocTotal":
		default:
			kib = min(kib, memoryMiB<<10)
		}
		fmt.Fprintf(&b, "%-15s %8d kB\n", name+":", kib)
	}
	return b.String()
}

// fillDev makes the devices that programs of a node look for, as far as the host has them, and those of the machine's volumes;
// those of other machines' volumes it does not.
func fillDev(top string, volumes []device) error {
	names := []string{"null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "loop-control", "net/tun"}
	for _, n := range names {
		var s unix.Stat_t
		if err := unix.Stat(filepath.Join("/dev", n), &s); err != nil || s.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		at := filepath.Join(top, "dev", n)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := unix.Mknod(at, s.Mode, int(s.Rdev)); err != nil {
			return fmt.Errorf("make /dev/%s: %w", n, err)
		}
		if err := unix.Chmod(at, s.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := fillLoops(filepath.Join(top, "dev")); err != nil {
		return err
	}
	if err := fillVolumes(filepath.Join(top, deviceFolder), volumes); err != nil {
		return err
	}
	links := map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx", "core": "/proc/kcore",
	}
	for n, to := range links {
		if err := os.Symlink(to, filepath.Join(top, "dev", n)); err != nil {
			return err
		}
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
	return errors.Join(
		mountAt(top, "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
		mountAt(top, "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
		mountAt(top, "/dev/mqueue", "mqueue", flags, ""),
	)
}

// fillLoops makes the nodes of loop devices for everybody: also of those that the kernel has not made yet, as it makes their nodes in
// the host's /dev only.
func fillLoops(dir string) error {
	var first unix.Stat_t
	if err := unix.Stat("/dev/loop0", &first); err != nil {
		return nil // this kernel has none, or not yet: nobody needed one
	}
	step := uint32(1) // more if loop devices have partitions
	var second unix.Stat_t
	if err := unix.Stat("/dev/loop1", &second); err == nil {
		step = unix.Minor(second.Rdev)
	}
	for n := range uint32(machineLoops) {
		at := filepath.Join(dir, fmt.Sprintf("loop%d", n))
		if err := unix.Mknod(at, first.Mode, int(unix.Mkdev(unix.Major(first.Rdev), n*step))); err != nil {
			return fmt.Errorf("make %s: %w", at, err)
		}
	}
	return nil
}

// fillVolumes makes the devices of the machine's volumes.
func fillVolumes(dir string, volumes []device) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, d := range volumes {
		if err := d.makeIn(int(f.Fd())); err != nil {
			return err
		}
	}
	return nil
}

// mountGroups mounts the control groups as the host has them, seen from inside the machine's namespace of them.
func mountGroups(hs []hierarchy, top string) error {
	const dir = "/sys/fs/cgroup"
	flags := uintptr(procFlags)
	for _, h := range hs {
		if h.V2 && onlyV2(hs) {
			return mountAt(top, dir, "cgroup2", flags, "")
		}
	}
	if err := mountAt(top, dir, "tmpfs", flags, "mode=0755,size=1m"); err != nil {
		return err
	}
	for _, h := range hs {
		path, fstype, options := filepath.Join(dir, filepath.Base(h.Mount)), "cgroup", strings.Join(h.Controllers, ",")
		switch {
		case h.V2:
			fstype = "cgroup2"
		case strings.HasPrefix(options, "name="):
			options = "none," + options
		}
		if err := mountAt(top, path, fstype, flags, options); err != nil {
			return err
		}
		for _, c := range h.Controllers { // cpu and cpuacct beside cpu,cpuacct
			if c == filepath.Base(path) || strings.Contains(c, "=") {
				continue
			}
			_ = os.Symlink(filepath.Base(path), filepath.Join(top, dir, c)) // fails where it has another mount
		}
	}
	return nil
}
