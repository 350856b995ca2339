//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
)

// A Box is what a box says of itself: on standard output when it is ready, and in the file box.json of its folder as long as it is.
type Box struct {
	Vendor      string            `json:"vendor"`
	Endpoint    string            `json:"endpoint"`
	Environment map[string]string `json:"environment"` // for clients
	PID         int               `json:"pid"`
}

// A place is a box's folder, held by one box.
type place struct {
	dir  string
	lock *os.File
}

// take takes the folder. Who holds it is in the lock itself, which the kernel releases when its holder ends.
func take(dir string) (*place, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &l); err != nil {
		f.Close()
		return nil, fmt.Errorf("a box serves in %s already: %w", dir, err)
	}
	return &place{dir, f}, nil
}

// announce says that the box serves.
func (p *place) announce(b Box) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	file := filepath.Join(p.dir, "box.json")
	if err := errors.Join(os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file)); err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

// leave gives the folder up, and removes what is in it but for the log of requests.
func (p *place) leave() {
	os.Remove(filepath.Join(p.dir, "box.json"))
	os.Remove(filepath.Join(p.dir, "lock"))
	p.lock.Close()
}

// holder is the process that holds the folder; 0 if none does.
func holder(dir string) (int, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil || l.Type == unix.F_UNLCK {
		return 0, err
	}
	return int(l.Pid), nil
}

// clean ends the box of the folder, if one serves, and removes what it made, if it could not do that itself.
func clean(dir string) error {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		pid, err := holder(dir)
		if err != nil {
			return err
		}
		if pid == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end", pid)
		}
		_ = unix.Kill(pid, unix.SIGTERM) // asked again, it changes nothing
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := rack.New(rack.Folder(dir), nil).Clear(ctx); err != nil {
		return err
	}
	for _, name := range []string{"box.json", "box.json.new", "lock", "requests.ndjson"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// status writes what the box of the folder said when it was ready; nothing if none serves.
func status(dir string) error {
	pid, err := holder(dir)
	if err != nil || pid == 0 {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "box.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("process %d is about to begin or to end", pid)
	}
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}
