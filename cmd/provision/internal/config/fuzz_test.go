package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// FuzzLoad gives any text to the parser and all that follows it: nothing may panic, and every diagnostic has to have a
// place inside the file.
func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("testdata/diag/*.txtar")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("found %d seeds, %v", len(seeds), err)
	}
	for _, s := range seeds {
		a, err := txtar.ParseFile(s)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if strings.HasSuffix(file.Name, ".hcl") {
				f.Add(file.Data)
			}
		}
	}
	f.Add([]byte(everything))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > maxFile || strings.Contains(string(src), "file") || strings.Contains(string(src), "format") {
			return // they read the disk, and make texts of any length
		}
		checkLoad(t, src)
		if out, ds := Format("cluster.hcl", src); !ds.HasErrors() {
			if _, ds := Format("cluster.hcl", out); ds.HasErrors() {
				t.Errorf("Format broke the file: %v\n%s", ds, out)
			}
		}
	})
}

// checkLoad loads a file that was already read, and checks the diagnostics.
func checkLoad(t *testing.T, src []byte) {
	t.Helper()
	l := &loader{sources: map[string][]byte{}}
	parsed := l.parse("cluster.hcl", src)
	var c *Cluster
	ds := l.sorted()
	if !ds.HasErrors() {
		c, ds = l.load("cluster.hcl", []file{parsed})
	}
	if (c == nil) != ds.HasErrors() {
		t.Errorf("the cluster is %v beside %v", c, ds)
	}
	for _, d := range ds {
		if problem := misplaced(d, src); problem != "" {
			t.Errorf("%s: %s", problem, d.Error())
		}
	}
	diag.Text{Width: 60, Colour: true}.Render(ds)
}

// misplaced says what is wrong with the place of a diagnostic.
func misplaced(d diag.Diagnostic, src []byte) string {
	r := d.Range
	switch {
	case r == nil:
		return "no place"
	case r.File != "cluster.hcl":
		return fmt.Sprintf("file %q", r.File)
	case r.Start.Byte < 0 || r.Start.Byte > r.End.Byte || r.End.Byte > len(src):
		return fmt.Sprintf("bytes %d to %d of %d", r.Start.Byte, r.End.Byte, len(src))
	case r.Start.Line < 1 || r.Start.Line > strings.Count(string(src), "\n")+1 || r.Start.Column < 1:
		return fmt.Sprintf("line %d, column %d", r.Start.Line, r.Start.Column)
	case r.Start.Line != strings.Count(string(src[:r.Start.Byte]), "\n")+1:
		return fmt.Sprintf("line %d is not where byte %d is", r.Start.Line, r.Start.Byte)
	case d.Detail == "" || d.Summary() == "Internal error":
		return "no text"
	}
	return ""
}

// TestHostileFiles gives the parser what takes much stack or time elsewhere.
func TestHostileFiles(t *testing.T) {
	const most = maxFile - 100
	files := map[string]string{
		"brackets":    "a = " + strings.Repeat("[", most),
		"parentheses": "locals {\n  a = " + strings.Repeat("(", most) + "\n}",
		"blocks":      strings.Repeat("a {\n", most/4),
		"templates":   `a = "` + strings.Repeat("${\"", most/4),
		"not":         "locals {\n  a = " + strings.Repeat("!", most) + "true\n}\n",
		"minus":       "locals {\n  a = " + strings.Repeat("-", most) + "1\n}\n",
		"conditions":  "locals {\n  a = " + strings.Repeat("true?1:", most/7) + "1\n}\n",
		"sums":        "locals {\n  a = 1" + strings.Repeat("+1", most/2) + "\n}\n",
		"steps":       "locals {\n  a = local.b" + strings.Repeat(".b", most/2) + "\n}\n",
		"splats":      "locals {\n  a = []" + strings.Repeat("[*]", most/3) + "\n}\n",
		"heredoc":     "locals {\n  a = <<EOT\n" + strings.Repeat("x\n", most/2),
		"one line":    `a = "` + strings.Repeat("x", most) + `"`,
		"nothing":     strings.Repeat("\n", most),
		"zeros":       strings.Repeat("\x00", most),
		"bom":         "\ufeffprovider \"local\" {}",
	}
	chain := &strings.Builder{}
	for i := range 8000 {
		fmt.Fprintf(chain, "  v%d = local.v%d\n", i, i+1)
	}
	files["a chain"] = "locals {\n" + chain.String() + "  v8000 = 1\n}\n"
	for name, src := range files {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			checkLoad(t, []byte(src))
			if took := time.Since(begin); took > 2*time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestLoadReadsNoMore gives a file that has no end.
func TestLoadReadsNoMore(t *testing.T) {
	if _, err := os.Stat("/dev/zero"); err != nil {
		t.Fatal(err)
	}
	_, ds := Load("/dev/zero", Options{})
	if len(ds) != 1 || ds[0].ID != diag.FileTooLarge {
		t.Errorf("got %v", ds)
	}
}
