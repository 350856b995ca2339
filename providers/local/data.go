//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

const (
	copyPiece    = 64 << 20               // between two looks at whether the caller still wants the copy
	copyAttempts = 2                      // of a file that is written to meanwhile
	clockTick    = 20 * time.Millisecond  // longer than the time of a file stands still between two changes
	copyPause    = 100 * time.Millisecond // before the next attempt
)

// dataOf is the file that a volume or a snapshot in the folder is.
func dataOf(dir string) string { return filepath.Join(dir, "data") }

// stretch gives the file its size. What was not written takes no space.
func stretch(f *os.File, sizeGiB int) error {
	err := f.Truncate(int64(sizeGiB) << 30)
	if errors.Is(err, unix.EFBIG) {
		return fail(providers.Invalid, "%d GiB: no file can be so large on the file system of %s", sizeGiB, f.Name())
	}
	return err
}

// stretchFile lets the file grow to the size.
func stretchFile(path string, sizeGiB int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return fail(providers.NotFound, "its data, %s, are gone", path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil || s.Size() >= int64(sizeGiB)<<30 {
		return err
	}
	return errors.Join(stretch(f, sizeGiB), f.Sync())
}

// errBusy says that a file was written to while it was copied.
var errBusy = errors.New("it is written to all the while")

// takes returns how many bytes of the disk the file takes, 0 if there is none.
func takes(file string) uint64 {
	var s unix.Stat_t
	if err := unix.Stat(file, &s); err != nil {
		return 0
	}
	return uint64(s.Blocks) * 512
}

// copyData makes to a copy of from as it is at one moment. A file system that shares blocks between files (xfs, btrfs) does that
// at once and for nothing. Else the data are copied, without the holes, and again if somebody wrote meanwhile; errBusy if somebody
// always does.
func copyData(ctx context.Context, p *Provider, to, from *os.File) error {
	err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
		return err
	}
	if err := roomFor(p, from); err != nil {
		return err
	}
	for range copyAttempts {
		before, err := restingSince(from)
		if err != nil {
			return err
		}
		if err := copyOnce(ctx, to, from, before.Size()); err != nil {
			return err
		}
		after, err := from.Stat()
		if err != nil {
			return err
		}
		if after.ModTime().Equal(before.ModTime()) && after.Size() == before.Size() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(copyPause):
		}
	}
	return errBusy
}

// restingSince returns what the file is, at a moment when another change of it would give it another time.
func restingSince(f *os.File) (os.FileInfo, error) {
	s, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if time.Since(s.ModTime()).Abs() < clockTick {
		time.Sleep(clockTick)
	}
	return s, nil
}

// roomFor returns why the file's data cannot be copied. It has holes: what it takes counts, not its size.
func roomFor(p *Provider, f *os.File) error {
	s, err := f.Stat()
	if err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(p.folder, &fs); err != nil {
		return err
	}
	needs, free := uint64(s.Sys().(*syscall.Stat_t).Blocks)*512, fs.Bavail*uint64(fs.Bsize)
	if needs > free {
		return fail(providers.Capacity, "a copy takes %d MiB: the file system of %s has %d MiB free", needs>>20, p.folder, free>>20)
	}
	return nil
}

// copyOnce copies what is written of the first size bytes.
func copyOnce(ctx context.Context, to, from *os.File, size int64) error {
	if err := errors.Join(to.Truncate(0), to.Truncate(size)); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		begin, end, err := nextData(from, at, size)
		if err != nil {
			return err
		}
		if err := copyRange(ctx, to, from, begin, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// nextData returns where the next data of the file begin and end; both are size if there are none.
func nextData(f *os.File, at, size int64) (begin, end int64, err error) {
	begin, err = f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) || err == nil && begin >= size {
		return size, size, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look for data in %s: %w", f.Name(), err)
	}
	end, err = f.Seek(begin, unix.SEEK_HOLE)
	return begin, min(end, size), err
}

// copyRange copies a part of the file, within the kernel where it can.
func copyRange(ctx context.Context, to, from *os.File, begin, end int64) error {
	if _, err := to.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	if _, err := from.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	for at := begin; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(to, from, min(copyPiece, end-at))
		if err != nil {
			return fmt.Errorf("copy %s: %w", from.Name(), err)
		}
		at += n
	}
	return nil
}

// eraseData removes a volume or a snapshot but for its lock. It may be repeated.
func eraseData[S any](ctx context.Context, p *Provider, r *record[S], dir string) error {
	return p.inOrder(ctx,
		func() error { r.Deleting = true; return r.save(dir) },
		func() error { return eraseDir(dir) },
	)
}

// sweepAll tidies up after an object was removed.
func (p *Provider) sweepAll(ctx context.Context) error {
	all, err := p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	return errors.Join(p.sweep(ctx, all), p.step(ctx))
}
