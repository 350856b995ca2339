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
	start, state, err := stat(pid)
	if err != nil {
		return process{}, err
	}
	if state == 'Z' || state == 'X' {
		return process{}, unix.ESRCH
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return process{pid, start, strings.TrimSpace(string(boot))}, err
}

// stat reads start time and state of a process from /proc.
func stat(pid int) (start string, state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before it may hold anything
	if len(f) < 20 {
		return "", 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return string(f[19]), f[0][0], nil
}

// alive says whether the process still runs. A dead one that was not yet reaped does not.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	now, err := identify(p.PID)
	return err == nil && now == p
}

// signal sends the signal to the process and to no other. It succeeds if the process is gone.
func (p process) signal(s unix.Signal) error {
	if p.PID <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !p.alive() { // asked after opening, so the descriptor is the very process's
		return nil
	}
	err = unix.PidfdSendSignal(fd, s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// ended waits until the process is gone; false if it is still there when the time is over or the context ends.
func (p process) ended(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for p.alive() {
		select {
		case <-ctx.Done():
			return !p.alive()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}
