package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/provisionhq/provision/bootstrap/bundle"
)

// Level 19 is a sixth smaller than the best that the Go library does, which is why the zstd program is used. The window
// of 128 MiB lets programs share what they have in common, for they are made of the same libraries: together they take
// 18 MB less than one by one. It costs that much memory to unpack, and bundle's reader allows no more. The number of
// threads is fixed because it might show in the result.
var zstdArgs = []string{"-q", "-19", "--long=27", "-T2", "--no-progress", "-c"}

// contents are the files in the order of the bundle, and what the manifest says of them.
func (p *packer) contents(m *bundle.Manifest, b *built, n *notices) ([][]byte, error) {
	var all [][]byte
	add := func(path string, mode uint32, links []string, data []byte) {
		sum := sha256.Sum256(data)
		m.Files = append(m.Files, bundle.File{
			Path: path, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Mode: mode, Links: links,
		})
		all = append(all, data)
	}
	for _, prog := range b.programs {
		if prog.image == nil {
			data, err := os.ReadFile(b.files[prog.name])
			if err != nil {
				return nil, err
			}
			add(prog.path, 0o755, prog.links, data)
			continue
		}
		data, digest, err := prog.image.assemble(prog.name, b.files[prog.name], b.version(prog.name), p.arch)
		if err != nil {
			return nil, fmt.Errorf("image of %s: %w", prog.name, err)
		}
		path := "images/" + prog.name + ".tar"
		add(path, 0o644, nil, data)
		m.Images = append(m.Images, bundle.Image{
			Name: prog.image.ref(b.version(prog.name)), Path: path, Digest: digest, First: prog.image.first,
		})
	}
	add("NOTICES.md", 0o644, nil, n.texts())
	return all, nil
}

// ownProgram is the first of the files that are made of this repository's own source.
const ownProgram = "bin/cloud-agent"

// archive writes the bundle as four zstd frames, which is one stream to a reader: the manifest, so that it is read
// without the rest; the first file, which is the largest, changes least and is wanted alone; all the others; and what comes of this
// repository's own source, which changes each day. A frame is used again while what it holds is the same.
func (p *packer) archive(ctx context.Context, m *bundle.Manifest, contents [][]byte) error {
	manifest, err := m.Seal()
	if err != nil {
		return err
	}
	head := entry(nil, bundle.File{Path: bundle.ManifestName, Mode: 0o644}, manifest)
	first := entry(nil, m.Files[0], contents[0])
	var theirs, ours []byte
	for i, f := range m.Files[1:] {
		if ours == nil && f.Path != ownProgram {
			theirs = entry(theirs, f, contents[i+1])
			continue
		}
		ours = entry(ours, f, contents[i+1])
	}
	ours = append(ours, make([]byte, 1024)...) // what ends a tar archive
	if err := os.MkdirAll(filepath.Dir(p.out), 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(p.out), ".bundle-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	c := &compressor{folder: filepath.Join(p.cache, "frames"), fast: p.fast, used: map[string]bool{}}
	for _, f := range []struct {
		name string
		data []byte
	}{{"manifest", head}, {m.Files[0].Path, first}, {"others' files", theirs}, {"our files", ours}} {
		if err := c.frame(ctx, out, f.name, f.data); err != nil {
			return err
		}
	}
	if err := errors.Join(out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), p.out); err != nil {
		return err
	}
	return c.prune()
}

// entry appends one file to a tar archive. Nothing in the header varies but name, mode and size.
func entry(archive []byte, f bundle.File, data []byte) []byte {
	buf := bytes.NewBuffer(archive)
	t := tar.NewWriter(buf)
	h := &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: f.Path, Mode: int64(f.Mode), Size: int64(len(data)), ModTime: time.Unix(0, 0)}
	err := t.WriteHeader(h)
	if err == nil {
		_, err = t.Write(data)
	}
	if err == nil {
		err = t.Flush() // pads, and writes no trailer
	}
	if err != nil {
		panic(err) // memory does not fail, and our names fit
	}
	return buf.Bytes()
}

// A compressor makes zstd frames and remembers them in a folder.
type compressor struct {
	folder string
	fast   bool
	used   map[string]bool
}

// frame writes data to w as one zstd frame.
func (c *compressor) frame(ctx context.Context, w io.Writer, name string, data []byte) error {
	start, how := time.Now(), "cached"
	h := sha256.New()
	fmt.Fprintln(h, zstdArgs, c.fast)
	h.Write(data)
	file := filepath.Join(c.folder, hex.EncodeToString(h.Sum(nil))+".zst")
	c.used[file] = true
	frame, err := os.ReadFile(file)
	if err != nil {
		how = "squeezed"
		if frame, err = c.compress(ctx, data); err != nil {
			return fmt.Errorf("compress %s: %w", name, err)
		}
		if err := c.keep(file, frame); err != nil {
			return err
		}
	}
	if len(data) > 1<<20 {
		fmt.Printf("%-24s %-8s %6.1f MB -> %5.1f MB %7.1fs\n", name, how, mega(int64(len(data))), mega(int64(len(frame))), time.Since(start).Seconds())
	}
	_, err = w.Write(frame)
	return err
}

func (c *compressor) compress(ctx context.Context, data []byte) ([]byte, error) {
	if c.fast {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault))
		if err != nil {
			return nil, err
		}
		return e.EncodeAll(data, nil), e.Close()
	}
	cmd := exec.CommandContext(ctx, "zstd", zstdArgs...)
	cmd.Stdin = bytes.NewReader(data)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("zstd: %w\n%s", err, stderr.Bytes())
	}
	return out.Bytes(), nil
}

func (c *compressor) keep(file string, frame []byte) error {
	if err := os.MkdirAll(c.folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".tmp", frame, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}

// prune removes frames that this bundle did not use and that are a day old.
func (c *compressor) prune() error {
	entries, err := os.ReadDir(c.folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := filepath.Join(c.folder, e.Name())
		info, err := e.Info()
		if err != nil || c.used[file] || time.Since(info.ModTime()) < 24*time.Hour {
			continue
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
