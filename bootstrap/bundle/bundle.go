// Package bundle reads the one file that holds all that a node needs: Kubernetes, etcd, containerd, runc, CNI plug-ins
// and the images of every cluster. A node fetches nothing else.
//
// A bundle is a tar archive in zstd. Its first entry is manifest.json, which names every file that follows, in order,
// with size and SHA-256; the manifest in turn is covered by its own ID. Package main in the folder pack makes bundles.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A Bundle is a bundle in a file, of which only the manifest has been read.
type Bundle struct {
	Path     string
	Manifest *Manifest
}

// Open reads the manifest of the bundle in the file path. It reads a
// megabyte, however large the bundle is.
func Open(path string) (*Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := newReader(f, 1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m, err := r.manifest()
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", path, err)
	}
	return &Bundle{Path: path, Manifest: m}, nil
}

// Verify reads the whole bundle and checks every file. The error wraps ErrCorrupt or ErrTruncated if the bundle is
// damaged, and names the file.
func (b *Bundle) Verify() error {
	discard := func(_ File, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	return b.walk(context.Background(), discard)
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// Extract writes one file of the bundle to dst, with its mode, and checks it. The name may be that of a link. A dst that
// exists is replaced in one step, also while it runs. Files near the start of the bundle are found soonest: bin/kube,
// which is kubectl too, is the first.
func (b *Bundle) Extract(name, dst string) error {
	want, ok := b.Manifest.Lookup(name)
	if !ok {
		return fmt.Errorf("bundle %s: no file %s", b.Path, name)
	}
	err := b.walk(context.Background(), func(f File, r io.Reader) error {
		if f.Path != want.Path {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err := writeFile(dst, f, r); err != nil {
			return err
		}
		return errStop
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (b *Bundle) walk(ctx context.Context, visit func(File, io.Reader) error) error {
	f, err := os.Open(b.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := newReader(f, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := r.manifest()
	if err == nil {
		err = r.files(ctx, m, visit)
	}
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("bundle %s: %w", b.Path, err)
	}
	return err
}

// writeFile writes r to dst by way of a temporary file beside it.
func writeFile(dst string, f File, r io.Reader) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(dst), "."+filepath.Base(dst)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = io.Copy(tmp, r)
	err = errors.Join(err, tmp.Chmod(f.mode()), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), dst)
}
