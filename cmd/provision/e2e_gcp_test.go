//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// googleCloud starts a stand-in of Google Cloud, without machines, and makes the rig's commands use it.
func (r *rig) googleCloud() *gcptest.Cloud {
	r.t.Helper()
	c, err := gcptest.New(gcptest.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		c.Close()
		r.file += ".gone" // for the rig's own clean-up, which comes after: there is no vendor any more
	})
	r.environ = append(r.environ, "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="+c.URL+"/compute/v1/", "GOOGLE_CLOUD_PROJECT="+gcptest.Project)
	return c
}

// TestE2EGCPAccount applies the example for an account with too little: it is told what, and nothing is made.
func TestE2EGCPAccount(t *testing.T) {
	role, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	permissions := regexp.MustCompile(`compute\.[a-zA-Z]+\.[a-zA-Z]+`).FindAllString(string(role), -1)
	r := newRig(t)
	cloud := r.googleCloud()
	dir := t.TempDir()
	r.copyExample("../../examples/gcp/cluster.hcl", dir)
	r.file = filepath.Join(dir, "cluster.hcl")
	for _, s := range []struct {
		what  string
		spoil func()
		says  string
	}{
		{"8 processors", func() { cloud.Quota("CPUS", 8) }, "CPUS in europe-west1"},
		{"a permission less", func() {
			cloud.Grant(slices.DeleteFunc(permissions, func(p string) bool { return p == "compute.firewalls.create" }))
		}, "compute.firewalls.create"},
	} {
		cloud.Reset(gcptest.Options{})
		s.spoil()
		r.refused(2, nil, s.says)
		if n := cloud.Writes(); n != 0 {
			t.Errorf("with %s apply made %d requests that change something", s.what, n)
		}
	}
}
