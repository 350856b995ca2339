//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestE2EBoxAzure makes examples/azure at Azure in a box, and removes it. What is there in between, Azure's REST API says to a client
// that has neither our code nor Microsoft's SDK.
func TestE2EBoxAzure(t *testing.T) {
	boxed(t, "azure", "azure", func(b *boxRig) {
		a := &azureRig{b}
		begun := time.Now()
		b.run(4*time.Minute, "apply", b.file, "--auto-approve")
		t.Logf("apply %.1f s", time.Since(begun).Seconds())
		a.made()
		b.still()
		begun = time.Now()
		b.run(2*time.Minute, "destroy", b.file, "--auto-approve")
		t.Logf("destroy %.1f s", time.Since(begun).Seconds())
		for kind, n := range a.all() {
			if n > 0 {
				t.Errorf("Azure still has after destroy: %d of %s", n, kind)
			}
		}
	})
}

// An azureRig is a cluster at Azure in a box.
type azureRig struct{ *boxRig }

// An azureThing is what Azure's API says of one resource.
type azureThing struct {
	ID, Name   string
	Tags       map[string]string
	Zones      []string
	Properties struct {
		ProvisioningState, IPAddress string
		InstanceView                 struct{ Statuses []struct{ Code string } }
	}
}

// get asks the API for a list, by plain HTTP.
func (a *azureRig) get(path, version string) (all []azureThing) {
	a.t.Helper()
	url := a.box.Endpoint + "/subscriptions/" + a.box.Environment["AZURE_SUBSCRIPTION_ID"] + path + "?api-version=" + version
	for url != "" {
		resp, err := http.Get(url)
		if err != nil {
			a.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			a.t.Fatalf("GET %s: %s, %v\n%s", url, resp.Status, err, text)
		}
		var page struct {
			Value    []azureThing
			NextLink string
		}
		if err := json.Unmarshal(text, &page); err != nil {
			a.t.Fatalf("GET %s: %v\n%s", url, err, text)
		}
		all, url = append(all, page.Value...), page.NextLink
	}
	return all
}

// compute and network are all of a kind in the subscription.
func (a *azureRig) compute(kind string) []azureThing {
	a.t.Helper()
	return a.get("/providers/Microsoft.Compute/"+kind, map[bool]string{true: "2024-03-02", false: "2025-04-01"}[kind == "disks" || kind == "snapshots"])
}

func (a *azureRig) network(kind string) []azureThing {
	a.t.Helper()
	return a.get("/providers/Microsoft.Network/"+kind, "2024-10-01")
}

// all counts the things of each kind that Azure has.
func (a *azureRig) all() map[string]int {
	a.t.Helper()
	counts := map[string]int{"resourceGroups": len(a.get("/resourcegroups", "2021-04-01"))}
	for _, kind := range []string{"virtualMachines", "disks", "snapshots"} {
		counts[kind] = len(a.compute(kind))
	}
	for _, kind := range []string{"virtualNetworks", "networkSecurityGroups", "applicationSecurityGroups", "natGateways", "publicIPAddresses", "networkInterfaces", "loadBalancers"} {
		counts[kind] = len(a.network(kind))
	}
	return counts
}

// made compares what Azure has with what Kubernetes has, and asks the API by the balancer.
func (a *azureRig) made() {
	a.t.Helper()
	var ids []string
	zones := map[string]int{}
	for _, m := range a.compute("virtualMachines") {
		ids = append(ids, "azure://"+m.ID)
		zones[strings.Join(m.Zones, "+")]++
		if m.Tags["provision.sh:owner"] != "azure" || m.Properties.ProvisioningState != "Succeeded" {
			a.t.Errorf("machine %+v: it should be made and bear its owner", m)
		}
	}
	if a.joined(ids...); !maps.Equal(zones, map[string]int{"1": 2, "2": 2, "3": 1}) {
		a.t.Errorf("machines in zones: %v", zones)
	}
	counts := a.all()
	a.t.Logf("Azure has %v", counts)
	for kind, want := range map[string]int{"resourceGroups": 1, "virtualMachines": 5, "disks": 5, "networkInterfaces": 5, "virtualNetworks": 1, "loadBalancers": 1} {
		if counts[kind] != want {
			a.t.Errorf("Azure has %d of %s, want %d", counts[kind], kind, want)
		}
	}
	answers := 0
	for _, p := range a.network("publicIPAddresses") {
		if strings.Contains(p.Name, "api") {
			out := a.kubectl("--server", fmt.Sprintf("https://%s:6443", p.Properties.IPAddress), "get", "--raw", "/readyz")
			if answers++; !strings.Contains(out, "ok") {
				a.t.Errorf("the API by the balancer's address %s says %q", p.Properties.IPAddress, out)
			}
		}
	}
	if answers != 1 {
		a.t.Errorf("%d addresses of the API, want 1", answers)
	}
}
