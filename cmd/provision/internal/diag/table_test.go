package diag

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/provisionhq/provision/docs"
)

// TestTableAndConstants holds the table against the constants of type ID, both ways.
func TestTableAndConstants(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "table.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "ID" {
				id, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				constants[id] = true
			}
		}
		return true
	})
	summaries := map[string]ID{}
	for _, e := range All() {
		if !constants[string(e.ID)] {
			t.Errorf("table has %q, which is no constant or is in it twice", e.ID)
		}
		delete(constants, string(e.ID))
		if other, twice := summaries[strings.ToLower(e.Summary)]; twice {
			t.Errorf("%s and %s have the same summary", other, e.ID)
		}
		summaries[strings.ToLower(e.Summary)] = e.ID
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(string(e.ID)) || strings.HasSuffix(e.Summary, ".") {
			t.Errorf("%q, %q: not written like the others", e.ID, e.Summary)
		}
	}
	for id := range constants {
		t.Errorf("constant %q is not in the table", id)
	}
}

// TestErrorsDocument holds the table against docs/errors.md, both ways and in the same order.
func TestErrorsDocument(t *testing.T) {
	var headings []string
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(docs.Errors(), -1) {
		headings = append(headings, m[1])
	}
	all := All()
	for i, h := range headings {
		if i >= len(all) || string(all[i].ID) != h {
			t.Fatalf("heading %d of docs/errors.md is %q; the table has something else there", i+1, h)
		}
	}
	if len(headings) != len(all) {
		t.Fatalf("docs/errors.md has %d headings, the table %d entries; missing: %s", len(headings), len(all), all[len(headings)].ID)
	}
	for _, e := range all {
		leads := fmt.Sprintf("exit code %d", e.Exit)
		if e.Exit == ExitDone {
			leads = "a warning"
		}
		head := fmt.Sprintf("\n### %s\n\n**%s** (%s)\n\n", e.ID, e.Summary, leads)
		if !strings.Contains(docs.Errors(), head) {
			t.Errorf("docs/errors.md: the paragraph of %s does not begin with %q", e.ID, strings.TrimSpace(head))
		}
	}
}

func TestExplain(t *testing.T) {
	for _, e := range All() {
		for _, name := range []string{string(e.ID), e.Summary, strings.ToUpper(e.Summary)} {
			got, text, ok := Explain(name)
			if !ok || got != e {
				t.Errorf("Explain(%q) = %v, %v", name, got, ok)
			}
			if len(text) < 100 || strings.Contains(text, "#") || strings.Contains(text, "**") {
				t.Errorf("Explain(%q) has not just its own text: %q", name, text)
			}
		}
	}
	for _, name := range []string{"", "none", "errors", "the command"} {
		if _, text, ok := Explain(name); ok {
			t.Errorf("Explain(%q) = %q, want nothing", name, text)
		}
	}
}

func TestExitCode(t *testing.T) {
	step := New(OutOfCapacity, "x")
	step.Address = "machine.workers[2]"
	inStep := New(BundleCorrupt, "x")
	inStep.Address = "node.workers[2]"
	interruptedStep := New(Interrupted, "x")
	interruptedStep.Address = "node.workers[2]"
	warning := New(NoWorkers, "x")
	warning.Severity = Warning
	for _, test := range []struct {
		name string
		ds   Diagnostics
		want int
	}{
		{"none", nil, 0},
		{"warning", Diagnostics{warning}, 0},
		{"file", Diagnostics{New(SyntaxError, "x"), warning}, 2},
		{"step", Diagnostics{step}, 1},
		{"refused within a step", Diagnostics{inStep}, 1},
		{"refused before steps", Diagnostics{New(BundleCorrupt, "x")}, 2},
		{"failed wins over refused", Diagnostics{New(SyntaxError, "x"), step}, 1},
		{"interrupted wins", Diagnostics{step, New(Interrupted, "x"), New(SyntaxError, "x")}, 3},
		{"interrupted within a step", Diagnostics{interruptedStep}, 3},
		{"not in the table", Diagnostics{New("nonsense", "x")}, 1},
		{"warning made an error", Diagnostics{New(NoWorkers, "x")}, 1},
	} {
		if got := test.ds.ExitCode(); got != test.want {
			t.Errorf("%s: got exit code %d, want %d", test.name, got, test.want)
		}
		if got, want := test.ds.Err() != nil, test.want != 0; got != want {
			t.Errorf("%s: Err() != nil is %v, want %v", test.name, got, want)
		}
	}
}
