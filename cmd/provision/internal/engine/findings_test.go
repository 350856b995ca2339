package engine

import (
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// TestAsks holds each problem against the line of the file that is to be changed for it.
func TestAsks(t *testing.T) {
	c := &config.Cluster{Name: "demo", File: "cluster.hcl", Provider: config.Provider{Name: "aws"}, Ranges: map[string]diag.Range{}}
	for line, key := range []string{"cluster", "provider", "provider.zones", "provider.network", "provider.instance_profile", "network", "network.machines",
		"control_plane", "control_plane.machine", "control_plane.count", "pool.web", "pool.web.machine", "pool.web.count", "pool.web.zones", "endpoint", "endpoint.balancer"} {
		c.Ranges[key] = diag.Range{File: key, Start: diag.Pos{Line: line}}
	}
	need := providers.Need{}
	for _, name := range []string{"demo-web-0", "demo-web-1"} {
		need.Machines = append(need.Machines, providers.MachineSpec{Name: name, Pool: "web"})
	}
	need.Machines = append(need.Machines, providers.MachineSpec{Name: "demo-cp-0", Pool: plan.ControlPlanePool})
	f := newFindings(New(Options{Cluster: c}), providers.Report{}, need)
	for _, test := range []struct {
		noun        providers.Noun
		name, field string
		at, in      string
	}{
		{providers.MachineNoun, "demo-cp-0", "type", "control_plane.machine", "control_plane"},
		{providers.MachineNoun, "demo-web-1", "zone", "pool.web.zones", `pool "web"`},
		{providers.MachineNoun, "demo-cp-0", "zone", "provider.zones", `provider "aws"`},
		{providers.MachineNoun, "demo-web-0", "image", "pool.web", `pool "web"`},
		{providers.MachineNoun, "", "", "pool.web.count", `pool "web"`},
		{providers.MachineNoun, "", "instance_profile", "provider.instance_profile", `provider "aws"`},
		{providers.MachineNoun, "demo-web-0", "name", "cluster", `cluster "demo"`},
		{providers.NetworkNoun, "main", "cidr", "network.machines", "network"},
		{providers.NetworkNoun, "main", "network", "provider.network", `provider "aws"`},
		{providers.NetworkNoun, "main", "zones", "provider.zones", `provider "aws"`},
		{providers.NetworkNoun, "", "", "network.machines", "network"},
		{providers.NetworkNoun, "main", "name", "cluster", `cluster "demo"`},
		{providers.BalancerNoun, "api", "", "endpoint.balancer", "endpoint"},
		{providers.VolumeNoun, "data", "type", "provider", `provider "aws"`},
		{"", "", "", "provider", `provider "aws"`},
	} {
		at, in := f.asks(providers.Problem{Noun: test.noun, Name: test.name, Field: test.field})
		if at == nil || at.File != test.at || in != test.in {
			t.Errorf("%s %q, field %q: at %v in %s, want %s in %s", test.noun, test.name, test.field, at, in, test.at, test.in)
		}
	}
}
