//go:build e2e

package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers/metal/metaltest"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestE2EExamples plans every example from nothing and compares with its plan.golden: an example that does not plan does
// not land.
func TestE2EExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/cluster.hcl")
	if err != nil || len(files) < 2 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(filepath.Dir(f)), func(t *testing.T) {
			r := newRig(t)
			dir := t.TempDir()
			r.copyExample(f, dir)
			switch vendor := vendorOf(t, f); {
			case boxes[vendor]:
				r.newBox(vendor)
			case vendor == "gcp":
				r.googleCloud()
			case vendor == "azure":
				r.azureCloud()
			}
			golden, err := filepath.Abs(filepath.Join(filepath.Dir(f), "plan.golden"))
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			got := r.run(time.Minute, "plan", "cluster.hcl")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if aged.ReplaceAllString(got, "") != aged.ReplaceAllString(string(want), "") {
				t.Errorf("the plan is not that of plan.golden; run with -update if the new one is better.\ngot:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// aged is what changes in a plan from one day to the next.
var aged = regexp.MustCompile(`, \d+ days? old`)

// boxes are the vendors whose examples are planned at them in a box.
var boxes = map[string]bool{"aws": true}

// vendorOf is the provider that a file names.
func vendorOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\nprovider \"")
	name, _, _ := strings.Cut(after, "\"")
	return name
}

// copyExample copies an example's file, and has its machines kept in a folder of its own: the host may have that very
// cluster already.
func (r *rig) copyExample(from, dir string) {
	r.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		r.t.Fatal(err)
	}
	own := strings.Replace(string(text), `provider "local" {}`, `provider "local" { folder = "`+dir+`/machines" }`, 1)
	if err := os.WriteFile(filepath.Join(dir, "cluster.hcl"), []byte(own), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(from), metalInventory)); err == nil {
		r.metalHosts(filepath.Join(dir, metalInventory))
	}
}

// metalInventory is what the example of provider metal calls its hosts' file.
const metalInventory = "hosts.inventory.hcl"

// metalHosts makes as many hosts as the example has, behind a bastion, and writes their inventory in place of its own.
func (r *rig) metalHosts(file string) *metaltest.Fleet {
	r.t.Helper()
	f := metaltest.New(r.t, 5, "small")
	use := map[string]string{}
	for i, h := range f.Hosts {
		use[h.Name] = `labels = { use = "control" }`
		if i > 2 {
			use[h.Name] = `labels = { use = "work" }`
		}
	}
	if err := os.WriteFile(file, []byte(f.HCL(use)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return f
}
