//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestE2ERehearse rehearses a cluster whose owner has it already, and an account that a rehearsal must not touch: from nothing to Ready
// nodes to nothing, and neither the box nor anything that it kept is there in the end.
func TestE2ERehearse(t *testing.T) {
	before := takeSnapshot(t, "e2e-rehearse")
	t.Run("cluster", func(t *testing.T) {
		r := newRig(t)
		real, kept := r.rehearsable()
		t.Cleanup(func() {
			r.try(2*time.Minute, "destroy", "--rehearse", r.file, "--auto-approve")
			exec.Command(filepath.Join(r.bin, "cloud-box"), "clean", "--folder", filepath.Join(kept, "gcp", r.name, "box")).Run() // if that did not
			r.file += ".gone"                                                                                                     // for the rig's own clean-up, which comes after: there is no vendor
		})
		if out := r.run(time.Minute, "plan", "--rehearse", r.file); !strings.Contains(out, "machine.workers[0]") || !strings.Contains(out, "a month") {
			t.Errorf("the plan does not tell what is made and what it costs:\n%s", out)
		}
		r.unrehearsed(kept)
		begun := time.Now()
		out := r.run(4*time.Minute, "apply", "--rehearse", r.file, "--auto-approve")
		if strings.Contains(out, real) {
			t.Errorf("the rehearsal takes the state of the cluster itself for its own:\n%s", out)
		}
		t.Logf("apply --rehearse %.1f s", time.Since(begun).Seconds())
		nodes := r.run(time.Minute, "kubectl", "--rehearse", r.file, "--", "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.providerID} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		for _, name := range []string{r.name + "-cp-0", r.name + "-workers-0"} {
			if want := regexp.MustCompile("(?m)^" + name + " gce://demo-project/europe-west1-[b-d]/" + name + "-[0-9a-f]+ True$"); !want.MatchString(nodes) {
				t.Errorf("nodes %q, want one like %s", nodes, want)
			}
		}
		if out := r.run(time.Minute, "apply", "--rehearse", r.file, "--auto-approve"); !strings.Contains(out, "No changes") {
			t.Errorf("a second apply changes something:\n%s", out)
		}
		if _, said, err := r.try(time.Minute, "status", r.file); err == nil || !strings.Contains(said, "/nowhere/account.json") {
			t.Errorf("without --rehearse, status is not about the vendor: %v\n%s", err, said)
		}
		r.run(2*time.Minute, "destroy", "--rehearse", r.file, "--auto-approve")
		r.unrehearsed(kept)
	})
	before.compare(t, takeSnapshot(t, "e2e-rehearse"))
}

// rehearsable writes the file of a cluster at Google Cloud, with an account that nobody has, and a memory of the cluster itself, whose
// state's place is returned; and where rehearsals are kept.
func (r *rig) rehearsable() (real, kept string) {
	r.t.Helper()
	text := fmt.Sprintf(`provider "gcp" {
  region  = "europe-west1"
  project = "not-for-rehearsals"
}

cluster %q {
  kubernetes = "1.37.2"

  control_plane {
    machine = "e2-standard-2"
  }

  pool "workers" {
    count   = 1
    machine = "e2-small"
  }
}
`, r.name)
	dir := filepath.Dir(r.file)
	ours := filepath.Join(dir, "state", "provision")
	real = filepath.Join(dir, "real-state")
	const uid = "abcdefghijklmnopqrstuvwxyz"
	mark, err := json.Marshal(map[string]any{"cluster": r.name, "uid": uid, "serial": 7, "time": time.Now(), "place": real})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(ours, ".seen"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	for path, text := range map[string]string{r.file: text, filepath.Join(ours, ".seen", uid): string(mark)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.environ = append(r.environ, "GOOGLE_APPLICATION_CREDENTIALS=/nowhere/account.json", "GOOGLE_CLOUD_PROJECT=not-for-rehearsals")
	return real, filepath.Join(ours, rehearsals)
}

// unrehearsed sees that no box serves the user, and that nothing of one is kept.
func (r *rig) unrehearsed(kept string) {
	r.t.Helper()
	if _, err := os.Stat(kept); !os.IsNotExist(err) {
		r.t.Errorf("%s is there: %v", kept, err)
	}
	if out, err := exec.Command("sh", "-c", "ps -eo args | grep -F -- "+kept+" | grep -v grep").Output(); err == nil {
		r.t.Errorf("of the rehearsal there runs still:\n%s", out)
	}
	if _, said, err := r.try(time.Minute, "status", "--rehearse", r.file); err == nil || !strings.Contains(said, "No rehearsal of the cluster") {
		r.t.Errorf("status of a rehearsal that is none: %v\n%s", err, said)
	}
}
