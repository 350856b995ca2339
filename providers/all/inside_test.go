package all

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote/plugins"
)

// TestInsideKeepsSecrets is what goes to nodes of what a file marks as sensitive: nothing but what it says itself.
func TestInsideKeepsSecrets(t *testing.T) {
	said := providers.Inside{Attributes: map[string]any{"region": "north", "token": "hunter2", "again": []any{"x", "hunter2"}, "empty": ""}}
	for _, c := range []struct {
		name       string
		attributes map[string]any
		sensitive  []string
		want       map[string]any
		secret     []string
	}{
		{"nothing is sensitive", map[string]any{"token": "hunter2"}, nil, said.Attributes, nil},
		{"by name and by value", map[string]any{"token": "hunter2", "note": ""}, []string{"note", "token"}, map[string]any{"region": "north", "empty": ""}, nil},
		{"given by the file", map[string]any{"token": "hunter2", "inside": map[string]any{"token": "hunter3", "size": int64(3)}}, []string{"inside", "token"},
			map[string]any{"region": "north", "empty": "", "token": "hunter3", "size": int64(3)}, []string{"size", "token"}},
		{"given and not secret", map[string]any{"inside": map[string]any{"region": "south"}}, nil,
			map[string]any{"region": "south", "token": "hunter2", "again": []any{"x", "hunter2"}, "empty": ""}, nil},
	} {
		p := Plugin{Name: "rack", Attributes: c.attributes, Sensitive: c.sensitive}
		got, err := p.Inside(said)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, c.want)
		}
		if secret := p.SensitiveInside(); !reflect.DeepEqual(secret, c.secret) {
			t.Errorf("%s: secret inside are %v, want %v", c.name, secret, c.secret)
		}
	}
	if _, err := (Plugin{Attributes: map[string]any{"inside": "token"}}).Inside(said); !errors.Is(err, providers.Invalid) {
		t.Errorf("inside as a text: %v", err)
	}
}

// program is the beginning of a program for Linux on a machine.
func program(machine elf.Machine, more ...byte) []byte {
	b := make([]byte, 64)
	copy(b, elf.ELFMAG)
	b[4], b[5], b[6], b[16], b[18], b[20] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT), byte(elf.ET_EXEC), byte(machine), 1
	b[52], b[54], b[58] = 64, 56, 64
	return append(b, more...)
}

// TestProgramForNodes is which of a plug-in's programs goes to nodes, and that it is one that a person trusts and nodes can run.
func TestProgramForNodes(t *testing.T) {
	amd64, arm64, script := program(elf.EM_X86_64), program(elf.EM_AARCH64), []byte("#!/bin/sh\n")
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	for _, c := range []struct {
		name  string
		files map[string][]byte // after provision-provider-
		pins  []any
		arch  string
		want  string // the file, or what the error says
	}{
		{"the plug-in itself", map[string][]byte{"rack": amd64}, []any{sum(amd64)}, "amd64", "rack"},
		{"the one for nodes", map[string][]byte{"rack": script, "rack-linux-amd64": amd64}, []any{sum(script), sum(amd64)}, "amd64", "rack-linux-amd64"},
		{"one for others beside it", map[string][]byte{"rack": amd64, "rack-linux-arm64": arm64}, []any{sum(amd64), sum(arm64)}, "amd64", "rack"},
		{"another architecture", map[string][]byte{"rack": arm64}, []any{sum(arm64)}, "amd64", "linux/amd64 and need it for their cloud agent: it is for EM_AARCH64. Put the program for them beside it, as provision-provider-rack-linux-amd64"},
		{"another system", map[string][]byte{"rack": script}, []any{sum(script)}, "arm64", "no program for Linux"},
		{"nobody trusts the one for nodes", map[string][]byte{"rack": amd64, "rack-linux-amd64": program(elf.EM_X86_64, 1)}, []any{sum(amd64)}, "amd64", "cluster.hcl asks for"},
	} {
		folder := t.TempDir()
		for name, b := range c.files {
			if err := os.WriteFile(filepath.Join(folder, plugins.Prefix+name), b, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		p := Plugin{Name: "rack", Attributes: map[string]any{"sha256": c.pins}, Place: plugins.Place{Folders: []string{folder}}}
		got, err := p.Program(c.arch)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, c.want) && !strings.Contains(got, " "+c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	p := Plugin{Name: "rack", Place: plugins.Place{Folders: []string{t.TempDir()}}}
	if _, err := p.Program("amd64"); !errors.Is(err, providers.NotFound) {
		t.Errorf("without a program: %v", err)
	}
}
