package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildPlugin builds a plug-in and returns the folder that it is in.
func buildPlugin(t *testing.T, name, from string) string {
	t.Helper()
	folder := t.TempDir()
	c := exec.Command("go", "build", "-o", filepath.Join(folder, "provision-provider-"+name), ".")
	c.Dir, c.Env = from, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build of plug-in %s: %v\n%s", name, err, out)
	}
	return folder
}

// TestPluginExample tests the plug-in that others copy from, in its own module, as its author would; then it plans the
// example's cluster with it, makes it and removes it.
func TestPluginExample(t *testing.T) {
	const example = "../../examples/plugin"
	for _, args := range [][]string{{"vet", "."}, {"test", "-count=1", "-timeout=3m", "."}} {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		c := exec.CommandContext(ctx, "go", args...)
		c.Dir, c.Env = example, append(os.Environ(), "GOFLAGS=")
		out, err := c.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("go %s in %s: %v\n%s", strings.Join(args, " "), example, err, out)
		}
	}
	file, err := filepath.Abs(filepath.Join(example, "demo", "cluster.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join(example, "demo", "plan.golden"))
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for k, v := range map[string]string{"HOME": home, "XDG_STATE_HOME": home + "/state", "XDG_CONFIG_HOME": home + "/config", "XDG_CACHE_HOME": home + "/cache",
		"PROVISION_PLUGINS": buildPlugin(t, "rack", example), "NO_COLOR": "1"} {
		t.Setenv(k, v)
	}
	t.Chdir(home)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("cluster.hcl", text, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, stop: make(chan struct{}), environ: os.Environ(), start: time.Now()}
		if code := a.run(t.Context(), args); code != 0 || !strings.Contains(out.String()+errs.String(), want) {
			t.Fatalf("provision %s ends with %d, want 0 and %q\n%s%s", strings.Join(args, " "), code, want, &out, &errs)
		}
		return out.String()
	}
	run("is trusted on this machine", "providers", "trust", "rack")
	if got := run("Plan:", "plan"); got != string(golden) {
		t.Errorf("the plan is not that of %s/demo/plan.golden.\ngot:\n%s\nwant:\n%s", example, got, golden)
	}
	run("machine.workers[1]", "apply", "--auto-approve")
	if made, err := filepath.Glob("rack/machine-*.json"); err != nil || len(made) != 3 {
		t.Errorf("the rack has %v, want three machines", made)
	}
	run("No changes.", "apply", "--auto-approve")
	run("0 objects left", "destroy", "--auto-approve")
}
