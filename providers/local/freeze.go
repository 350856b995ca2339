//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// freezeLimit is how long a file system stands still at most: whoever writes to it waits.
const freezeLimit = time.Minute

// The kernel's requests to freeze a file system and to thaw it (linux/fs.h), which x/sys does not have.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// A freezer is a process that holds a file system frozen. It is one of its own so that the file system is thawed also when this
// process is killed.
type freezer struct {
	hold  io.Closer
	child *exec.Cmd
}

// freeze freezes what is mounted of the device in the machine whose process 1 it is: what was written before is on the device
// then, and nothing is written until the freezer is thawed. It returns nil if the device is not mounted.
func freeze(ctx context.Context, init process, rdev uint64) (*freezer, error) {
	mounted, err := openMounted(init, rdev)
	if err != nil || mounted == nil {
		return nil, err
	}
	defer mounted.Close()
	c := exec.Command("/proc/self/exe")
	c.Args = []string{freezerName}
	c.Dir, c.Env = "/", machineEnv()
	c.ExtraFiles = []*os.File{mounted}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt from the keyboard is not for it
	hold, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	says, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	f := &freezer{hold, c}
	stop := context.AfterFunc(ctx, func() { hold.Close() })
	defer stop()
	if b, err := io.ReadAll(io.LimitReader(says, int64(len("frozen")))); string(b) != "frozen" {
		return nil, errors.Join(fmt.Errorf("freeze the file system of %s: %q", mounted.Name(), b), err, f.thaw())
	}
	return f, nil
}

// thaw lets writing go on.
func (f *freezer) thaw() error {
	_ = f.hold.Close() // it may be closed already
	return f.child.Wait()
}

// freezerMain is the freezer's process: the file system is descriptor 3, and thaws with the end of the standard input.
func freezerMain() int {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE)
	// EBUSY: it is frozen already, by one that was killed perhaps. Thawing it helps, and the copy is looked at once more.
	if err := unix.IoctlSetInt(3, fiFreeze, 0); err != nil && !errors.Is(err, unix.EBUSY) {
		return complain(err)
	}
	fmt.Print("frozen")
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(freezeLimit):
	}
	if err := unix.IoctlSetInt(3, fiThaw, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return complain(err)
	}
	return 0
}

// openMounted opens a place where the machine has the device mounted; nil if it has not.
func openMounted(init process, rdev uint64) (*os.File, error) {
	mountinfo, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", init.PID))
	if err != nil {
		return nil, ofLiving(init, err)
	}
	want := fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
	for line := range strings.Lines(string(mountinfo)) {
		if f := strings.Fields(line); len(f) > 4 && f[2] == want {
			return openIn(init, unescape(f[4]), rdev)
		}
	}
	return nil, nil
}

// openIn opens a path in the root of the process, which must be on the device: never another file system is frozen.
func openIn(p process, path string, rdev uint64) (*os.File, error) {
	root, err := openRoot(p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s in the machine: %w", path, err)
	}
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil || s.Dev != rdev {
		unix.Close(fd)
		return nil, errors.Join(err, fmt.Errorf("%s in the machine is not on the volume", path))
	}
	return os.NewFile(uintptr(fd), path), nil
}
