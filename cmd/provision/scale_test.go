//go:build linux && amd64

package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
)

// scaleCluster is a file of as many machines as one asks for.
const scaleCluster = `
variable "workers" { type = number }
provider "fake" { path = "w/vendor.db" }
cluster "demo" {
  kubernetes = "1.37.2"
  network {
    machines = "172.16.0.0/16"
    pods     = "10.0.0.0/8"
    services = "192.168.0.0/16"
  }
  control_plane {
    machine = "small"
  }
  pool "workers" {
    count   = var.workers
    machine = "small"
  }
}
`

// A measured run of the command: how long, and how much memory at most.
type measured struct {
	took time.Duration
	peak int64
}

// scaleRuns are the runs of one life, in order.
var scaleRuns = []struct {
	name string
	args []string
}{
	{"plan", []string{"plan"}},
	{"apply", []string{"apply", "--auto-approve"}},
	{"second-plan", []string{"plan"}},
	{"second-apply", []string{"apply", "--auto-approve"}},
	{"destroy", []string{"destroy", "--auto-approve"}},
}

// life runs the real program, built and started as people do, on so many machines of a vendor that is a file on the disk.
func life(tb testing.TB, program string, machines int) map[string]measured {
	tb.Helper()
	site, err := crashtest.NewSite(tb.TempDir(), program, scaleCluster)
	if err != nil {
		tb.Fatal(err)
	}
	runs := map[string]measured{}
	for _, r := range scaleRuns {
		o, peak, err := site.Measured(append(r.args, "--var", fmt.Sprintf("workers=%d", machines-1))...)
		if err != nil || !o.OK() || peak == 0 {
			tb.Fatalf("%s of %d machines: %v %.2000v", r.name, machines, err, o)
		}
		runs[r.name] = measured{o.Exit.Took, peak}
	}
	return runs
}

// TestScale holds limits that are generous in time, as other work may go on beside it, and exact in memory.
func TestScale(t *testing.T) {
	runs := life(t, buildProgram(t, t.TempDir()), 5000)
	for name, limit := range map[string]time.Duration{"plan": 5 * time.Second, "second-plan": 5 * time.Second, "apply": 50 * time.Second} {
		r := runs[name]
		if r.took > limit || r.peak > 200<<20 {
			t.Errorf("%s of 5,000 machines took %v and %d MB; at most %v and 200 MB", name, r.took, r.peak>>20, limit)
		}
	}
}

// BenchmarkScale prints what docs/benchmarks.md has.
func BenchmarkScale(b *testing.B) {
	program := buildProgram(b, b.TempDir())
	for _, machines := range []int{5000, 10000} {
		b.Run(fmt.Sprint(machines), func(b *testing.B) {
			sums := map[string]measured{}
			n := 0
			for b.Loop() {
				n++
				for name, r := range life(b, program, machines) {
					s := sums[name]
					sums[name] = measured{s.took + r.took, max(s.peak, r.peak)}
				}
			}
			for _, r := range scaleRuns {
				b.ReportMetric(sums[r.name].took.Seconds()/float64(n), r.name+"-s")
				b.ReportMetric(float64(sums[r.name].peak>>20), r.name+"-MB")
			}
		})
	}
}
