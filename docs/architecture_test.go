package docs_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/provisionhq/provision/"

// rule is one row of the import table.
type rule struct{ may, mustNot []string }

// TestImports compares the import table of architecture.md with what the packages import.
func TestImports(t *testing.T) {
	rules := table(t)
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		r, ok := rules[name]
		if !ok {
			if len(p.Imports) > 0 {
				t.Errorf("package %s is not in the import table of architecture.md", name)
			}
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && !slices.Contains(r.may, ours) {
				t.Errorf("%s imports %s, which the table does not allow", name, ours)
			}
			for _, bad := range r.mustNot {
				if i == bad || (strings.HasSuffix(bad, "/") && strings.HasPrefix(i, bad) && !strings.HasPrefix(i, module)) {
					t.Errorf("%s imports %s, which the table forbids", name, i)
				}
			}
		}
	}
	for name := range rules {
		if !seen[name] {
			t.Errorf("the import table names %s, which is no package", name)
		}
	}
}

func table(t *testing.T) map[string]rule {
	b, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "<!-- imports -->")
	if !ok {
		t.Fatal("architecture.md has no <!-- imports --> mark")
	}
	rules := map[string]rule{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 3 {
			t.Fatalf("row %q has %d cells, want 3", line, len(cells))
		}
		rules[names(cells[0])[0]] = rule{names(cells[1]), names(cells[2])}
	}
	if len(rules) < 20 {
		t.Fatalf("read %d rows of the import table; it has more", len(rules))
	}
	return rules
}

func names(cell string) []string {
	var ns []string
	for _, n := range strings.Split(cell, ",") {
		n = strings.Trim(strings.TrimSpace(n), "`")
		if n = strings.Replace(n, "…/", "cmd/provision/internal/", 1); n != "" {
			ns = append(ns, n)
		}
	}
	return ns
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}
