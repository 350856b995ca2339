//go:build linux && amd64

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// pluggedIn is a vendor in a process of its own.
func pluggedIn(t *testing.T, dir string) flavour {
	t.Helper()
	program := build(t, filepath.Join(dir, "plugins", "provision-provider-fakeplug"), "../../providers/remote/fakeplugin")
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	cluster := fmt.Sprintf(`
provider "fakeplug" {
  path    = "w/vendor.db"
  options = var.options
  sha256  = "%x"
}
`, sha256.Sum256(b)) + crashBody
	return flavour{name: "plug-in", cluster: cluster, env: []string{"PROVISION_PLUGINS=" + filepath.Dir(program)}, sockets: true, stride: 1000, thin: 20}
}

// TestCrashPlugin kills the program, and the plug-in that is its vendor, at every boundary: what each writes to files, and what
// they say to one another. The program may survive the plug-in's death by itself. No plug-in survives the program's.
func TestCrashPlugin(t *testing.T) {
	r := newCrashRig(t, pluggedIn)
	r.killedAtBoundaries()
	r.killedAtRandom()
	t.Logf("\n%s", r.tally.String())
}
