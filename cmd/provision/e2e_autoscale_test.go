//go:build e2e

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
)

// TestE2EScaleOut: pods that are for a pool of no machines get one, which is given back when they go, and destroy removes one that is there.
func TestE2EScaleOut(t *testing.T) {
	firewall(t)
	r := newRig(t)
	r.elastic()
	r.run(5*time.Minute, "apply", r.file, "--auto-approve")
	r.eventually("the pool can have machines", 2*time.Minute, func() (bool, string) {
		o, e, err := r.try(time.Minute, "kubectl", r.file, "--", "get", "nodepools", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
		return err == nil && strings.TrimSpace(o) == "True", o + e
	})
	start := time.Now()
	r.burstPod("first")
	r.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/first", "--timeout=120s")
	t.Logf("a pod runs on a new machine %.1f s after it was made", time.Since(start).Seconds())
	node := strings.TrimSpace(r.kubectl("get", "pod", "first", "-o", "jsonpath={.spec.nodeName}"))
	created := r.kubectl("get", "pod", "first", "-o", `jsonpath={.metadata.creationTimestamp}`)
	ready := r.kubectl("get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].lastTransitionTime}`)
	took := between(t, created, ready)
	t.Logf("its node %s was Ready %v after the pod was made, by Kubernetes' clock", node, took)
	if took > 20*time.Second {
		t.Errorf("from a pending pod to a Ready node it took %v, want at most 20 s", took)
	}
	if !slices.Equal(r.burst(), []string{node}) {
		t.Errorf("machines %v, want %s alone", r.burst(), node)
	}
	if out, errs, err := r.try(time.Minute, "plan", r.file, "--detailed-exitcode"); err != nil {
		t.Errorf("a plan beside an autoscaled machine: %v\n%s%s", err, out, errs)
	}
	r.kubectl("delete", "pod", "first", "--wait=false")
	took = r.eventually("the machine is given back", 3*time.Minute, func() (bool, string) { return len(r.burst()) == 0, fmt.Sprint(r.burst()) })
	t.Logf("given back %.1f s after its pod was deleted", took.Seconds())
	r.burstPod("second")
	r.eventually("another machine", time.Minute, func() (bool, string) { return len(r.burst()) == 1, fmt.Sprint(r.burst()) })
	r.run(2*time.Minute, "destroy", r.file, "--auto-approve")
	if ms, err := local.New(local.Options{}).Machines().List(context.Background(), providers.Owner(r.name)); err != nil || len(ms) > 0 {
		t.Errorf("machines left: %v, %v", ms, err)
	}
}

// between is the time from one of Kubernetes' timestamps to another.
func between(t *testing.T, from, to string) time.Duration {
	t.Helper()
	a, err1 := time.Parse(time.RFC3339, strings.TrimSpace(from))
	b, err2 := time.Parse(time.RFC3339, strings.TrimSpace(to))
	if err1 != nil || err2 != nil {
		t.Fatalf("%q to %q: %v, %v", from, to, err1, err2)
	}
	return b.Sub(a)
}

// burst are the names of the pool's machines.
func (r *rig) burst() (names []string) {
	r.t.Helper()
	ms, err := local.New(local.Options{}).Machines().List(context.Background(), providers.Owner(r.name))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range ms {
		if m.Pool == "burst" {
			names = append(names, m.Name)
		}
	}
	return names
}

// burstPod makes a pod for the pool.
func (r *rig) burstPod(name string) {
	r.t.Helper()
	b, err := bundle.Open(filepath.Join(r.bin, "bundle-linux-amd64.tar.zst"))
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(b.Manifest.Images, func(i bundle.Image) bool { return strings.Contains(i.Name, "/pause:") })
	file := filepath.Join(r.t.TempDir(), name+".yaml")
	text := fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {terminationGracePeriodSeconds: 1, nodeSelector: {provision.sh/pool: burst}, containers: [{name: c, image: %q}]}}\n", name, b.Manifest.Images[i].Name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubectl("apply", "-f", file)
}
