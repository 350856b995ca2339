package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/provisionhq/provision/providers"
)

// This file is what a vendor's SDK would be, with one rule that holds for those too: an error of theirs gets a Kind here,
// once, and Unavailable only if the same call may succeed later.

// lock waits until no other call, of no other process, uses the folder, or for the end of the context.
func (r *Rack) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return nil, kinded(err)
	}
	f, err := os.OpenFile(filepath.Join(r.folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, kinded(err)
	}
	for {
		if err := ctx.Err(); err != nil {
			f.Close()
			return nil, err
		}
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, kinded(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// read returns all objects of a kind, whosever they are.
func read[O any](r *Rack, noun string) ([]O, error) {
	files, err := filepath.Glob(filepath.Join(r.folder, noun+"-*.json"))
	if err != nil {
		return nil, kinded(err)
	}
	all := []O{}
	for _, f := range files {
		var o O
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, kinded(err)
		}
		if err := json.Unmarshal(data, &o); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", f, providers.Invalid, err)
		}
		all = append(all, o)
	}
	return all, nil
}

// write puts an object in place, whole or not at all.
func (r *Rack) write(id providers.ID, o any) error {
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return fmt.Errorf("%w: %w", providers.Invalid, err)
	}
	tmp := filepath.Join(r.folder, "new")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return kinded(err)
	}
	return kinded(os.Rename(tmp, filepath.Join(r.folder, string(id)+".json")))
}

func (r *Rack) remove(id providers.ID) error {
	return kinded(os.Remove(filepath.Join(r.folder, string(id)+".json")))
}

// kinded says what a caller can do about an error of the file system.
func kinded(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", providers.Denied, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w", providers.Quota, err)
	}
	return fmt.Errorf("%w: %w", providers.Unavailable, err)
}
