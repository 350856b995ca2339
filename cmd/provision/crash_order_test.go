//go:build linux && amd64

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
)

// A kill leaves what was written, synced or not; a loss of power does not. So this looks at the order: one step after another,
// nothing of the state may be unsynced when the vendor is made to do something.

// order checks the order of writes in each scenario.
func (r *crashRig) order() {
	for _, s := range r.scenarios {
		site, err := r.begin(s)
		if err != nil {
			r.t.Fatal(err)
		}
		d := dirt{}
		effects := 0
		var problems []string
		o, err := site.Watch(crashtest.Watch{At: func(_ int, b crashtest.Boundary) crashtest.Action {
			if d.note(b); b.Path == "vendor.db" && b.Writes() && !b.After {
				effects++
				if left := d.state(); len(left) > 0 {
					problems = append(problems, fmt.Sprintf("the vendor is made to do something while %v are not on the disk", left))
				}
			}
			return crashtest.Go
		}}, append(slices.Clone(s.args), "--parallelism", "1")...)
		if err != nil || !o.OK() || effects == 0 {
			r.t.Errorf("%s: %d effects; %v %v", s.name, effects, err, o)
		}
		for _, p := range slices.Compact(problems) {
			r.t.Errorf("%s: %s", s.name, p)
		}
		if left := d.state(); len(left) > 0 {
			r.t.Errorf("%s: at its end %v are not on the disk", s.name, left)
		}
		os.RemoveAll(site.Dir)
	}
}

// dirt is what would be lost with the power: files that were written, and folders in which a name changed, since they were
// synced.
type dirt map[string]bool

// note takes the next boundary.
func (d dirt) note(b crashtest.Boundary) {
	if !b.After {
		return
	}
	switch b.Call {
	case "write", "pwrite64", "writev", "ftruncate", "truncate":
		d[b.Path] = true
	case "fsync", "fdatasync":
		delete(d, b.Path)
	case "rename", "link":
		d[filepath.Dir(b.Path)] = true
	case "unlink":
		delete(d, b.Path)
	}
}

// state names what is unsynced of the state. A lease says who is at work now: after a loss of power nobody is.
func (d dirt) state() (left []string) {
	for _, path := range slices.Sorted(maps.Keys(d)) {
		if strings.HasPrefix(path, "home/state/") && !strings.Contains(path, "lease") {
			left = append(left, path)
		}
	}
	return left
}
