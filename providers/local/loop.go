//go:build linux

package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

const (
	// loopBase is the number of the first loop device that volumes get. Those below are the host's and everybody's: machines
	// see them. It fits a kernel whose loop devices have 255 partitions each.
	loopBase = 1024
	loopMost = 1024 // how many volumes of this host can be attached at once

	loopControl = "/dev/loop-control"
)

// errInUse says that a loop device is mounted, or open in some process.
var errInUse = errors.New("it is in use: mounted, or open in a process")

// A loop is the number of a loop device.
type loop int

func (l loop) path() string { return fmt.Sprintf("/dev/loop%d", l) }

// bound says whether the device shows a file.
func (l loop) bound() bool {
	_, err := os.Stat(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l))
	return err == nil
}

// open opens the device. Who only looks opens it to read: the end of one who could write makes the host look at what is on it. The kernel makes its node, but for a host whose /dev is a folder like any other.
func (l loop) open(flags int) (*os.File, error) {
	f, err := os.OpenFile(l.path(), flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	var major, minor uint32
	b, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/dev", l))
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err != nil {
		return nil, err
	}
	if err := unix.Mknod(l.path(), unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.OpenFile(l.path(), flags, 0)
}

// node returns what a node of the device is made of.
func (l loop) node() (rdev uint64, err error) {
	f, err := l.open(os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var s unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &s)
	return s.Rdev, err
}

// volumeLoops are the loop devices that are there and that only volumes get.
func volumeLoops() (all []loop) {
	dirs, _ := filepath.Glob("/sys/block/loop[0-9]*")
	for _, d := range dirs {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(d), "loop")); err == nil && n >= loopBase {
			all = append(all, loop(n))
		}
	}
	return all
}

// loopOf returns the loop device that shows the file, -1 if none does.
func loopOf(file string) (loop, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return loopOfLost(file), nil
	}
	if err != nil {
		return -1, err
	}
	want := info.Sys().(*syscall.Stat_t)
	for _, l := range volumeLoops() {
		if !l.bound() {
			continue
		}
		if s, err := l.status(); err == nil && s.Device == want.Dev && s.Inode == want.Ino {
			return l, nil
		}
	}
	return -1, nil
}

// loopOfLost returns the loop device of a file that somebody has removed: it still shows it, and keeps its space.
func loopOfLost(file string) loop {
	for _, l := range volumeLoops() {
		b, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l))
		if err == nil && strings.TrimSpace(string(b)) == file+" (deleted)" {
			return l
		}
	}
	return -1
}

func (l loop) status() (*unix.LoopInfo64, error) {
	f, err := l.open(os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.IoctlLoopGetStatus64(int(f.Fd()))
}

// bindLoop lets a loop device show the file, the one that does already if there is one. The label is what losetup(8) shows.
func bindLoop(file, label string) (loop, error) {
	if l, err := loopOf(file); l >= 0 || err != nil {
		return l, err
	}
	data, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, fail(providers.NotFound, "its data, %s, are gone", file)
	}
	if err != nil {
		return -1, err
	}
	defer data.Close()
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return -1, kernelLacks("loop devices (module loop)", err)
	}
	defer control.Close()
	for l := loop(loopBase); l < loopBase+loopMost; l++ {
		done, err := l.claim(control, data, label)
		if done || err != nil {
			return l, err
		}
	}
	return -1, fail(providers.Quota, "%d volumes are attached on this host, no more can be", loopMost)
}

// claim makes the device if there is none and binds the file to it; false if somebody else has it.
func (l loop) claim(control, data *os.File, label string) (bool, error) {
	config := unix.LoopConfig{Fd: uint32(data.Fd())}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], label)
	for {
		if err := unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_ADD, int(l)); err != nil && !errors.Is(err, unix.EEXIST) {
			return false, fmt.Errorf("make %s: %w", l.path(), err)
		}
		f, err := l.open(os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
			continue // a sweep has just removed it, as it showed nothing yet
		}
		if err != nil {
			return false, err
		}
		defer f.Close()
		err = unix.IoctlLoopConfigure(int(f.Fd()), &config)
		switch {
		case errors.Is(err, unix.EBUSY):
			return false, nil
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTTY):
			return false, kernelLacks("LOOP_CONFIGURE (Linux 5.8)", err)
		case err != nil:
			return false, fmt.Errorf("bind %s: %w", l.path(), err)
		}
		return true, nil
	}
}

// grow lets the device have the size that its file has by now.
func (l loop) grow() error {
	f, err := l.open(os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0)
}

// release takes the file off the device and removes the device. It waits a while for others to let go of it: the kernel, too,
// needs a moment to unmount what a machine had mounted that has just ended. errInUse, with all as it was, if they do not.
func (l loop) release(ctx context.Context, patience time.Duration) error {
	if !waitFor(ctx, patience, l.clear) {
		err := l.keep()
		if l.bound() { // else the last to use it has just closed it
			return errors.Join(err, cmp.Or(ctx.Err(), errInUse))
		}
	}
	l.remove()
	return nil
}

// clear takes the file off the device if nobody uses it.
func (l loop) clear() bool {
	if !l.bound() {
		return true
	}
	f, err := l.open(os.O_RDWR | unix.O_EXCL) // fails while it is mounted
	if err != nil {
		return !l.bound()
	}
	err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
	f.Close() // the last to close it clears it
	return (err == nil || errors.Is(err, unix.ENXIO)) && !l.bound()
}

// keep undoes clear, whose effect would come when the last process closes the device.
func (l loop) keep() error {
	f, err := l.open(os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil || s.Flags&unix.LO_FLAGS_AUTOCLEAR == 0 {
		return err
	}
	s.Flags &^= unix.LO_FLAGS_AUTOCLEAR
	return unix.IoctlLoopSetStatus64(int(f.Fd()), s)
}

// remove removes the device if it shows nothing and nobody has it open. What is left is used again, or swept.
func (l loop) remove() {
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer control.Close()
	if unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_REMOVE, int(l)) == nil {
		os.Remove(l.path()) // the kernel has, where it had made it
	}
}

// sweepLoops removes devices that show nothing: those of a process that was killed before it could bind a file.
func sweepLoops() {
	for _, l := range volumeLoops() {
		if !l.bound() {
			l.remove()
		}
	}
}
