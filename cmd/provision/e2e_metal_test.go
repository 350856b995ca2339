//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers/metal/metaltest"
)

// A metalRig is the cluster of examples/metal on hosts that are reached only by SSH, through a bastion, as a user with sudo.
type metalRig struct {
	*rig
	fleet *metaltest.Fleet
}

// newMetalRig makes five hosts, and a file as the example's with an inventory of these.
func newMetalRig(t *testing.T) *metalRig {
	t.Helper()
	f := metaltest.New(t, 5, "small")
	r := &metalRig{rig: newRig(t), fleet: f}
	text, err := os.ReadFile("../../examples/metal/cluster.hcl")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(r.file)
	r.name, r.file = "metal", filepath.Join(dir, "metal.hcl")
	labels := map[string]string{}
	for i, h := range f.Hosts {
		labels[h.Name] = `labels = { use = "control" }`
		if i > 2 {
			labels[h.Name] = `labels = { use = "work" }`
		}
	}
	for path, text := range map[string]string{r.file: string(text), filepath.Join(dir, "hosts.inventory.hcl"): f.HCL(labels)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// portraits looks at all hosts at once.
func (r *metalRig) portraits() map[string]metaltest.Portrait {
	r.t.Helper()
	all := map[string]metaltest.Portrait{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, h := range r.fleet.Hosts {
		wg.Go(func() {
			p, err := r.fleet.Portray(h.Name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.t.Errorf("host %s: %v", h.Name, err)
			}
			all[h.Name] = p
		})
	}
	wg.Wait()
	return all
}

// TestE2EMetal makes examples/metal of five bare hosts and gives them back: as they were, which is looked at from inside and
// on their disks.
func TestE2EMetal(t *testing.T) {
	here := takeSnapshot(t, "e2e-metal")
	t.Run("cluster", func(t *testing.T) {
		firewall(t)
		r := newMetalRig(t)
		r.sound("bare hosts")
		before := r.portraits()
		begun := time.Now()
		out := r.run(5*time.Minute, "apply", r.file, "--auto-approve", "--timings")
		took := time.Since(begun)
		t.Logf("3 + 2 hosts: apply %.1f s, load %s\n%s", took.Seconds(), load(), out)
		if took > slack(90*time.Second) {
			t.Errorf("apply took %v, want 90 s at most", took)
		}
		r.unchanged()
		r.across()
		r.sound("nodes")
		begun = time.Now()
		out = r.run(2*time.Minute, "destroy", r.file, "--auto-approve", "--timings")
		t.Logf("destroy %.1f s, load %s\n%s", time.Since(begun).Seconds(), load(), out)
		after := r.portraits()
		for _, h := range r.fleet.Hosts {
			for _, d := range before[h.Name].Compare(after[h.Name]) {
				t.Errorf("host %s is not as it was: %s", h.Name, d)
			}
		}
	})
	here.compare(t, takeSnapshot(t, "e2e-metal"))
}

// unchanged: all is made, and nothing is left to do.
func (r *metalRig) unchanged() {
	r.t.Helper()
	if out := r.kubectl("get", "nodes", "--no-headers"); strings.Count(out, " Ready ") != 5 {
		r.t.Errorf("after apply not all nodes are ready:\n%s", out)
	}
	begun := time.Now()
	if out := r.run(time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(out, "No changes") {
		r.t.Errorf("a second apply changes something:\n%s", out)
	}
	r.t.Logf("second apply %.1f s", time.Since(begun).Seconds())
	if o, e, err := r.try(time.Minute, "plan", r.file, "--detailed-exitcode"); err != nil {
		r.t.Errorf("plan --detailed-exitcode: %v, want exit 0\n%s%s", err, o, e)
	}
}

// sound: doctor finds nothing that anybody has to mend, and has looked at everything.
func (r *metalRig) sound(what string) {
	r.t.Helper()
	begun := time.Now()
	o, e, err := r.try(time.Minute, "doctor", r.file, "--json")
	var report struct {
		Hosts []struct {
			Name, Role string
			Sound      bool
			Skipped    []string
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(o), &report)
	}
	if err != nil || len(report.Hosts) != 5 {
		r.t.Fatalf("doctor of %s: %v\n%s%s", what, err, o, e)
	}
	roles := map[string]int{}
	for _, h := range report.Hosts {
		roles[h.Role]++
		if !h.Sound || len(h.Skipped) > 0 {
			r.t.Errorf("doctor of %s: %s is not sound:\n%s", what, h.Name, o)
		}
	}
	if roles["control-plane"] != 3 || roles["worker"] != 2 {
		r.t.Errorf("doctor of %s examines them as %v", what, roles)
	}
	r.t.Logf("doctor of %s %.1f s", what, time.Since(begun).Seconds())
}

// across: pods answer from other hosts, to nodes and to one another.
func (r *metalRig) across() {
	r.t.Helper()
	r.kubectl("apply", "-f", "../../examples/local/web.yaml")
	r.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	ps := r.pods()
	if len(ps) != 2 || ps[0][1] == ps[1][1] {
		r.t.Fatalf("want two pods on two nodes, have %v", ps)
	}
	for _, n := range []string{"cp-0", "workers-0", "workers-1"} {
		for _, p := range ps {
			if body := r.fetch(n, "http://"+p[2]+":8080/"); !strings.Contains(body, p[0]) {
				r.t.Errorf("%s does not reach pod %s", n, p[0])
			}
		}
	}
	if body := r.inPod(ps[0], "http://"+ps[1][2]+":8080/"); !strings.Contains(body, ps[1][0]) {
		r.t.Errorf("pod to pod across hosts: %q", body)
	}
	r.on(strings.TrimPrefix(ps[0][1], r.name+"-"), "rm /tmp/resolv") // of inPod
}
