// Package pages gives the memory of a long-lived program back that its start took.
package pages

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// When pages are given back: once the start is over, and then now and again.
const (
	firstTrim = 30 * time.Second
	nextTrim  = 5 * time.Minute
)

// Trim gives back, again and again and for as long as the process lives, the pages of the program file that the process has mapped. A start runs through
// the set-up of every package that is linked in, and leaves most of a large file mapped, as if it were in use: more than
// half of what a worker's processes hold. What is used afterwards is mapped again from the page cache, at a minor fault
// each; what is not, the kernel may now reclaim. Nothing is lost: the pages are of a file and read-only.
func Trim() {
	for pause := firstTrim; ; pause = nextTrim {
		time.Sleep(pause)
		trimOnce()
	}
}

func trimOnce() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[5] != exe || strings.Contains(f[1], "w") {
			continue // only read-only parts of the file: others hold what was written
		}
		var start, end uintptr
		if n, _ := fmt.Sscanf(f[0], "%x-%x", &start, &end); n == 2 && end > start {
			syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_DONTNEED)
		}
	}
}
