//go:build e2e

package main

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// TestE2EBoxGCP makes examples/gcp at Google Cloud in a box, and removes it. What is there in between, gcloud says.
func TestE2EBoxGCP(t *testing.T) {
	boxed(t, "gcp", "gcp", func(b *boxRig) {
		g := &googleRig{b}
		before := g.all() // Google gives each project a default network
		begun := time.Now()
		b.run(4*time.Minute, "apply", b.file, "--auto-approve")
		t.Logf("apply %.1f s", time.Since(begun).Seconds())
		var ids []string
		for _, i := range g.list("instances") {
			if i.Status != "RUNNING" {
				t.Errorf("instance %s is %s", i.Name, i.Status)
			}
			ids = append(ids, "gce://demo-project/"+i.Zone[strings.LastIndexByte(i.Zone, '/')+1:]+"/"+i.Name)
		}
		if b.joined(ids...); len(ids) != 5 {
			t.Errorf("gcloud shows %d instances, want 5", len(ids))
		}
		rules := g.list("forwarding-rules")
		if len(rules) != 1 {
			t.Fatalf("gcloud shows %d forwarding rules, want the API's", len(rules))
		}
		if out := b.kubectl("--server", "https://"+rules[0].IPAddress+":6443", "get", "--raw", "/readyz"); !strings.Contains(out, "ok") {
			t.Errorf("the API by the balancer says %q", out)
		}
		b.still()
		begun = time.Now()
		b.run(2*time.Minute, "destroy", b.file, "--auto-approve")
		t.Logf("destroy %.1f s", time.Since(begun).Seconds())
		if after := g.all(); !maps.Equal(before, after) {
			t.Errorf("gcloud shows after destroy %v, before %v", after, before)
		}
	})
}

// A googleRig is a cluster at Google Cloud in a box.
type googleRig struct{ *boxRig }

// A googleThing is what gcloud says of one.
type googleThing struct{ Name, Zone, Status, IPAddress string }

// list asks Google's own command line.
func (g *googleRig) list(kind string) (all []googleThing) {
	g.t.Helper()
	g.reader(&all, "gcloud", "compute", kind, "list", "--format=json", "--quiet")
	return all
}

// all counts the things of each kind that gcloud shows.
func (g *googleRig) all() map[string]int {
	g.t.Helper()
	counts := map[string]int{}
	for _, kind := range []string{"instances", "disks", "networks", "forwarding-rules", "addresses", "firewall-rules", "backend-services", "health-checks", "network-endpoint-groups"} {
		counts[kind] = len(g.list(kind))
	}
	return counts
}
