package main

import (
	"os"
	"path/filepath"
	"regexp"
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
