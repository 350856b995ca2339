//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// partQuorum loses two of three machines for good: what an apply says, what is refused, and the way back.
func (r *haRig) partQuorum() {
	w := r.ways()
	c := r.client(w[0], 10*time.Second, true)
	const objects = 20
	for i := range objects {
		if _, _, err := request(c, http.MethodPost, "https://api/api/v1/namespaces/default/configmaps", fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept-%d"}}`, i)); err != nil {
			r.t.Fatal(err)
		}
	}
	time.Sleep(time.Second) // the survivor may be a moment behind
	pods := probes{r.serviceProbe("workers-0")}
	r.expect(2, "restore needs --from", "restore", r.file)
	r.expect(1, "etcd has a quorum: 3 of 3 voting members are well", "restore", r.file, "--from", "cp-0", "--accept", "data-loss", "--auto-approve")
	r.remove("cp-1")
	r.remove("cp-2")
	r.expect(1, "Control plane has no quorum", "apply", r.file, "--auto-approve")
	out := r.expect(1, "provision restore "+r.file+" --from "+r.full("cp-0")+" --accept data-loss", "plan", r.file)
	r.t.Logf("an apply without a quorum says:\n%s", out)
	r.expect(0, "NO QUORUM", "status", r.file)
	r.expect(2, "Cluster would lose its data", "restore", r.file, "--from", "cp-0")
	r.expect(2, "no machine of the control plane", "restore", r.file, "--from", "workers-0", "--accept", "data-loss", "--auto-approve")
	begun := time.Now()
	out = r.expect(0, "cluster of one", "restore", r.file, "--from", "cp-0", "--accept", "data-loss", "--auto-approve")
	r.t.Logf("restore took %.1f s (load %s):\n%s", time.Since(begun).Seconds(), load(), out)
	r.applied("three again after the restore", 5*time.Minute)
	r.whole("three members", 3, time.Minute)
	pods.seen(r.t, "two of three lost, restored, and grown again", bound)
	pods.end()
	for i := range objects {
		if _, _, err := request(r.client(r.ways()[2], 10*time.Second, false), http.MethodGet, fmt.Sprintf("https://api/api/v1/namespaces/default/configmaps/kept-%d", i), ""); err != nil {
			r.t.Errorf("kept-%d: %v", i, err)
		}
	}
	snapshot := strings.TrimSpace(r.on("cp-0", "ls /var/lib/provision/snapshots/*.db | tail -1"))
	r.expect(1, "would go on with what they have", "restore", r.file, "--from", "cp-0", "--snapshot", snapshot, "--accept", "data-loss", "--auto-approve")
}

// expect runs the program, which must end with the code, say the words, and not take long.
func (r *haRig) expect(code int, words string, args ...string) string {
	r.t.Helper()
	begun := time.Now()
	o, e, err := r.try(2*time.Minute, args...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	}
	if got != code || !strings.Contains(o+e, words) {
		r.t.Errorf("provision %s ends with %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, words, o, e)
	}
	if took := time.Since(begun); took > slack(30*time.Second) {
		r.t.Errorf("provision %s took %v", strings.Join(args, " "), took)
	}
	return o + e
}
