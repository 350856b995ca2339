package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// body is deterministic and hard to compress.
func body(seed byte, n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	_, _ = r.Read(data)
	return data
}

func file(path string, data []byte, mode uint32, links ...string) File {
	sum := sha256.Sum256(data)
	return File{Path: path, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Mode: mode, Links: links}
}

// sample is a small manifest with its contents.
func sample() (*Manifest, [][]byte) {
	contents := [][]byte{body(1, 900), body(2, 300), {}, body(3, 512)}
	m := &Manifest{
		Kubernetes: "v1.37.2", Arch: "amd64",
		Components: []Component{{Name: "kubernetes", Version: "v1.37.2", Module: "k8s.io/kubernetes", Licence: "Apache-2.0"}},
		Files: []File{
			file("bin/kube", contents[0], 0o755, "bin/kubelet", "sbin/deep/kubectl"),
			file("cni/bridge", contents[1], 0o755),
			file("empty", contents[2], 0o600),
			file("images/pause.tar", contents[3], 0o644),
		},
		Images: []Image{{Name: "registry.k8s.io/pause:3.10.2", Path: "images/pause.tar", Digest: "sha256:00", First: true}},
	}
	return m, contents
}

// pack writes a bundle as package main in the folder pack does, but does not stop at nonsense.
func pack(t testing.TB, m *Manifest, contents [][]byte) []byte {
	t.Helper()
	manifest, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return packRaw(t, manifest, m.Files, contents)
}

func packRaw(t testing.TB, manifest []byte, files []File, contents [][]byte) []byte {
	t.Helper()
	frame := func(write func(*tar.Writer)) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		write(w)
		e, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return e.EncodeAll(buf.Bytes(), nil)
	}
	add := func(w *tar.Writer, name string, mode uint32, data []byte) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: int64(mode), Size: int64(len(data))})
		if err == nil {
			_, err = w.Write(data)
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out := frame(func(w *tar.Writer) { add(w, ManifestName, 0o644, manifest) })
	for i, f := range files {
		out = append(out, frame(func(w *tar.Writer) { add(w, f.Path, f.Mode, contents[i]) })...)
	}
	return append(out, frame(func(w *tar.Writer) { w.Close() })...)
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.tar.zst")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpack(t *testing.T) {
	m, contents := sample()
	dir := filepath.Join(t.TempDir(), "node", "bundle")
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(t.Context(), bytes.NewReader(pack(t, m, contents)), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != m.ID {
		t.Errorf("ID: got %s, want %s", got.ID, m.ID)
	}
	for i, f := range m.Files {
		for _, name := range append([]string{f.Path}, f.Links...) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Equal(data, contents[i]) {
				t.Errorf("%s: got %d bytes and %v, want %d bytes", name, len(data), err, len(contents[i]))
			}
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode() != fs.FileMode(f.Mode) {
				t.Errorf("%s: got mode %v and %v, want %o", name, info.Mode(), err, f.Mode)
			}
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "sbin/deep/kubectl")); target != "../../bin/kube" {
		t.Errorf("link: got %q and %v, want ../../bin/kube", target, err)
	}
	if loaded, err := Load(dir); err != nil || loaded.ID != m.ID {
		t.Errorf("load: got %v, %v", loaded, err)
	}
	if _, err := os.Stat(dir + ".partial"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("partial folder: got %v, want none", err)
	}
}

func TestUnpackAgain(t *testing.T) {
	m, contents := sample()
	data := pack(t, m, contents)
	dir := filepath.Join(t.TempDir(), "bundle")
	for range 2 {
		if _, err := Unpack(t.Context(), bytes.NewReader(data), dir); err != nil {
			t.Fatal(err)
		}
	}
	// The same bundle is not read to its end.
	if _, err := Unpack(t.Context(), bytes.NewReader(data[:len(data)-100]), dir); err != nil {
		t.Errorf("same bundle again: got %v, want nothing to do", err)
	}
	// Another one takes its place, and leaves nothing of the first.
	other := &Manifest{Kubernetes: "v1.38.0", Arch: "amd64", Files: []File{file("new", []byte("x"), 0o644)}}
	if _, err := Unpack(t.Context(), bytes.NewReader(pack(t, other, [][]byte{[]byte("x")})), dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"new": true, "bin": false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: got %v, want it there: %t", name, err, want)
		}
	}
	if _, err := os.Stat(dir + ".old"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("old folder: got %v, want none", err)
	}
}

func TestOpenVerifyExtract(t *testing.T) {
	m, contents := sample()
	b, err := Open(write(t, pack(t, m, contents)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(); err != nil {
		t.Errorf("verify: got %v, want nil", err)
	}
	tests := []struct {
		name string
		want []byte
	}{{"bin/kube", contents[0]}, {"sbin/deep/kubectl", contents[0]}, {"images/pause.tar", contents[3]}}
	for _, test := range tests {
		dst := filepath.Join(t.TempDir(), "out")
		if err := b.Extract(test.name, dst); err != nil {
			t.Errorf("extract %s: got %v, want nil", test.name, err)
		}
		if got, _ := os.ReadFile(dst); !bytes.Equal(got, test.want) {
			t.Errorf("extract %s: got %d bytes, want %d", test.name, len(got), len(test.want))
		}
	}
	if err := b.Extract("bin/none", "x"); err == nil || !strings.Contains(err.Error(), "no file bin/none") {
		t.Errorf("extract bin/none: got %v, want no file", err)
	}
}

func TestOpenReadsTheStartOnly(t *testing.T) {
	m, contents := sample()
	data := pack(t, m, contents)
	if _, err := Open(write(t, data[:1200])); err != nil {
		t.Errorf("open of the first 1200 of %d bytes: got %v, want nil", len(data), err)
	}
}

// readAll reads a bundle without a disk.
func readAll(data []byte) error {
	r, err := newReader(bytes.NewReader(data), 1)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := r.manifest()
	if err != nil {
		return err
	}
	return r.files(context.Background(), m, func(_ File, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
}

// TestTruncated cuts a bundle at every length: each is an error, nothing is left, and none is called corrupt.
func TestTruncated(t *testing.T) {
	m, contents := sample()
	data := pack(t, m, contents)
	for n := range data {
		if err := readAll(data[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d of %d: got %v, want ErrTruncated", n, len(data), err)
		}
		if n%32 != 0 {
			continue
		}
		dir := filepath.Join(t.TempDir(), "bundle")
		_, err := Unpack(t.Context(), bytes.NewReader(data[:n]), dir)
		if !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d of %d: got %v, want ErrTruncated", n, len(data), err)
		}
		if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
			t.Fatalf("cut at %d: left %v", n, left)
		}
	}
}

// TestUnexpectedEnd: the decoder says unexpected EOF also of a compressed block whose bits end early, in the middle of a bundle.
func TestUnexpectedEnd(t *testing.T) {
	r := &reader{in: &counter{r: bytes.NewReader(make([]byte, 10))}}
	_, _ = r.in.Read(make([]byte, 10))
	if err := r.damage(io.ErrUnexpectedEOF); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) {
		t.Errorf("before the bundle's end: %v, want ErrCorrupt", err)
	}
	_, _ = r.in.Read(make([]byte, 10))
	if err := r.damage(io.ErrUnexpectedEOF); !errors.Is(err, ErrTruncated) {
		t.Errorf("at the bundle's end: %v, want ErrTruncated", err)
	}
}

// TestCorrupt turns over one bit of every seventh byte. Frame headers have a few bits that mean nothing, so what is asked
// is: an error, or exactly the right files.
func TestCorrupt(t *testing.T) {
	m, contents := sample()
	data := pack(t, m, contents)
	passed := 0
	for n := 0; n < len(data); n += 7 {
		bad := bytes.Clone(data)
		bad[n] ^= 1 << (n % 8)
		dir := filepath.Join(t.TempDir(), "bundle")
		_, err := Unpack(t.Context(), bytes.NewReader(bad), dir)
		var damage *DamageError
		switch {
		case err == nil:
			passed++
			same(t, dir, m, contents)
		case !errors.As(err, &damage):
			t.Fatalf("byte %d: got %v, want a DamageError", n, err)
		case damage.Offset < 0 || damage.Offset > int64(len(data)):
			t.Fatalf("byte %d: got offset %d in a bundle of %d", n, damage.Offset, len(data))
		}
	}
	if passed > 5 {
		t.Errorf("%d damaged bundles passed", passed)
	}
}

func same(t *testing.T, dir string, m *Manifest, contents [][]byte) {
	t.Helper()
	for i, f := range m.Files {
		if got, err := os.ReadFile(filepath.Join(dir, f.Path)); err != nil || !bytes.Equal(got, contents[i]) {
			t.Errorf("%s: got %d bytes and %v, want the original", f.Path, len(got), err)
		}
	}
}

func TestDamageNamesTheEntry(t *testing.T) {
	m, contents := sample()
	contents[1] = body(9, len(contents[1])) // not what the manifest says
	b, err := Open(write(t, pack(t, m, contents)))
	if err != nil {
		t.Fatal(err)
	}
	err = b.Verify()
	var damage *DamageError
	if !errors.Is(err, ErrCorrupt) || !errors.As(err, &damage) || damage.Entry != "cni/bridge" || damage.Offset == 0 {
		t.Errorf("got %v, want ErrCorrupt at cni/bridge with an offset", err)
	}
}

func TestManifestIsRefused(t *testing.T) {
	tests := []struct {
		name  string
		files []File
	}{
		{"escape", []File{file("../x", nil, 0o644)}},
		{"escape inside", []File{file("a/../../x", nil, 0o644)}},
		{"absolute", []File{file("/etc/passwd", nil, 0o644)}},
		{"backslash", []File{file(`a\..\x`, nil, 0o644)}},
		{"empty", []File{file("", nil, 0o644)}},
		{"dot", []File{file(".", nil, 0o644)}},
		{"link escapes", []File{file("a", nil, 0o644, "../b")}},
		{"twice", []File{file("a", nil, 0o644), file("a", nil, 0o644)}},
		{"link twice", []File{file("a", nil, 0o644, "b", "b")}},
		{"manifest", []File{file(ManifestName, nil, 0o644)}},
		{"through a file", []File{file("a", nil, 0o644), file("a/b", nil, 0o644)}},
		{"through a link", []File{file("a", nil, 0o644, "b"), file("b/c", nil, 0o644)}},
		{"setuid", []File{file("a", nil, 0o4755)}},
		{"negative size", []File{{Path: "a", Size: -1, SHA256: strings.Repeat("0", 64)}}},
		{"no checksum", []File{{Path: "a"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &Manifest{Files: test.files}
			if _, err := m.Seal(); err == nil {
				t.Error("seal: got nil, want an error")
			}
			// As an enemy would write it: the ID fits.
			m.Schema = Schema
			m.ID = m.identity()
			dir := filepath.Join(t.TempDir(), "bundle")
			contents := make([][]byte, len(test.files))
			data := packRaw(t, marshal(t, m), nil, contents)
			if _, err := Unpack(t.Context(), bytes.NewReader(data), dir); !errors.Is(err, ErrCorrupt) {
				t.Errorf("unpack: got %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestForgedManifest(t *testing.T) {
	m, contents := sample()
	if _, err := m.Seal(); err != nil {
		t.Fatal(err)
	}
	m.Arch = "arm64" // after it was sealed
	data := packRaw(t, marshal(t, m), m.Files, contents)
	if _, err := Open(write(t, data)); err == nil || !strings.Contains(err.Error(), "does not match its ID") {
		t.Errorf("got %v, want an ID that does not match", err)
	}
}

func TestExtraEntries(t *testing.T) {
	m, contents := sample()
	manifest, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	files := append(m.Files, file("extra", []byte("x"), 0o644))
	data := packRaw(t, manifest, files, append(contents, []byte("x")))
	dir := filepath.Join(t.TempDir(), "bundle")
	if _, err := Unpack(t.Context(), bytes.NewReader(data), dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("entry more: got %v, want ErrCorrupt", err)
	}
	trailing := append(pack(t, m, contents), pack(t, m, contents)...)
	if _, err := Unpack(t.Context(), bytes.NewReader(trailing), dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("data after the end: got %v, want ErrCorrupt", err)
	}
}

// TestReaderFails tells a connection that broke from a bundle that is damaged.
func TestReaderFails(t *testing.T) {
	m, contents := sample()
	data := pack(t, m, contents)
	broken := errors.New("connection reset")
	for _, n := range []int{0, 10, 900, len(data) - 1} {
		r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
		_, err := Unpack(t.Context(), r, filepath.Join(t.TempDir(), "bundle"))
		if !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
			t.Errorf("broken after %d bytes: got %v, want the reader's error", n, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	m, contents := sample()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "bundle")
	if _, err := Unpack(ctx, bytes.NewReader(pack(t, m, contents)), dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestFullDisk asks for more than any disk has: that is seen before anything is written.
func TestFullDisk(t *testing.T) {
	m, _ := sample()
	m.Files[0].Size = 1 << 60
	manifest, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "bundle")
	_, err = Unpack(t.Context(), bytes.NewReader(packRaw(t, manifest, nil, nil)), dir)
	checkSpace(t, err, dir)
	// Somebody else may fill the disk meanwhile.
	u := &unpacker{dir: dir + ".partial", need: 1}
	checkSpace(t, u.space(fmt.Errorf("write x: %w", syscall.ENOSPC)), dir)
}

func checkSpace(t *testing.T, err error, dir string) {
	t.Helper()
	var space *SpaceError
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &space) || space.Need == 0 {
		t.Errorf("got %v, want a SpaceError that wraps ENOSPC", err)
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestDeterministic(t *testing.T) {
	m, contents := sample()
	a := pack(t, m, contents)
	n, more := sample()
	if b := pack(t, n, more); !bytes.Equal(a, b) {
		t.Error("two bundles of the same files differ")
	}
	n.Files[0].Mode = 0o700
	if _, err := n.Seal(); err != nil || n.ID == m.ID {
		t.Errorf("another mode: got the same ID (%v), want another", err)
	}
}

func FuzzUnpack(f *testing.F) {
	m, contents := sample()
	good := pack(f, m, contents)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := readAll(data); err != nil { // most are, and need no disk
			var damage *DamageError
			if !errors.As(err, &damage) {
				t.Errorf("got %v, want a DamageError", err)
			}
			return
		}
		dir := filepath.Join(t.TempDir(), "bundle")
		m, err := Unpack(t.Context(), bytes.NewReader(data), dir)
		if err != nil {
			t.Fatalf("reads well, but does not unpack: %v", err)
		}
		for _, file := range m.Files {
			info, err := os.Lstat(filepath.Join(dir, file.Path))
			if err != nil || info.Size() != file.Size {
				t.Errorf("%s: got %v, %v, want %d bytes", file.Path, info, err, file.Size)
			}
		}
	})
}

// FuzzManifest reaches what the fuzzer of whole bundles cannot, because it cannot guess checksums.
func FuzzManifest(f *testing.F) {
	f.Add("bin/kube", "bin/kubelet", int64(3), uint32(0o755))
	f.Add("../x", "a/b", int64(-1), uint32(0o7777))
	f.Fuzz(func(t *testing.T, path, link string, size int64, mode uint32) {
		m := &Manifest{Schema: Schema, Files: []File{{Path: path, Links: []string{link}, Size: size, Mode: mode, SHA256: strings.Repeat("0", 64)}}}
		m.ID = m.identity()
		if m.check() != nil {
			return
		}
		for _, name := range []string{path, link} {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				t.Errorf("path %q passed", name)
			}
		}
	})
}

func marshal(t testing.TB, m *Manifest) []byte {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
