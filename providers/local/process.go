//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process names one process for good: a number alone is given to others later.
type process struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since the host's boot
	Boot  string `json:"boot"`  // which boot of the host
}

// identify returns the process of that number as it is now.
func identify(pid int) (process, error) {
	start, err := startOf(pid)
	if err != nil {
		return process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return process{pid, start, strings.TrimSpace(string(boot))}, err
}

// startOf reads when a process was started.
func startOf(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before it may hold anything
	if len(f) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return string(f[19]), nil
}

// open returns a descriptor of the very process, -1 if it is gone. One that is dead and not yet reaped counts as gone, but
// not one whose first thread alone is: process 1 of a machine still waits for all others to end then.
func (p process) open() (int, error) {
	if p.PID <= 0 {
		return -1, nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // EINVAL: the number is a thread's now
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	now, err := identify(p.PID) // asked after opening, so the descriptor is that process's
	if err != nil || now != p {
		unix.Close(fd)
		return -1, nil
	}
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ended, 0); err == nil && n > 0 {
		unix.Close(fd)
		return -1, nil
	}
	return fd, nil
}

// alive says whether the process still runs.
func (p process) alive() bool {
	fd, err := p.open()
	if fd >= 0 {
		unix.Close(fd)
	}
	return fd >= 0 || err != nil
}

// signal sends the signal to the process and to no other. It succeeds if the process is gone.
func (p process) signal(s unix.Signal) error {
	fd, err := p.open()
	if fd < 0 {
		return err
	}
	defer unix.Close(fd)
	err = unix.PidfdSendSignal(fd, s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// ended waits until the process is gone; false if it is still there when the time is over or the context ends.
func (p process) ended(ctx context.Context, within time.Duration) bool {
	return waitFor(ctx, within, func() bool { return !p.alive() })
}

// reaped waits for a dead process to be reaped, which is up to the host's process 1.
func (p process) reaped(ctx context.Context, within time.Duration) {
	waitFor(ctx, within, func() bool {
		start, err := startOf(p.PID)
		return err != nil || start != p.Start
	})
}

// waitFor asks until the answer is true; false if the time is over or the context ends before.
func waitFor(ctx context.Context, within time.Duration, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			return holds()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}
