package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// TestPluginOfNodes is a vendor's program at hand: control-plane nodes get it, the agent's file names its sum, and another one on a node is stale.
func TestPluginOfNodes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &config.Cluster{Name: "demo", CloudAgent: true, Provider: config.Provider{Name: "rack"}}
	in := &Inside{Options: map[string]any{"region": "north"}, Sensitive: []string{"token"}, Program: func(arch string) (string, error) {
		if arch != "amd64" {
			return "", errors.New("no program for " + arch)
		}
		return path, nil
	}}
	e := New(Options{Provider: fake.New(fake.Options{}), Cluster: c, Inside: in})
	e.programs = &bootstrap.Programs{Manifest: &bundle.Manifest{Arch: "arm64"}}
	e.want.Cloud = e.nodeCloud()
	if _, err := e.nodePlugin(); err == nil {
		t.Error("a program for another architecture is taken")
	}
	e.programs.Manifest.Arch = "amd64"
	var err error
	if e.plugin, err = e.nodePlugin(); err != nil {
		t.Fatal(err)
	}
	const sum = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" // of "one"
	got, err := e.cloud()
	if err != nil || got.Plugin == nil || got.Plugin.SHA256 != sum || !slices.Equal(got.Plugin.Sensitive, in.Sensitive) || got.Vendor != "rack" {
		t.Errorf("the agent's file is %+v, %v", got, err)
	}
	at := templates.PluginPath("rack")
	programs := e.besides(templates.ControlPlane)
	if len(programs) != 1 || programs[0].Path != at || e.besides(templates.Worker) != nil {
		t.Errorf("control-plane nodes get %+v, workers %+v", programs, e.besides(templates.Worker))
	}
	for have, want := range map[string][]string{sum: nil, "": {at}, "abc": {at}} {
		if got := stale(nil, programs, map[string]string{at: have}); !slices.Equal(got, want) {
			t.Errorf("with %q there, stale are %v, want %v", have, got, want)
		}
	}
	for _, without := range []func(){func() { c.CloudAgent = false }, func() { c.CloudAgent, in.Program = true, nil }} {
		without()
		e.want.Cloud = e.nodeCloud()
		if p, err := e.nodePlugin(); p != nil || err != nil {
			t.Errorf("without need of it: %v, %v", p, err)
		}
	}
}
