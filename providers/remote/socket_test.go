package remote

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSweep removes what killed processes left, and nothing that is in use or new.
func TestSweep(t *testing.T) {
	folder, err := os.MkdirTemp("", "sweep")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"plugin-dir1", "plugin-dir2", "plugin-dir3", "plugin-dir4", "other"} {
		f := filepath.Join(folder, name)
		if err := os.Mkdir(f, 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "plugin-dir2" || name == "plugin-dir4" {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(f, "s"), Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			if l.SetUnlinkOnClose(false); name == "plugin-dir4" {
				l.Close() // the socket stays
			} else {
				defer l.Close()
			}
		}
		if name != "plugin-dir3" {
			if err := os.Chtimes(f, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep(folder, time.Minute)
	for name, want := range map[string]bool{"plugin-dir1": false, "plugin-dir2": true, "plugin-dir3": true, "plugin-dir4": false, "other": true} {
		if _, err := os.Stat(filepath.Join(folder, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}
