//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

const lockPoll = 10 * time.Millisecond

// A lock is held by one holder on this host, in whatever process. The kernel releases it when the holder dies.
type lock struct {
	file *os.File
	path string
}

// acquire takes the lock of that path, waiting for it until the context ends.
func acquire(ctx context.Context, path string) (*lock, error) {
	for {
		l, err := tryLock(path)
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: another process works on it: %w", providers.Unavailable, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// tryLock returns nil and no error if somebody else holds the lock. A lock file may be removed by who holds it, so the
// one that was locked counts only while it is the one that the path names.
func tryLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && named(f, path) {
		return &lock{f, path}, nil
	}
	f.Close()
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// named says whether the open file is the one that the path names.
func named(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// release lets others have the lock.
func (l *lock) release() { l.file.Close() }

// remove removes the lock's file; the lock is still to be released.
func (l *lock) remove() { os.Remove(l.path) }

// finish releases the lock of an object. If there is no such object (any more) it removes what its lock and others like it
// have left behind.
func (p *Provider) finish(l *lock, n providers.Noun, k providers.Key) {
	defer l.release()
	if _, err := os.Stat(filepath.Join(p.dir(n, k), "record.json")); err == nil {
		return
	}
	l.remove()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	all, err := p.all(ctx)
	if err != nil {
		return // somebody else is at work, and tidies up
	}
	defer all.release()
	_ = p.sweep(ctx, all) // tidying up is done again by whoever deletes the next object
}

// all is the lock of the whole folder: of addresses, programs and the host's settings. It is held for moments only.
func (p *Provider) all(ctx context.Context) (*lock, error) {
	return acquire(ctx, filepath.Join(p.folder, "locks", "all"))
}

// lockObject is the lock of one object, held while it is made or removed.
func (p *Provider) lockObject(ctx context.Context, n providers.Noun, k providers.Key) (*lock, error) {
	return acquire(ctx, filepath.Join(p.folder, "locks", fmt.Sprintf("%s.%s.%s", k.Owner, n, k.Name)))
}
