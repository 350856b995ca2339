package config

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

var update = flag.Bool("update", false, "write what is wanted into testdata/diag")

// TestDiagnostics loads the files of each archive in testdata/diag and compares the whole text with its want.txt. The
// archive's comment says how to load:
//
//	load PATH (cluster.hcl if there is none), var NAME=VALUE, var-file PATH, env NAME=VALUE,
//	version HELD…, machine-types KNOWN…, providers KNOWN…, attributes KNOWN… (what the engine asks afterwards)
//
// The first part of an archive's name is the diagnostic that has to be among those shown.
func TestDiagnostics(t *testing.T) {
	shown := map[diag.ID]bool{}
	for _, archive := range archives(t) {
		name := strings.TrimSuffix(filepath.Base(archive), ".txtar")
		t.Run(name, func(t *testing.T) {
			a, err := txtar.ParseFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			ds := loadArchive(t, a)
			id, _, _ := strings.Cut(name, ".")
			if !slices.ContainsFunc(ds, func(d diag.Diagnostic) bool { return string(d.ID) == id }) {
				t.Errorf("no diagnostic %s among %v", id, ds)
			}
			shown[diag.ID(id)] = true
			compare(t, archive, a, diag.Text{Width: 100}.Render(ds))
		})
	}
	for _, id := range reported(t) {
		if !shown[id] {
			t.Errorf("no archive in testdata/diag shows %s", id)
		}
	}
}

func archives(t *testing.T) []string {
	t.Helper()
	as, err := filepath.Glob(filepath.Join("testdata", "diag", "*.txtar"))
	if err != nil || len(as) == 0 {
		t.Fatalf("found %d archives, %v", len(as), err)
	}
	for i := range as {
		if as[i], err = filepath.Abs(as[i]); err != nil {
			t.Fatal(err)
		}
	}
	return as
}

// loadArchive unpacks the archive, goes there and does what its comment says.
func loadArchive(t *testing.T, a *txtar.Archive) diag.Diagnostics {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range a.Files {
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path, o := "cluster.hcl", Options{Vars: map[string]string{}}
	var then [][]string
	for line := range strings.Lines(string(a.Comment)) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "":
		case "load":
			path = rest
		case "var":
			name, value, _ := strings.Cut(rest, "=")
			o.Vars[name] = value
		case "var-file":
			o.VarFiles = append(o.VarFiles, rest)
		case "env":
			o.Env = append(o.Env, rest)
		case "blow-up": // makes a file larger than it can be in an archive
			if err := os.WriteFile(rest, []byte(strings.Repeat("# large\n", maxFile/8+1)), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			then = append(then, append([]string{verb}, strings.Fields(rest)...))
		}
	}
	c, ds := Load(path, o)
	if (c == nil) != ds.HasErrors() {
		t.Fatalf("Load returned the cluster %v beside %v", c, ds)
	}
	return append(ds, afterwards(t, c, then)...)
}

// afterwards makes the diagnostics that the engine asks for.
func afterwards(t *testing.T, c *Cluster, then [][]string) (ds diag.Diagnostics) {
	t.Helper()
	for _, words := range then {
		if c == nil {
			t.Fatal("there is no cluster to ask about")
		}
		switch known := words[1:]; words[0] {
		case "version":
			ds = append(ds, UnknownVersion(c, known))
		case "machine-types":
			ds = append(ds, UnknownMachineType(c, &c.Pools[0], c.Pools[0].Machine, known))
		case "zones":
			ds = append(ds, UnknownZones(c, &c.Pools[0], known)...)
		case "none":
			ds = append(ds, NoSpot(c, &c.Pools[0]), NoBalancers(c))
		case "providers":
			ds = append(ds, UnknownProvider(c, known))
		case "attributes":
			for name := range c.Provider.Attributes {
				ds = append(ds, UnknownProviderAttribute(c, name, known))
			}
		default:
			t.Fatalf("the archive's comment says %q", words)
		}
	}
	return ds
}

func compare(t *testing.T, archive string, a *txtar.Archive, got string) {
	t.Helper()
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want.txt" })
	if *update {
		if i < 0 {
			a.Files, i = append(a.Files, txtar.File{Name: "want.txt"}), len(a.Files)
		}
		a.Files[i].Data = []byte(got)
		if err := os.WriteFile(archive, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 || string(a.Files[i].Data) != got {
		t.Errorf("got\n%s\nwant what is in %s; go test -update writes it", got, archive)
	}
}

// reported lists the diagnostics that the package's source names.
func reported(t *testing.T) []diag.ID {
	t.Helper()
	table, err := os.ReadFile(filepath.Join("..", "diag", "table.go"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]diag.ID{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+)\s+ID = "([^"]+)"`).FindAllStringSubmatch(string(table), -1) {
		ids[m[1]] = diag.ID(m[2])
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var rs []diag.ID
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil || strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`diag\.([A-Z]\w+)`).FindAllStringSubmatch(string(src), -1) {
			if id, ok := ids[m[1]]; ok && !slices.Contains(rs, id) && id != diag.FilePermission {
				rs = append(rs, id) // a test that runs as root may read all files: see TestUnreadable
			}
		}
	}
	if len(rs) < 30 {
		t.Fatalf("found %d diagnostics in the source; there are more", len(rs))
	}
	return rs
}

// TestUnreadable names something that is there and cannot be read.
func TestUnreadable(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Symlink("loop.hcl", "loop.hcl"); err != nil {
		t.Fatal(err)
	}
	_, ds := Load("loop.hcl", Options{})
	want := "Error: File not readable\n\nloop.hcl, which should hold the cluster, cannot be read: too many levels of symbolic links.\n"
	if got := (diag.Text{Width: 100}).Render(ds); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
