//go:build linux

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	watchSettle = 10 * time.Millisecond // several changes at once are one
	watchAtMost = 5 * time.Second       // a change that was missed is seen then
	watchMask   = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE
)

// watchFolders yields once at first and then whenever something in the folder or in one of its folders may have changed.
func watchFolders(dir string) func(yield func() bool) {
	return func(yield func() bool) {
		events := make(chan struct{}, 1)
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			fmt.Fprintln(os.Stderr, "inotify:", err) // then every watchAtMost
		} else {
			f := os.NewFile(uintptr(fd), "inotify")
			defer f.Close()
			go readEvents(f, events)
		}
		for {
			if fd >= 0 {
				addWatches(fd, dir)
			}
			if !yield() {
				return
			}
			select {
			case <-events:
				time.Sleep(watchSettle)
			case <-time.After(watchAtMost):
			}
		}
	}
}

// addWatches watches the folder and those in it. Watching one again changes nothing.
func addWatches(fd int, dir string) {
	entries, _ := os.ReadDir(dir)
	paths := []string{dir}
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	for _, p := range paths {
		if _, err := unix.InotifyAddWatch(fd, p, watchMask|unix.IN_ONLYDIR); err != nil && err != unix.ENOTDIR && err != unix.ENOENT {
			fmt.Fprintf(os.Stderr, "watch %s: %v\n", p, err)
		}
	}
}

// readEvents says that there was an event; which one does not matter.
func readEvents(f *os.File, events chan<- struct{}) {
	buf := make([]byte, 64<<10)
	for {
		if _, err := f.Read(buf); err != nil {
			return
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}
