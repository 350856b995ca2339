package bundle

import (
	"errors"
	"fmt"
)

// The ways in which a bundle is damaged. A DamageError wraps one of them.
var (
	ErrCorrupt   = errors.New("bundle is corrupt")
	ErrTruncated = errors.New("bundle is cut short")
)

// A DamageError says where a bundle is damaged.
type DamageError struct {
	Kind   error  // ErrCorrupt or ErrTruncated
	Entry  string // the file that was being read; empty before the first
	Offset int64  // bytes of the bundle that had been read; the damage is at most a buffer before it
	Err    error  // what was seen; may be nil
}

// Error returns the kind, the place and what was seen.
func (e *DamageError) Error() string {
	entry := e.Entry
	if entry == "" {
		entry = "its start"
	}
	if e.Err == nil {
		return fmt.Sprintf("%v at %s, near byte %d", e.Kind, entry, e.Offset)
	}
	return fmt.Sprintf("%v at %s, near byte %d: %v", e.Kind, entry, e.Offset, e.Err)
}

// Unwrap returns the kind and what was seen.
func (e *DamageError) Unwrap() []error { return []error{e.Kind, e.Err} }

// A SpaceError says that a disk has too little room for a bundle. It wraps ENOSPC.
type SpaceError struct {
	Dir        string
	Need, Free int64 // bytes
	Err        error
}

// Error names the folder and both sizes.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("unpack to %s: %d MiB needed, %d MiB free: %v", e.Dir, e.Need>>20, e.Free>>20, e.Err)
}

// Unwrap returns the system's error.
func (e *SpaceError) Unwrap() error { return e.Err }
