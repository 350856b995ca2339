package crashtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestWatchSeesAndKills checks the rig itself on a program whose system calls are known.
func TestWatchSeesAndKills(t *testing.T) {
	script := `printf hello > f; mv f g; printf other > ../outside`
	var seen []string
	watch := func(act func(n int, b Boundary) Action) (Exit, string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "root")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Dir = dir
		w := Watch{Root: dir, At: act}
		e, err := w.Run(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return e, dir
	}
	e, _ := watch(func(n int, b Boundary) Action { seen = append(seen, b.String()); return Go })
	want := []string{"before create f", "after create f", "before write f", "after write f", "child: before rename g", "child: after rename g"}
	if e.Code != 0 || !slices.Equal(seen, want) {
		t.Fatalf("exit %d, boundaries %q, want %q", e.Code, seen, want)
	}
	for _, c := range []struct {
		name string
		at   int
		act  Action
		file string
		text string
	}{
		{"before create", 1, Kill, "f", "absent"},
		{"after create", 2, Kill, "f", ""},
		{"before write", 3, Kill, "f", ""},
		{"torn write", 3, Tear, "f", "he"},
		{"after write", 4, Kill, "f", "hello"},
	} {
		e, dir := watch(func(n int, b Boundary) Action {
			if n == c.at {
				return c.act
			}
			return Go
		})
		got, err := os.ReadFile(filepath.Join(dir, c.file))
		if err != nil {
			got = []byte("absent")
		}
		if e.Signal != 9 || string(got) != c.text {
			t.Errorf("%s: signal %v, file %q, want it killed and %q", c.name, e.Signal, got, c.text)
		}
	}
}
