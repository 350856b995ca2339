package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestForeign(t *testing.T) {
	o := filled(t, 1)
	other := o
	other.Cluster = "prod"
	if e := openError[*ForeignError](t, other); e.Have != "demo" || e.Want != "prod" || e.UID {
		t.Errorf("got %+v", e)
	}
	s := mustOpen(t, o)
	var e *ForeignError
	if err := s.CheckUID("another"); !errors.As(err, &e) || !e.UID || e.Have != s.UID() || e.Want != "another" {
		t.Errorf("CheckUID of another = %v", err)
	}
	if err := errors.Join(s.CheckUID(s.UID()), s.CheckUID("")); err != nil {
		t.Errorf("CheckUID of its own, and of none: %v", err)
	}
}

// TestSecretsOfAnotherCluster: a secrets.age that was copied from elsewhere is not taken for this cluster's.
func TestSecretsOfAnotherCluster(t *testing.T) {
	a, b := options(t), options(t)
	b.Identity = a.Identity
	for _, o := range []Options{a, b} {
		s := mustOpen(t, o)
		must(t, s.SetSecrets(map[string][]byte{"a": {1}}))
		must(t, s.Close())
	}
	other, err := os.ReadFile(fileOf(t, b, "secrets"))
	must(t, err)
	mine, err := os.ReadFile(fileOf(t, a, "secrets"))
	must(t, err)
	must(t, os.WriteFile(fileOf(t, a, "secrets"), other, 0o600))
	openError[*CorruptError](t, a) // the journal has the sum of what it names
	journal, err := os.ReadFile(fileOf(t, a, "journal"))
	must(t, err)
	p, err := parse(journal)
	must(t, err)
	p.secrets.SHA256 = digest(other)
	if digest(mine) == digest(other) {
		t.Fatal("the two files are the same")
	}
	writeJournal(t, fileOf(t, a, "journal"), p.header, entry{Number: 1, Secrets: p.secrets})
	if e := openError[*ForeignError](t, a); !e.UID {
		t.Errorf("got %+v", e)
	}
}

// TestFolderOfOtherThings: a folder with something else in it is left as it is, for Remove would take it all.
func TestFolderOfOtherThings(t *testing.T) {
	o := options(t)
	must(t, os.MkdirAll(o.Folder, 0o700))
	must(t, os.WriteFile(filepath.Join(o.Folder, "thesis.tex"), nil, 0o600))
	if e := openError[*ForeignError](t, o); e.Found != "thesis.tex" {
		t.Errorf("got %+v", e)
	}
	if in, _ := os.ReadDir(o.Folder); len(in) != 1 {
		t.Errorf("the folder holds %v; want what it held", in)
	}
}

// writeJournal makes a journal of a header and entries.
func writeJournal(t *testing.T, path string, h header, es ...entry) {
	t.Helper()
	b, err := encodeHeader(h)
	must(t, err)
	for _, e := range es {
		line, err := encodeLine(e)
		must(t, err)
		b = append(b, line...)
	}
	must(t, os.WriteFile(path, b, 0o600))
}

func TestAnotherMachine(t *testing.T) {
	o := filled(t, 2)
	mine := machineID()
	for _, c := range []struct {
		machine string
		any     bool
		refused bool
	}{{"ffff", false, mine != ""}, {"ffff", true, false}, {"", false, false}, {mine, false, false}} {
		must(t, os.RemoveAll(o.Seen))
		path := fileOf(t, o, "journal")
		writeJournal(t, path, header{Cluster: "demo", UID: "u", Machine: c.machine, Host: "elsewhere"})
		o.AnyMachine = c.any
		if c.refused {
			if e := openError[*MachineError](t, o); e.Host != "elsewhere" {
				t.Errorf("got %+v", e)
			}
			continue
		}
		must(t, mustOpen(t, o).Close())
	}
}

func TestExposed(t *testing.T) {
	for _, c := range []struct {
		path string
		mode os.FileMode
	}{
		{"", 0o750}, {"", 0o701}, {"journal", 0o640}, {"journal", 0o602}, {"secrets", 0o644}, {"lease", 0o660}, {"identity", 0o604}, {"identity folder", 0o770},
	} {
		o := options(t)
		s := mustOpen(t, o)
		must(t, s.SetSecrets(map[string][]byte{"a": {1}}))
		must(t, s.Close())
		path := filepath.Join(o.Folder, c.path)
		switch c.path {
		case "journal", "secrets", "lease":
			path = fileOf(t, o, c.path)
		case "identity":
			path = o.Identity
		case "identity folder":
			path = filepath.Dir(o.Identity)
		}
		was, err := os.Stat(path)
		must(t, err)
		must(t, os.Chmod(path, c.mode))
		e := openError[*ExposedError](t, o)
		if e.Path != path || e.Mode != c.mode {
			t.Errorf("%s with mode %v: got %+v", c.path, c.mode, e)
		}
		if _, cmds := e.Advice(); len(cmds) != 1 || !strings.HasSuffix(cmds[0], " "+path) {
			t.Errorf("%s: advice %q", c.path, cmds)
		}
		must(t, os.Chmod(path, was.Mode()))
		must(t, mustOpen(t, o).Close())
	}
}

func TestNoFile(t *testing.T) {
	o := filled(t, 1)
	path := fileOf(t, o, "journal")
	must(t, os.Rename(path, o.Folder+".real"))
	must(t, os.Symlink(o.Folder+".real", path))
	if e := openError[*AccessError](t, o); e.Path != path {
		t.Errorf("a link: %+v", e)
	}
	o = options(t)
	must(t, os.MkdirAll(filepath.Dir(o.Folder), 0o700))
	must(t, os.WriteFile(o.Folder, nil, 0o600))
	if e := openError[*AccessError](t, o); e.Path != o.Folder {
		t.Errorf("a file for a folder: %+v", e)
	}
}

func TestIdentityLost(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, s.Close())
	real := o.Identity + ".away"
	must(t, os.Rename(o.Identity, real))
	e := openError[*IdentityError](t, o)
	id, err := readIdentity(o, real)
	must(t, err)
	if !e.Missing || len(e.Recipients) != 1 || e.Recipients[0] != id.first() || !strings.HasPrefix(id.first(), "age1pq1") {
		t.Errorf("got %+v; want that it is missing, and %s", e, id.first())
	}
	if _, err := os.Stat(o.Identity); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a lost identity was made anew: %v", err)
	}

	other, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(o.Identity, []byte(other.String()+"\n"), 0o600))
	e = openError[*IdentityError](t, o)
	if e.Missing || len(e.Have) != 1 || e.Have[0] != other.Recipient().String() || e.Recipients[0] != id.first() {
		t.Errorf("with another: got %+v", e)
	}
	if text := e.Error(); len(text) > 400 || !strings.Contains(text, id.first()[:24]) || strings.Contains(text, other.String()) {
		t.Errorf("the error says %q", text)
	}

	both, err := os.ReadFile(real) // the new key in front of the old one
	must(t, err)
	must(t, os.WriteFile(o.Identity, append([]byte(other.String()+"\n"), both...), 0o600))
	s = mustOpen(t, o)
	if b, ok := s.Secret("a"); !ok || string(b) != "b" {
		t.Errorf("with both: %q, %v", b, ok)
	}
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("c")}))
	must(t, s.Close())
	must(t, os.WriteFile(o.Identity, []byte(other.String()+"\n"), 0o600))
	if b, ok := mustOpen(t, o).Secret("a"); !ok || string(b) != "c" {
		t.Errorf("after the change to the new key: %q, %v", b, ok)
	}
}

func TestDamagedSecrets(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, s.Close())
	path := fileOf(t, o, "secrets")
	b, err := os.ReadFile(path)
	must(t, err)
	for _, n := range []int{0, 10, len(b) / 2, len(b) - 1} {
		must(t, os.WriteFile(path, b[:n], 0o600))
		if e := openError[*CorruptError](t, o); e.Path != path {
			t.Errorf("cut at %d: %+v", n, e)
		}
	}
	bad := append([]byte(nil), b...)
	bad[len(b)-3] ^= 4
	must(t, os.WriteFile(path, bad, 0o600))
	openError[*CorruptError](t, o)

	must(t, os.WriteFile(path, b, 0o600))
	must(t, os.WriteFile(o.Identity, []byte("AGE-SECRET-KEY-1OOPS\n"), 0o600))
	if e := openError[*CorruptError](t, o); e.Path != o.Identity || strings.Contains(e.Error(), "OOPS") {
		t.Errorf("a broken identity: %v", e)
	}
}
