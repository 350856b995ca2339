package ssh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
)

// noise returns bytes that cannot be compressed, the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// text returns bytes that can be compressed.
func text(n int) []byte {
	return bytes.Repeat([]byte("all work and no play makes a dull boy\n"), n/38+1)[:n]
}

// A machine is a scripted machine whose files are in memory, or are files of this computer below a folder, written by
// the real scripts. Tests of Put run on both.
type machine struct {
	*sshtest.Server
	dir  string // "" in memory
	path string // of the file that is put
}

func eachMachine(t *testing.T, o sshtest.Options, test func(*testing.T, *machine)) {
	t.Run("memory", func(t *testing.T) {
		s := sshtest.New(o)
		t.Cleanup(s.Close)
		test(t, &machine{s, "", "/var/lib/provision/it's a file"})
	})
	t.Run("sh", func(t *testing.T) {
		o.Shell = true
		s := sshtest.New(o)
		t.Cleanup(s.Close)
		dir := t.TempDir()
		test(t, &machine{s, dir, filepath.Join(dir, "new folder", "it's a file")})
	})
}

func (m *machine) read(path string) ([]byte, fs.FileMode, bool) {
	if m.dir == "" {
		return m.File(path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, false
	}
	i, err := os.Stat(path)
	return b, i.Mode(), err == nil
}

func (m *machine) write(t *testing.T, path string, b []byte) {
	if m.dir == "" {
		m.SetFile(path, b, 0o600)
		return
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// there checks that the file is there whole, and nothing of its upload.
func (m *machine) there(t *testing.T, want []byte, mode fs.FileMode) {
	t.Helper()
	got, gotMode, ok := m.read(m.path)
	if !ok || !bytes.Equal(got, want) || gotMode != mode {
		t.Errorf("file has %d bytes, mode %v, there %v; want %d bytes, mode %v", len(got), gotMode, ok, len(want), mode)
	}
	if _, _, ok := m.read(m.path + ".part"); ok {
		t.Error("part of the upload is left")
	}
}

// runs counts the commands of a kind.
func (m *machine) runs(kind string) int {
	n := 0
	for _, l := range m.Log.Lines() {
		if strings.HasPrefix(l, kind) {
			n++
		}
	}
	return n
}

func TestPut(t *testing.T) {
	for name, content := range map[string][]byte{"empty": {}, "small": []byte("x"), "large": noise(5<<20 + 1), "packed": text(3 << 20)} {
		t.Run(name, func(t *testing.T) {
			latency := time.Duration(0)
			if name == "packed" {
				latency = 6 * time.Millisecond
			}
			eachMachine(t, sshtest.Options{Latency: latency}, func(t *testing.T, m *machine) {
				h := dial(t, options(t, m.Server))
				var last, total int64
				f := ssh.File{Path: m.path, Mode: 0o755, Source: ssh.FromBytes(content), Progress: func(d, t int64) {
					if d < last {
						panic("progress goes back")
					}
					last, total = d, t
				}}
				if err := h.Put(context.Background(), f); err != nil {
					t.Fatal(err)
				}
				m.there(t, content, 0o755)
				if n := int64(len(content)); last != n || total != n {
					t.Errorf("progress ended at %d of %d, want %d", last, total, n)
				}
				for _, l := range m.Log.Lines() {
					if strings.HasPrefix(l, "provision-receive") && strings.HasSuffix(l, " 1") != (name == "packed") {
						t.Errorf("compressed or not: %q", l)
					}
				}
				f.Mode = 0o600
				if err := h.Put(context.Background(), f); err != nil {
					t.Fatal(err)
				}
				m.there(t, content, 0o600)
				if n := m.runs("provision-receive"); n != 1 {
					t.Errorf("sent %d times, want once", n)
				}
			})
		})
	}
}

func TestPutManyFromDisk(t *testing.T) {
	eachMachine(t, sshtest.Options{}, func(t *testing.T, m *machine) {
		dir, files := t.TempDir(), []ssh.File{}
		for _, name := range []string{"a", "b", "c"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
			src, err := ssh.FromFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, ssh.File{Path: m.path + name, Mode: 0o644, Source: src})
		}
		if err := dial(t, options(t, m.Server)).Put(context.Background(), files...); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b", "c"} {
			if b, _, _ := m.read(m.path + name); string(b) != name {
				t.Errorf("%s holds %q", name, b)
			}
		}
		if n := m.runs("provision-probe"); n != 1 {
			t.Errorf("%d probes, want 1 for all files", n)
		}
	})
}

// TestPutResumes finds different things of an earlier upload.
func TestPutResumes(t *testing.T) {
	content := noise(3 << 20)
	wrong := bytes.Clone(content[:2<<20])
	wrong[2<<20-5] ^= 1
	early := bytes.Clone(content[:2<<20])
	early[5] ^= 1 // before the tail that is compared
	for name, c := range map[string]struct {
		part  []byte
		sends []string // offsets
	}{
		"nothing":            {nil, []string{"0"}},
		"one byte":           {content[:1], []string{"1"}},
		"below the tail":     {content[:1<<20-1], []string{"1048575"}},
		"the tail":           {content[:1<<20], []string{"1048576"}},
		"more than the tail": {content[:1<<20+1], []string{"1048577"}},
		"all but one":        {content[:3<<20-1], []string{"3145727"}},
		"all":                {content, []string{"3145728"}},
		"too much":           {append(bytes.Clone(content), 'x'), []string{"0"}},
		"other tail":         {wrong, []string{"0"}},
		"other beginning":    {early, []string{"2097152", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachMachine(t, sshtest.Options{}, func(t *testing.T, m *machine) {
				if c.part != nil {
					m.write(t, m.path+".part", c.part)
				}
				m.write(t, m.path, []byte("an older file"))
				err := dial(t, options(t, m.Server)).Put(context.Background(), ssh.File{Path: m.path, Mode: 0o644, Source: ssh.FromBytes(content)})
				if err != nil {
					t.Fatal(err)
				}
				m.there(t, content, 0o644)
				var sends []string
				for _, l := range m.Log.Lines() {
					if w := strings.Fields(l); w[0] == "provision-receive" {
						sends = append(sends, w[len(w)-2])
					}
				}
				if strings.Join(sends, ",") != strings.Join(c.sends, ",") {
					t.Errorf("sent from %v, want from %v", sends, c.sends)
				}
			})
		})
	}
}

// TestPutCut breaks the connection in the middle of an upload, which goes on by itself over a new one.
func TestPutCut(t *testing.T) {
	for _, packed := range []bool{false, true} {
		content, latency := noise(4<<20), time.Duration(0)
		if packed {
			content, latency = append(noise(1<<20), text(8<<20)...), 3*time.Millisecond
		}
		for _, at := range []int64{1, 32 << 10, 1 << 20, 4<<20 - 1} {
			if packed && at > 1<<20 {
				continue // less than that is sent
			}
			eachMachine(t, sshtest.Options{Latency: latency}, func(t *testing.T, m *machine) {
				h := dial(t, options(t, m.Server))
				m.Fail(sshtest.Faults{CutAfter: at})
				if err := h.Put(context.Background(), ssh.File{Path: m.path, Mode: 0o644, Source: ssh.FromBytes(content)}); err != nil {
					t.Fatalf("cut at %d: %v", at, err)
				}
				m.there(t, content, 0o644)
				if n := m.Connections(); n != 2 {
					t.Errorf("cut at %d: %d connections, want 2", at, n)
				}
			})
		}
	}
}

// TestPutDies cuts the connection and lets no other come about: the machine is dead. What has arrived is used later.
func TestPutDies(t *testing.T) {
	eachMachine(t, sshtest.Options{}, func(t *testing.T, m *machine) {
		content := noise(4 << 20)
		f := ssh.File{Path: m.path, Mode: 0o644, Source: ssh.FromBytes(content)}
		o := options(t, m.Server)
		o.Redial = 200 * time.Millisecond
		h := dial(t, o)
		m.Fail(sshtest.Faults{CutAfter: 2 << 20, Refuse: -1})
		if err := h.Put(context.Background(), f); !errors.As(err, new(*ssh.UnreachableError)) {
			t.Fatalf("got %v", err)
		}
		m.Fail(sshtest.Faults{})
		if err := h.Put(context.Background(), f); err != nil {
			t.Fatal(err)
		}
		m.there(t, content, 0o644)
	})
}

func TestPutDamaged(t *testing.T) {
	s := sshtest.New(sshtest.Options{})
	defer s.Close()
	h, content := dial(t, options(t, s)), noise(1<<20)
	s.Fail(sshtest.Faults{Damage: 1})
	f := ssh.File{Path: "/f", Mode: 0o644, Source: ssh.FromBytes(content)}
	if err := h.Put(context.Background(), f); err != nil {
		t.Errorf("damaged once: %v", err)
	}
	s.Remove("/f")
	s.Fail(sshtest.Faults{Damage: 2})
	sum := sha256.Sum256(content)
	var bad *ssh.MismatchError
	if err := h.Put(context.Background(), f); !errors.As(err, &bad) || bad.Want != hex.EncodeToString(sum[:]) || bad.Got == bad.Want {
		t.Errorf("damaged twice: %v", err)
	}
	if _, _, ok := s.File("/f"); ok {
		t.Error("a damaged file is there")
	}
}

func TestPutFull(t *testing.T) {
	s := sshtest.New(sshtest.Options{})
	defer s.Close()
	h := dial(t, options(t, s))
	s.Fail(sshtest.Faults{FullAfter: 100 << 10})
	err := h.Put(context.Background(), ssh.File{Path: "/f", Mode: 0o644, Source: ssh.FromBytes(noise(1 << 20))})
	var full *ssh.SpaceError
	if !errors.As(err, &full) || full.Path != "/f" || full.Need != 1<<20 {
		t.Errorf("got %v", err)
	}
	if _, _, ok := s.File("/f.part"); ok {
		t.Error("the part of the upload still fills the disk")
	}
}

func TestPutSourceChanges(t *testing.T) {
	s := sshtest.New(sshtest.Options{})
	defer s.Close()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, noise(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := ssh.FromFile(path)
	if err == nil {
		_, err = src.Sum()
	}
	if err == nil {
		err = os.Truncate(path, 1000)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = dial(t, options(t, s)).Put(context.Background(), ssh.File{Path: "/f", Source: src})
	if err == nil || !strings.Contains(err.Error(), "the local file has become shorter") {
		t.Errorf("got %v", err)
	}
}

func TestPutNeedsSha256sum(t *testing.T) {
	s := sshtest.New(sshtest.Options{Shell: true})
	defer s.Close()
	t.Setenv("PATH", t.TempDir())
	for link, to := range map[string]string{"sh": "/bin/sh", "env": "/usr/bin/env"} {
		if err := os.Symlink(to, filepath.Join(os.Getenv("PATH"), link)); err != nil {
			t.Fatal(err)
		}
	}
	err := dial(t, options(t, s)).Put(context.Background(), ssh.File{Path: "/f", Source: ssh.FromBytes(nil)})
	if err == nil || !strings.HasSuffix(err.Error(), "look for /f: exit status 127: sha256sum is missing") {
		t.Errorf("got %v", err)
	}
}
