//go:build linux

package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLoop takes a file through a loop device's life, and freezes what is mounted of it, without a machine: a process with mounts
// of its own stands for one.
func TestLoop(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: loop devices need root; run the tests as root")
	}
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	if l, err := loopOf(file); l >= 0 || err != nil {
		t.Fatalf("before anything was bound the file is shown by %d, %v", l, err)
	}
	l, err := bindLoop(file, "a label")
	if err != nil {
		t.Fatal(err)
	}
	defer l.release(t.Context(), time.Second)
	if again, err := bindLoop(file, "a label"); again != l || err != nil {
		t.Errorf("bound again it is shown by %d, %v; want %d", again, err, l)
	}
	if s, err := l.status(); err != nil || !strings.HasPrefix(string(s.File_name[:]), "a label") || l < loopBase {
		t.Errorf("device %d: %+v, %v", l, s, err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", l.path()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	user, at := mounter(t, l)
	if err := l.release(t.Context(), 50*time.Millisecond); !errors.Is(err, errInUse) {
		t.Fatalf("release while it is mounted: %v, want errInUse", err)
	}
	if err := errors.Join(os.Truncate(file, 96<<20), l.grow()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("blockdev", "--getsize64", l.path()).Output(); err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(96<<20) {
		t.Errorf("grown it has %s bytes, %v", out, err)
	}
	tryFrozen(t, user, l, at)
	if err := user.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := l.release(t.Context(), 10*time.Second); err != nil {
		t.Fatalf("release after its user has ended: %v", err)
	}
	if now, err := loopOf(file); now >= 0 || err != nil || exists(l.path()) {
		t.Errorf("released it is shown by %d, %v; whether the device is there is %v", now, err, exists(l.path()))
	}
}

// mounter starts a process that has the device mounted, and returns it and where a file on it is seen from here.
func mounter(t *testing.T, l loop) (process, string) {
	t.Helper()
	dir := t.TempDir()
	c := exec.Command("sh", "-c", fmt.Sprintf("mount --make-rprivate / && mount %s %s && touch %s/ready && exec sleep 100", l.path(), dir, dir))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	seen := fmt.Sprintf("/proc/%d/root%s", c.Process.Pid, dir)
	if !waitFor(t.Context(), 5*time.Second, func() bool { return exists(seen + "/ready") }) {
		t.Fatal("it is not mounted")
	}
	p, err := identify(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, seen
}

// tryFrozen freezes the file system and thaws it as the death of the one who freezes does.
func tryFrozen(t *testing.T, user process, l loop, at string) {
	t.Helper()
	rdev, err := l.node()
	if err != nil {
		t.Fatal(err)
	}
	if none, err := freeze(t.Context(), user, rdev+1); none != nil || err != nil {
		t.Errorf("freeze of a device that is not mounted: %v, %v", none, err)
	}
	f, err := freeze(t.Context(), user, rdev)
	if err != nil || f == nil {
		t.Fatalf("freeze: %v, %v", f, err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(at+"/late", []byte("late"), 0o600) }()
	select {
	case err := <-written:
		t.Errorf("what is frozen can be written to: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	f.hold.Close()
	select {
	case err := <-written:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is not thawed")
	}
	if err := f.thaw(); err != nil {
		t.Error(err)
	}
}
