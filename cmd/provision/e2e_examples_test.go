//go:build e2e

package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
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
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(filepath.Dir(f))
			got := r.run(time.Minute, "plan", "cluster.hcl")
			if *update {
				if err := os.WriteFile("plan.golden", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile("plan.golden")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the plan is not that of plan.golden; run with -update if the new one is better.\ngot:\n%s\nwant:\n%s", got, want)
			}
			t.Chdir(here)
		})
	}
}
