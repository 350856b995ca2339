//go:build linux && amd64

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fakePlugin builds the fake vendor as a plug-in and returns what its block has to have and the environment in which it is
// found.
func fakePlugin(t *testing.T) (pin string, env []string) {
	t.Helper()
	folder := buildPlugin(t, "fakeplug", "../../providers/remote/fakeplugin")
	b, err := os.ReadFile(filepath.Join(folder, "provision-provider-fakeplug"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha256 = \"%x\"", sha256.Sum256(b)), []string{"PROVISION_PLUGINS=" + folder}
}

// pluggedIn is a vendor in a process of its own.
func pluggedIn(t *testing.T) flavour {
	pin, env := fakePlugin(t)
	cluster := fmt.Sprintf(`
provider "fakeplug" {
  %s
  path    = "w/vendor.db"
  options = var.options
}
`, pin) + crashBody
	return flavour{name: "plug-in", cluster: cluster, env: env, sockets: true, stride: 1000, thin: 20, most: 30}
}

// TestCrashPlugin kills the program, and the plug-in that is its vendor, at every boundary: what each writes to files, and what
// they say to one another. The program may survive the plug-in's death by itself. No plug-in survives the program's.
func TestCrashPlugin(t *testing.T) {
	r := newCrashRig(t, pluggedIn)
	r.killedAtBoundaries()
	r.killedAtRandom()
	t.Logf("\n%s", r.tally.String())
}
