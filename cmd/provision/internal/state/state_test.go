package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// noon is what clocks show in these tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// options are those of a cluster demo in a folder of the test's own.
func options(t *testing.T) Options {
	dir := t.TempDir()
	return Options{
		Cluster: "demo", Command: "provision apply cluster.hcl",
		Folder: filepath.Join(dir, "state", "demo"), Identity: filepath.Join(dir, "config", "identity.age"),
		Seen: filepath.Join(dir, "seen"),
		Now:  func() time.Time { return noon },
	}
}

// fileOf returns the path of the state's only file of that kind.
func fileOf(t *testing.T, o Options, kind string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(o.Folder, kind+".*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("files of the kind %s: %v, %v; want one", kind, all, err)
	}
	return all[0]
}

func mustOpen(t *testing.T, o Options) *State {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// must ends the test at an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openError opens what cannot be opened, and returns the error, which has to be of type E and to be a diagnostic.
func openError[E error](t *testing.T, o Options) E {
	t.Helper()
	s, err := Open(t.Context(), o)
	if s != nil {
		s.Close()
	}
	var e E
	if !errors.As(err, &e) {
		t.Fatalf("Open = %v (%T); want a %T", err, err, e)
	}
	var coded interface{ DiagnosticID() string }
	if !errors.As(err, &coded) || coded.DiagnosticID() == "" {
		t.Errorf("%T names no diagnostic", err)
	}
	return e
}

func records(n int) []Record {
	var rs []Record
	for i := range n {
		rs = append(rs, Record{Type: Intent, Address: fmt.Sprintf("machine.workers[%d]", i), Time: noon, Data: json.RawMessage(fmt.Sprintf(`{"verb":"create","token":"t-%d"}`, i))})
	}
	return rs
}

// filled makes a state with n records and closes it.
func filled(t *testing.T, n int) Options {
	t.Helper()
	o := options(t)
	s := mustOpen(t, o)
	for _, r := range records(n) {
		must(t, s.Append(r))
	}
	must(t, s.Close())
	return o
}

func TestKeepsAll(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	uid := s.UID()
	if len(uid) != 26 || uid != strings.ToLower(uid) || s.Exists() {
		t.Errorf("a new state: UID %q, exists %v", uid, s.Exists())
	}
	must(t, s.SetSecrets(map[string][]byte{"ssh": []byte("key"), "pki": {0, 1, 255}, "empty": {}}))
	for _, r := range records(3) {
		r.Time = time.Time{} // becomes now
		must(t, s.Append(r))
	}
	must(t, s.SetSecrets(map[string][]byte{"pki": []byte("new"), "ssh": nil}))
	must(t, s.Close())

	for _, readOnly := range []bool{false, true} {
		o.ReadOnly = readOnly
		s = mustOpen(t, o)
		if s.UID() != uid || !s.Exists() {
			t.Errorf("UID %q, exists %v; want %q, true", s.UID(), s.Exists(), uid)
		}
		if got := s.Records(); !reflect.DeepEqual(got, records(3)) {
			t.Errorf("records %v; want %v", got, records(3))
		}
		for name, want := range map[string]string{"pki": "new", "empty": "", "ssh": "absent"} {
			b, ok := s.Secret(name)
			if got := string(b); ok && got != want || !ok && want != "absent" {
				t.Errorf("secret %s = %q, %v; want %s", name, got, ok, want)
			}
		}
		if off, n := s.Dropped(); off != 0 || n != 0 {
			t.Errorf("dropped %d bytes at %d of a whole journal", n, off)
		}
		must(t, s.Close())
	}
}

func TestReadOnly(t *testing.T) {
	o := options(t)
	o.ReadOnly = true
	s := mustOpen(t, o)
	if s.Exists() || s.UID() != "" || len(s.Records()) > 0 {
		t.Errorf("of nothing: exists %v, UID %q", s.Exists(), s.UID())
	}
	if _, err := os.Stat(filepath.Dir(o.Folder)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a read-only Open made a folder: %v", err)
	}
	o = filled(t, 1)
	writer := mustOpen(t, o)
	o.ReadOnly = true
	s = mustOpen(t, o) // despite the lock
	var access *AccessError
	for what, err := range map[string]error{
		"Append": s.Append(records(1)[0]), "SetSecrets": s.SetSecrets(map[string][]byte{"a": nil}), "Compact": s.Compact(Latest), "Remove": s.Remove(),
	} {
		if !errors.As(err, &access) {
			t.Errorf("%s of a read-only state = %v; want an AccessError", what, err)
		}
	}
	must(t, writer.Append(records(1)[0]))
	if got := mustOpen(t, o).Records(); len(got) != 2 {
		t.Errorf("beside a writer: %d records; want 2", len(got))
	}
}

// TestNothingWrittenLeavesNothing: to look and to say no leaves no folder behind.
func TestNothingWrittenLeavesNothing(t *testing.T) {
	o := options(t)
	must(t, mustOpen(t, o).Close())
	if _, err := os.Stat(o.Folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Open and Close the folder is there: %v", err)
	}
}

func TestRemove(t *testing.T) {
	o := filled(t, 2)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, os.WriteFile(filepath.Join(o.Folder, "known_hosts"), nil, 0o600))
	must(t, s.Remove())
	if _, err := os.Stat(o.Folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove the folder is there: %v", err)
	}
	if err := s.Append(records(1)[0]); err == nil {
		t.Error("Append after Remove succeeds")
	}
	if n := mustOpen(t, o); n.UID() == s.UID() || n.Exists() {
		t.Errorf("the next state has the UID of the one that was removed")
	}
}

// TestFolderPulledAway: what is written to a folder that is gone is not written.
func TestFolderPulledAway(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.Append(records(1)[0]))
	must(t, os.RemoveAll(o.Folder))
	if err := s.Append(records(1)[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Append = %v; want that the file was removed", err)
	}
}

// TestSecretsAreNotReadable: no byte of a secret is in any file, nor in what an error says.
func TestSecretsAreNotReadable(t *testing.T) {
	const canary = "canary-4f1c-in-the-coal-mine"
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.Append(records(1)[0]))
	must(t, s.SetSecrets(map[string][]byte{canary: []byte(canary), "other": bytes.Repeat([]byte(canary), 10_000)}))
	must(t, s.SetSecrets(map[string][]byte{"third": []byte(canary)}))
	must(t, s.Compact(Latest))
	must(t, s.Close())
	files := 0
	must(t, filepath.WalkDir(filepath.Dir(filepath.Dir(o.Folder)), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		for _, c := range []string{canary, "Y2FuYXJ5L", "canary-4f"} { // in base64, too
			if bytes.Contains(b, []byte(c)) {
				t.Errorf("%s holds %q in the clear", path, c)
			}
		}
		if fi, _ := d.Info(); fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v; want 0600", path, fi.Mode().Perm())
		}
		return err
	}))
	if files != 5 { // journal, secrets, lease, identity.age, what was seen
		t.Errorf("%d files; want 5", files)
	}
	if b, ok := mustOpen(t, o).Secret("third"); !ok || string(b) != canary {
		t.Errorf("and yet it is there: %q, %v", b, ok)
	}
}

func TestConcurrentUse(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for k := range 10 {
				if err := s.Append(Record{Type: Done, Address: fmt.Sprintf("a[%d][%d]", i, k)}); err != nil {
					t.Error(err)
				}
			}
			s.Records()
			s.Secret("x")
		})
	}
	for i := range 3 {
		wg.Go(func() {
			if err := errors.Join(s.SetSecrets(map[string][]byte{fmt.Sprint(i): {1}}), s.Compact(func(r []Record) []Record { return r })); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	inMemory := s.Records()
	must(t, s.Close())
	s = mustOpen(t, o)
	seen := map[string]int{}
	for _, r := range s.Records() {
		seen[r.Address]++
	}
	if len(seen) != 500 || len(s.Records()) != 500 || !reflect.DeepEqual(inMemory, s.Records()) {
		t.Errorf("%d addresses in %d records, the same in memory: %v; want 500 in 500, true", len(seen), len(s.Records()), reflect.DeepEqual(inMemory, s.Records()))
	}
	for i := range 3 {
		if _, ok := s.Secret(fmt.Sprint(i)); !ok {
			t.Errorf("secret %d is lost", i)
		}
	}
}

func TestDefaultFolders(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "s"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "c"))
	s := mustOpen(t, Options{Cluster: "demo"})
	must(t, s.SetSecrets(map[string][]byte{"a": nil}))
	if want := filepath.Join(dir, "s", "provision", "demo"); s.Folder() != want {
		t.Errorf("folder %s; want %s", s.Folder(), want)
	}
	if _, err := os.Stat(filepath.Join(dir, "c", "provision", "identity.age")); err != nil {
		t.Error(err)
	}
	must(t, s.Close())
	if in, _ := os.ReadDir(filepath.Join(dir, "s", "provision", ".seen")); len(in) != 1 || in[0].Name() != s.UID() {
		t.Errorf("seen: %v; want %s", in, s.UID())
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", dir)
	if s = mustOpen(t, Options{Cluster: "demo"}); s.Folder() != filepath.Join(dir, ".local/state/provision/demo") {
		t.Errorf("folder %s; want one below HOME", s.Folder())
	}
	for _, name := range []string{"", ".", "..", "a/b", "../x", ".hidden"} {
		if _, err := Open(t.Context(), Options{Cluster: name}); err == nil {
			t.Errorf("a cluster named %q gets a state", name)
		}
	}
}

func removeFile(path string) error { return os.Remove(path) }
