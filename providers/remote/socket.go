package remote

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// socketFolder is where the folders of sockets are made: one of this user's in the temporary folder, from which those
// are removed that a killed process has left. Paths to sockets must be short.
func socketFolder() string {
	base := os.TempDir()
	if len(base) > 45 {
		base = "/tmp"
	}
	own := filepath.Join(base, fmt.Sprintf("provision-%d", os.Getuid()))
	if os.MkdirAll(own, 0o700) != nil || os.Chmod(own, 0o700) != nil {
		return base
	}
	sweep(own, time.Minute)
	return own
}

// sweep removes folders of sockets that are older than that and where nobody listens.
func sweep(folder string, age time.Duration) {
	left, _ := filepath.Glob(filepath.Join(folder, "plugin-dir*"))
	for _, f := range left {
		if info, err := os.Stat(f); err == nil && time.Since(info.ModTime()) > age && !listening(f) {
			_ = os.RemoveAll(f)
		}
	}
}

// listening says whether somebody listens at a socket in the folder.
func listening(folder string) bool {
	sockets, _ := filepath.Glob(filepath.Join(folder, "*"))
	for _, s := range sockets {
		if c, err := net.DialTimeout("unix", s, time.Second); err == nil {
			c.Close()
			return true
		}
	}
	return false
}
