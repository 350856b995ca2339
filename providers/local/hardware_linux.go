package local

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// hardware returns how many processors the host has and how much memory, in MiB.
func hardware() (cpus, memoryMiB int) {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err == nil {
		memoryMiB = int(uint64(s.Totalram) * uint64(s.Unit) >> 20)
	}
	return runtime.NumCPU(), memoryMiB
}
