package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// secretFile makes a file that only a child process can read: it is in memory, has no name, and is gone with the last
// process that has it open, however that ends. The child gets the file as its descriptor 3 and finds it at the path.
func secretFile(content []byte) (path string, f *os.File, err error) {
	fd, err := unix.MemfdCreate("kubeconfig", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("memory for a kubeconfig: %w", err)
	}
	f = os.NewFile(uintptr(fd), "kubeconfig")
	if _, err := f.Write(content); err != nil {
		f.Close()
		return "", nil, err
	}
	return "/proc/self/fd/3", f, nil
}

// removeNamed removes what secretFile left on the disk: nothing.
func removeNamed(string) {}
