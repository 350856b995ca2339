//go:build e2e

package main

import (
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	"github.com/provisionhq/provision/providers/azure"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// azureCloud starts a stand-in of Azure, without machines, and makes the rig's commands use it.
func (r *rig) azureCloud() *azuretest.Cloud {
	r.t.Helper()
	c := azuretest.New(azuretest.Options{})
	s := httptest.NewServer(c)
	r.t.Cleanup(func() {
		s.Close()
		c.Close()
		r.file += ".gone" // for the rig's own clean-up, which comes after: there is no vendor any more
	})
	r.environ = append(r.environ, "AZURE_RESOURCE_MANAGER_ENDPOINT="+s.URL, "AZURE_SUBSCRIPTION_ID="+azuretest.Subscription)
	return c
}

// TestE2EAzureAccount applies the example for an account with too little: it is told what, and nothing is made.
func TestE2EAzureAccount(t *testing.T) {
	var role []string
	for _, a := range azure.Actions() {
		role = append(role, a.Name)
	}
	r := newRig(t)
	cloud := r.azureCloud()
	dir := t.TempDir()
	r.copyExample("../../examples/azure/cluster.hcl", dir)
	r.file = filepath.Join(dir, "cluster.hcl")
	const gone = "Microsoft.Network/loadBalancers/write"
	for _, s := range []struct {
		what  string
		spoil func()
		says  string
	}{
		{"8 processors", func() { cloud.Limit("cores", 8) }, "Total Regional vCPUs"},
		{"an action less", func() {
			cloud.Limit("cores", 100)
			cloud.Assign(azuretest.Role{Actions: slices.DeleteFunc(slices.Clone(role), func(a string) bool { return a == gone })})
		}, gone},
	} {
		s.spoil()
		r.refused(2, nil, s.says)
		if n := cloud.Writes(); n > 0 {
			t.Errorf("with %s there were %d requests that change something", s.what, n)
		}
	}
}
