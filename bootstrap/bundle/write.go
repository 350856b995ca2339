package bundle

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Write writes the bundle that has been unpacked to dir as an archive again, for another machine to unpack. It has the same
// content and so the same ID as the one it came from, and other bytes: it is compressed less and sooner.
func Write(ctx context.Context, w io.Writer, dir string) error {
	m, err := Load(dir)
	if err != nil {
		return err
	}
	manifest, err := m.Seal()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	err = writeEntry(t, File{Path: ManifestName, Mode: 0o644, Size: int64(len(manifest))}, func() error {
		_, err := t.Write(manifest)
		return err
	})
	for _, f := range m.Files {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = writeEntry(t, f, func() error { return copyFile(t, root, f) })
		}
	}
	return errors.Join(err, t.Close(), z.Close())
}

func writeEntry(t *tar.Writer, f File, content func() error) error {
	h := &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: f.Path, Mode: int64(f.Mode), Size: f.Size, ModTime: time.Unix(0, 0)}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if err := content(); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

func copyFile(w io.Writer, root *os.Root, f File) error {
	in, err := root.Open(filepath.FromSlash(f.Path))
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, copyBuffer))
	return err
}
