//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// partLost: the state folder is lost wholly, on a living cluster.
func (r *rig) partLost() {
	dir := filepath.Dir(r.file)
	before := r.starts()
	r.move(dir+"/state", dir+"/state.lost")

	// With the person's identity, everything is found again, no question is asked and nothing restarts.
	out := r.run(2*time.Minute, "apply", r.file, "--auto-approve")
	if !strings.Contains(out, "certificate.authorities") || !strings.Contains(out, "Plan: 0 to create, 1 to change, 0 to replace, 0 to delete.") {
		r.t.Errorf("adoption does more, or less, than save the secrets:\n%s", out)
	}
	if after := r.starts(); after != before {
		r.t.Errorf("adoption restarted something.\nbefore: %s\nafter:  %s", before, after)
	}
	if out := r.run(time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(out, "No changes") {
		r.t.Errorf("a second apply after the adoption:\n%s", out)
	}
	r.kubectl("get", "nodes")

	// Verbs that only use the cluster find it too, and write nothing.
	r.move(dir+"/state", dir+"/state.2")
	r.kubectl("get", "nodes")
	if _, err := os.Stat(dir + "/state/provision/" + r.name); err == nil {
		r.t.Error("kubectl wrote a state")
	}

	// Without the identity: it is said which secrets are gone and how to go on.
	r.move(dir+"/config", dir+"/config.lost")
	r.refused(1, nil, "Secrets of the cluster are lost", "SSH key", "authorities", "identity.age", "provision destroy")
	os.RemoveAll(dir + "/config")
	os.RemoveAll(dir + "/state")
	r.move(dir+"/config.lost", dir+"/config")
	r.move(dir+"/state.2", dir+"/state")
	if out := r.run(time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(out, "No changes") {
		r.t.Errorf("with the state and the identity back:\n%s", out)
	}
}

func (r *rig) move(from, to string) {
	r.t.Helper()
	if err := os.Rename(from, to); err != nil {
		r.t.Fatal(err)
	}
}
