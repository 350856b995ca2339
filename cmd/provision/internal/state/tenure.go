package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A tenure is the term of a folder's writer.
type tenure struct {
	folder *folder
	number uint64

	mu    sync.Mutex
	lease *os.File // nil after the end

	journal *os.File // nil until begin
	size    int64
	broken  error // a write failed and could not be undone
}

// draftPrefix begins the names of files that are about to become others.
const draftPrefix = ".tmp-"

// check says whether the term is still the last one. If lease.N+1 was made and removed since, so was this one's file before:
// therefore that is looked at second.
func (t *tenure) check() error {
	_, err := t.folder.root.Lstat(named("lease", t.number+1))
	if err == nil {
		return t.fenced()
	} else if !isGone(err) {
		return pathError(t.folder.path, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lease == nil {
		return os.ErrClosed
	}
	fi, err := t.lease.Stat()
	if err != nil {
		return pathError(t.folder.path, err)
	}
	if fi.Sys().(*syscall.Stat_t).Nlink == 0 {
		return t.fenced()
	}
	return nil
}

// fenced tells who has the lease now, or that everything was removed.
func (t *tenure) fenced() error {
	f := &folder{path: t.folder.path, readOnly: true}
	if f.open() != nil || f.root == nil {
		return fmt.Errorf("%s was removed while it was in use: %w", f.path, fs.ErrNotExist)
	}
	defer f.close()
	l, err := f.list()
	if err == nil && l.lease == 0 {
		return fmt.Errorf("%s was emptied while it was in use: %w", f.path, fs.ErrNotExist)
	}
	e := &FencedError{Place: f.path}
	if b, err := f.readFile(named("lease", l.lease)); err == nil {
		e.Holder = parseLease(b).Holder
	}
	return e
}

// renew implements term.
func (t *tenure) renew(_ context.Context, l lease) error {
	if err := t.check(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lease == nil {
		return os.ErrClosed
	}
	l.Fence = t.number
	_, err := t.lease.WriteAt(l.text(), 0)
	return pathError(t.folder.path, err)
}

// release implements term.
func (t *tenure) release(ctx context.Context, l lease) error {
	l.Released = true
	err := t.renew(ctx, l)
	t.end()
	return err
}

func (t *tenure) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lease != nil {
		t.lease.Close()
		t.lease = nil
	}
	if t.journal != nil {
		t.journal.Close()
	}
}

// write puts a file in place whole, or leaves what was there.
func (t *tenure) write(name string, b []byte) (*os.File, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	t.folder.step.done()
	draft := draftPrefix + rand.Text()
	file, err := t.folder.create(draft, b)
	t.folder.step.done()
	if err == nil {
		if err = t.folder.root.Rename(draft, name); err == nil {
			err = t.folder.sync()
		}
		if err != nil {
			file.Close()
			t.folder.root.Remove(draft)
		}
	}
	t.folder.step.done()
	if err == nil {
		if err = t.check(); err != nil {
			file.Close()
		}
	} else if now := t.check(); now != nil {
		err = now
	}
	return file, pathError(filepath.Join(t.folder.path, name), err)
}

// begin implements term.
func (t *tenure) begin(_ context.Context, h *header, _ image, entries []byte) error {
	h.Fence, h.Bases = t.number, nil
	b, err := encodeHeader(*h)
	if err != nil {
		return err
	}
	b = append(b, entries...)
	file, err := t.write(named("journal", t.number), b)
	if err != nil {
		return err
	}
	if t.journal != nil {
		t.journal.Close()
	}
	t.journal, t.size, t.broken = file, int64(len(b)), nil
	return nil
}

// sweep implements term. It also removes what writes that did not come to their end have left.
func (t *tenure) sweep(_ context.Context, keep string) {
	l, err := t.folder.list()
	if err != nil || t.check() != nil {
		return
	}
	for _, name := range l.names {
		journal, isJournal := numbered(name, "journal")
		secrets, isSecrets := numbered(name, "secrets")
		switch {
		case isJournal && journal < t.number:
		case isSecrets && secrets <= t.number && name != keep:
		case strings.HasPrefix(name, draftPrefix):
		case strings.HasPrefix(name, ".lease-") && t.older(name, time.Hour):
		case name == "lock", name == "recipients": // of the first format
		default:
			continue
		}
		t.folder.step.done()
		t.folder.root.Remove(name)
	}
}

func (t *tenure) older(name string, d time.Duration) bool {
	fi, err := t.folder.root.Lstat(name)
	return err == nil && time.Since(fi.ModTime()) > d
}

// append implements term. The record is on disk before it is looked whether the term has ended.
func (t *tenure) append(_ context.Context, line []byte) error {
	if t.broken != nil {
		return t.broken
	}
	if err := t.check(); err != nil {
		return err
	}
	path := filepath.Join(t.folder.path, named("journal", t.number))
	if fi, err := t.journal.Stat(); err != nil {
		return err
	} else if fi.Sys().(*syscall.Stat_t).Nlink == 0 {
		if err := t.check(); err != nil { // the next writer has swept it
			return err
		}
		return fmt.Errorf("%s was removed while it was in use: %w", path, fs.ErrNotExist)
	}
	t.folder.step.done()
	if _, err := t.journal.WriteAt(line, t.size); err != nil {
		t.broken = t.undo() // a half line must not stay in front of the next
		return pathError(path, err)
	}
	t.folder.step.done()
	if err := t.journal.Sync(); err != nil {
		t.broken = pathError(path, err) // nobody knows what is on disk now
		return t.broken
	}
	t.folder.step.done()
	if err := t.check(); err != nil {
		t.broken = err
		return err
	}
	t.size += int64(len(line))
	return nil
}

// undo makes the journal end where it did.
func (t *tenure) undo() error {
	if err := t.journal.Truncate(t.size); err != nil {
		return err
	}
	return t.journal.Sync()
}

// put implements term.
func (t *tenure) put(_ context.Context, stem string, b []byte) (string, error) {
	name := fmt.Sprintf("secrets.%d.%s.age", t.number, stem)
	file, err := t.write(name, b)
	if err != nil {
		return "", err
	}
	return name, file.Close()
}

// remove implements term. The journal, which says by now that nothing was ever written, goes after all the others.
func (t *tenure) remove(ctx context.Context, l lease) error {
	in, err := t.folder.list()
	if err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	mine := named("journal", t.number)
	t.folder.step.done()
	for _, name := range in.names {
		if _, isLease := numbered(name, "lease"); !isLease && name != mine && !strings.HasPrefix(name, asidePrefix) {
			err = errors.Join(err, t.folder.root.RemoveAll(name))
		}
	}
	if err != nil {
		return pathError(t.folder.path, err)
	}
	if err := t.folder.root.Remove(mine); err != nil && !isGone(err) {
		return pathError(t.folder.path, err)
	}
	return t.leave(ctx, l)
}

// aside implements term.
func (t *tenure) aside(_ context.Context, name string) error {
	in, err := t.folder.list()
	if err == nil {
		err = t.check()
	}
	if err == nil {
		err = t.folder.root.Mkdir(name, 0o700)
	}
	for _, file := range in.names {
		_, isLease := numbered(file, "lease")
		if err == nil && !isLease && !strings.HasPrefix(file, asidePrefix) && !strings.HasPrefix(file, ".lease-") {
			err = t.folder.root.Rename(file, filepath.Join(name, file))
		}
	}
	if err == nil {
		err = syncFolder(filepath.Join(t.folder.path, name))
	}
	if err == nil {
		err = t.folder.sync()
	}
	return pathError(filepath.Join(t.folder.path, name), err)
}

// leave implements term. What stands in the way of the folder's removal is another's, who has begun in it; or the folder is a
// disk of its own.
func (t *tenure) leave(ctx context.Context, l lease) error {
	defer t.end()
	in, err := t.folder.list()
	if err != nil {
		return err
	}
	if in.isJournal {
		return t.release(ctx, l)
	}
	if err := t.check(); err != nil {
		return err
	}
	t.folder.root.Remove(named("lease", t.number))
	err = os.Remove(t.folder.path)
	if err == nil {
		err = syncFolder(filepath.Dir(t.folder.path))
	}
	for _, fine := range []error{syscall.ENOTEMPTY, syscall.EEXIST, syscall.ENOENT, syscall.EBUSY} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return pathError(t.folder.path, err)
}
