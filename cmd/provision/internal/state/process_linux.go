package state

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// thisProcess says which process this is. What cannot be found out stays empty.
func thisProcess() process {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}
	}
	clock, _ := os.Readlink("/proc/self/ns/time")
	space, _ := os.Readlink("/proc/self/ns/pid")
	p := process{Boot: strings.TrimSpace(string(boot)) + " " + clock, Space: space}
	if space != "" {
		p.Start = startOf(os.Getpid())
	}
	return p
}

// startOf tells when a process was started, in the system's own count: with its ID, that names it for ever. It is empty if
// there is none of that ID, or if it has ended and waits for its parent.
func startOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	f := strings.Fields(string(b[strings.LastIndex(string(b), ")")+1:])) // the name in front may hold anything
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

// ended says whether the process that was started then is no more. A system may hide processes of other users.
func ended(pid int, start string) bool {
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
		return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
	}
	return startOf(pid) != start
}

// monotonic is the system's clock that nobody sets and that stands still while the system sleeps.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
