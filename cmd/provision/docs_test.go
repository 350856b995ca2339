package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
)

// TestDocs loads every block of HCL in the documents that a person may copy: it must be a whole and valid file.
func TestDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, f := range append(files, "../../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?ms)^```hcl\n(.*?)^```").FindAllSubmatch(text, -1) {
			blocks++
			path := filepath.Join(t.TempDir(), "cluster.hcl")
			if err := os.WriteFile(path, m[1], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, ds := config.Load(path, config.Options{CheckRecipient: state.CheckRecipient}); ds.HasErrors() {
				t.Errorf("%s: a block of HCL is not valid: %v\n%s", f, ds, m[1])
			}
		}
	}
	if blocks == 0 {
		t.Error("the documents show no HCL")
	}
}

// TestKeysInDocs: every public key that the documents show is one, so that what is copied from them works.
func TestKeysInDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, f := range append(append(files, more...), "../../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range regexp.MustCompile(`\bage1[a-z0-9]{16,}|ssh-(?:ed25519|rsa) AAAA[A-Za-z0-9+/=]+`).FindAll(text, -1) {
			keys++
			if err := state.CheckRecipient(string(key)); err != nil {
				t.Errorf("%s: %s: %v", f, key, err)
			}
		}
	}
	if keys < 2 {
		t.Errorf("%d keys in the documents", keys)
	}
}

// TestReadme compares what the README shows of the demo with the example's plan, and its table of commands with the commands.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("../../examples/local/plan.golden")
	if err != nil {
		t.Fatal(err)
	}
	summary := regexp.MustCompile(`(?m)^Plan: .*$`)
	if got, want := string(summary.Find(text)), string(summary.Find(golden)); got != want || want == "" {
		t.Errorf("the README shows %q, and the example's plan is %q", got, want)
	}
	known := map[string]bool{}
	for _, c := range (&app{}).root().Commands() {
		known[c.Name()] = true
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `provision ([a-z]+)([^`]*)`(?:, `([a-z]+)`)?").FindAllStringSubmatch(string(text), -1) {
		for _, verb := range []string{m[1], m[3]} {
			if row := strings.TrimSpace(verb); row != "" && (seen[row] || !known[row]) {
				t.Errorf("the README's table has %q: seen before %v, a command %v", row, seen[row], known[row])
			}
			seen[verb] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("the README's table has only %v", seen)
	}
}
