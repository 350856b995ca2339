package state

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A Holder is who works on a cluster, as the lock file has it in JSON.
type Holder struct {
	User    string    `json:"user"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// A lock is held on an open file by flock(2): it ends with Close and with the process, however that ends. What the file
// says is only for people.
type lock struct {
	path string
	file *os.File
}

// takeLock makes the folder if need be and takes its lock. The error is a *LockedError if somebody else has it.
func takeLock(ctx context.Context, o Options) (*lock, error) {
	path := filepath.Join(o.Folder, "lock")
	for ctx.Err() == nil {
		f, err := openLock(o.Folder, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // whoever held it removed the folder just now
		} else if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, &LockedError{Folder: o.Folder, Holder: readHolder(ctx, path)}
			}
			return nil, pathError(path, err)
		}
		if !same(f, path) { // it was removed between open and flock
			f.Close()
			continue
		}
		l := &lock{path, f}
		if err := l.sign(o); err != nil {
			l.release()
			return nil, pathError(path, err)
		}
		return l, nil
	}
	return nil, ctx.Err()
}

func openLock(folder, path string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, pathError(folder, err)
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, pathError(path, err)
	}
	if err := checkFile(path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// same says whether the open file is the one at the path.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// sign writes who holds the lock.
func (l *lock) sign(o Options) error {
	h := Holder{User: strconv.Itoa(os.Geteuid()), Host: hostname(), PID: os.Getpid(), Command: o.Command, Since: o.Now().UTC().Round(time.Second)}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.WriteAt(append(b, '\n'), 0)
	return err
}

// release gives the lock back.
func (l *lock) release() error {
	l.file.Truncate(0)
	return l.file.Close()
}

// readHolder reads who holds the lock, for whom it takes a moment from taking it to writing that down. It returns the zero
// Holder if that cannot be read.
func readHolder(ctx context.Context, path string) (h Holder) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	for {
		if f, err := os.Open(path); err == nil {
			err = json.NewDecoder(io.LimitReader(f, 64<<10)).Decode(&h)
			f.Close()
			if err == nil {
				return h
			}
		}
		select {
		case <-ctx.Done():
			return Holder{}
		case <-time.After(10 * time.Millisecond):
		}
	}
}
