package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

const examples = "../../../../examples"

func TestExampleLocal(t *testing.T) {
	c, ds := Load(filepath.Join(examples, "local", "cluster.hcl"), Options{})
	if len(ds) > 0 {
		t.Fatalf("Load: %s", diag.Text{}.Render(ds))
	}
	if got, want := c.Network.Pods.String()+" "+c.Network.Services.String(), "10.244.0.0/16 10.96.0.0/16"; got != want {
		t.Errorf("ranges: got %s, want %s", got, want)
	}
	w := c.Pools[0]
	if c.Name != "demo" || c.Kubernetes != "1.37.2" || c.Provider.Name != "local" || c.ControlPlane.Count != 1 || len(c.Pools) != 1 ||
		w.Name != "workers" || w.Count != 2 || w.Machine != "small" || w.Drain != DefaultDrain || !reflect.DeepEqual(w.Labels, map[string]string{"tier": "web"}) {
		t.Errorf("cluster: got %+v", c)
	}
	for key, line := range map[string]int{"cluster": 10, "kubernetes": 11, "provider": 8, "network": 14, "network.pods": 15, "control_plane.count": 21, "pool.workers": 26, "pool.workers.labels": 29} {
		if r, ok := c.Ranges[key]; !ok || r.Start.Line != line {
			t.Errorf("Ranges[%q]: got line %d (%q), want %d", key, r.Start.Line, r.Source, line)
		}
	}
}

func TestExampleVariables(t *testing.T) {
	file := filepath.Join(examples, "variables", "cluster.hcl")
	for _, test := range []struct {
		name        string
		o           Options
		blue, green int
	}{
		{"defaults", Options{}, 1, 1},
		{"file", Options{VarFiles: []string{filepath.Join(examples, "variables", "large.vars.hcl")}}, 4, 4},
		{"flag over file", Options{VarFiles: []string{filepath.Join(examples, "variables", "large.vars.hcl")}, Vars: map[string]string{"workers": "3", "teams": `["blue"]`}}, 3, 0},
		{"environment", Options{Env: []string{"PROVISION_VAR_workers=2", "PROVISION_VAR_unknown=1"}}, 2, 2},
		{"flag over environment", Options{Env: []string{"PROVISION_VAR_workers=2"}, Vars: map[string]string{"workers": "5"}}, 5, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, ds := Load(file, test.o)
			if len(ds) > 0 {
				t.Fatalf("Load: %s", diag.Text{}.Render(ds))
			}
			if c.Pools[0].Count != test.blue || c.Pools[1].Count != test.green {
				t.Errorf("got %d and %d, want %d and %d", c.Pools[0].Count, c.Pools[1].Count, test.blue, test.green)
			}
			if got := c.Network.Pods.String(); got != "10.129.0.0/16" {
				t.Errorf("pods: got %s", got)
			}
		})
	}
}

// TestExamplesAreFormatted holds every example against Format.
func TestExamplesAreFormatted(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*", "*.hcl"))
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d examples, %v", len(files), err)
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, ds := Format(f, src); len(ds) > 0 || string(got) != string(src) {
			t.Errorf("%s is not formatted; it should be:\n%s", f, got)
		}
	}
}
