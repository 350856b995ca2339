package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
)

const copyBuffer = 1 << 20

// Unpack reads a bundle from r to the folder dir, checking every file while it is written. The work is done in
// dir+".partial", which is renamed when all of it is on the disk: dir is never there in part. A dir that holds the same
// bundle already is left alone, and r is then not read to its end; a dir that holds another is replaced.
//
// The error wraps ErrCorrupt or ErrTruncated if the bundle is damaged, ENOSPC if the disk is too small, and the error of
// r if that failed.
func Unpack(ctx context.Context, r io.Reader, dir string) (*Manifest, error) {
	in, err := newReader(r, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	m, err := in.manifest()
	if err != nil {
		return nil, err
	}
	if have, err := Load(dir); err == nil && have.ID == m.ID {
		return m, nil
	}
	u := &unpacker{dir: dir + ".partial", need: m.Size()}
	if err := u.unpack(ctx, in, m); err != nil {
		os.RemoveAll(u.dir)
		return nil, err
	}
	if err := replace(dir, u.dir); err != nil {
		return nil, err
	}
	return m, nil
}

// An unpacker writes the files of one bundle below dir.
type unpacker struct {
	dir  string
	need int64
	root *os.Root // keeps every path inside dir, whatever a link says

	syncs   sync.WaitGroup
	mu      sync.Mutex
	syncErr error
}

func (u *unpacker) unpack(ctx context.Context, in *reader, m *Manifest) error {
	if err := os.RemoveAll(u.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(u.dir, 0o755); err != nil {
		return u.space(err)
	}
	if free, err := free(u.dir); err == nil && free < u.need {
		return &SpaceError{Dir: u.dir, Need: u.need, Free: free, Err: syscall.ENOSPC}
	}
	root, err := os.OpenRoot(u.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u.root = root
	err = in.files(ctx, m, u.file)
	u.syncs.Wait()
	if err := errors.Join(err, u.syncErr); err != nil {
		return u.space(err)
	}
	return u.space(u.finish(m))
}

// file writes one file and its links. The disk is told to keep the file while the next one is already decompressed.
func (u *unpacker) file(f File, r io.Reader) error {
	if err := u.root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return err
	}
	out, err := u.root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode())
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, r, make([]byte, copyBuffer))
	if err == nil {
		err = out.Chmod(f.mode()) // whatever the umask is
	}
	if err != nil {
		out.Close()
		return err
	}
	u.syncs.Go(func() { u.keep(errors.Join(out.Sync(), out.Close())) })
	return u.links(f)
}

func (u *unpacker) keep(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.syncErr = errors.Join(u.syncErr, err)
}

func (u *unpacker) links(f File) error {
	for _, link := range f.Links {
		if err := u.root.MkdirAll(path.Dir(link), 0o755); err != nil {
			return err
		}
		target, err := filepath.Rel(path.Dir(link), f.Path)
		if err != nil {
			return err
		}
		if err := u.root.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the manifest, last, and makes the folders durable.
func (u *unpacker) finish(m *Manifest) error {
	data, err := m.Seal()
	if err != nil {
		return err
	}
	if err := u.root.WriteFile(ManifestName, data, 0o644); err != nil {
		return err
	}
	if err := syncPath(filepath.Join(u.dir, ManifestName)); err != nil {
		return err
	}
	return filepath.WalkDir(u.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncPath(path)
	})
}

// space adds to a full disk how much is needed and how much is free.
func (u *unpacker) space(err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	os.RemoveAll(u.dir)
	left, statErr := free(filepath.Dir(u.dir))
	if statErr != nil {
		return fmt.Errorf("unpack to %s: %d bytes needed: %w", u.dir, u.need, err)
	}
	return &SpaceError{Dir: u.dir, Need: u.need, Free: left, Err: err}
}

// replace puts the folder partial in the place of dir. Programs that run out of the old folder go on running.
func replace(dir, partial string) error {
	old := dir + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(partial, dir); err != nil {
		return err
	}
	if err := syncPath(filepath.Dir(dir)); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
