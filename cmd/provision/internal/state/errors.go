package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// The errors of this package name their diagnostic and tell what to do by themselves (package diag's Coded), so that
// whoever gets one may hand it on as it is.

// A LockedError says that another command is at work on the cluster. Its Holder is zero if that is not known.
type LockedError struct {
	Place  string
	Holder Holder
}

// Error says who it is.
func (e *LockedError) Error() string {
	h := e.Holder
	if h.PID == 0 {
		return fmt.Sprintf("another process holds the lease of the state in %s", e.Place)
	}
	return fmt.Sprintf("%s holds the lease of the state in %s", h, e.Place)
}

// String is the holder in words.
func (h Holder) String() string {
	return fmt.Sprintf("%s on %s, who has been running `%s` since %s (process %d),", h.User, h.Host, h.Command, h.Since.Format(time.RFC3339), h.PID)
}

// DiagnosticID is the diagnostic's name.
func (e *LockedError) DiagnosticID() string { return "state-locked" }

// Advice tells what to do.
func (e *LockedError) Advice() (string, []string) {
	return "Wait until it is done, then run the same command again, or let it wait by itself with --lock-timeout 10m. The lease ends with that process, however it ends: nobody has to break it.", nil
}

// A FencedError says that another command has taken the lease, because this one did not renew it in time: it was stopped, its
// machine slept, or the bucket did not answer. The write was refused.
type FencedError struct {
	Place  string
	Holder Holder // who has it now; zero if that is not known
}

// Error says who has it.
func (e *FencedError) Error() string {
	by := "another command"
	if e.Holder.PID != 0 {
		by = strings.TrimSuffix(e.Holder.String(), ",")
	}
	return fmt.Sprintf("the lease of the state in %s was not renewed in time and was taken over by %s; nothing more is written", e.Place, by)
}

// DiagnosticID is the diagnostic's name.
func (e *FencedError) DiagnosticID() string { return "state-fenced" }

// Advice tells what to do.
func (e *FencedError) Advice() (string, []string) {
	return "Wait until the other command is done, then run the same command again: it finds what this one has made, and goes on.", nil
}

func isFenced(err error) bool {
	var f *FencedError
	return errors.As(err, &f)
}

// A ForeignError says that the state is not this cluster's.
type ForeignError struct {
	Place string
	Want  string // the cluster's name, or UID
	Have  string // what the state has instead
	UID   bool   // Want and Have are UIDs
	Found string // the folder holds this, and no state at all
}

// Error says whose it is.
func (e *ForeignError) Error() string {
	switch {
	case e.Found != "":
		return fmt.Sprintf("the folder %s is not empty, it holds %s, and has no state in it", e.Place, e.Found)
	case e.UID:
		return fmt.Sprintf("the state in %s is of the cluster with the UID %s, and what is there bears the UID %s", e.Place, e.Have, e.Want)
	}
	return fmt.Sprintf("the state in %s is of the cluster %q, not of %q", e.Place, e.Have, e.Want)
}

// DiagnosticID is the diagnostic's name.
func (e *ForeignError) DiagnosticID() string { return "state-foreign" }

// Advice tells what to do.
func (e *ForeignError) Advice() (string, []string) {
	switch {
	case e.Found != "":
		return "Choose another folder for the state, or empty this one if nobody needs what is in it.", nil
	case e.UID:
		return "Somebody made another cluster of the same name, or the state was put back from a copy of another one. Work with the state that belongs to it, or give this cluster another name in the file.", nil
	}
	return "Choose the folder that belongs to this cluster.", nil
}

// A MachineError says that the state was made on another machine.
type MachineError struct {
	Place string
	Host  string // the other machine's name
}

// Error names the machine.
func (e *MachineError) Error() string {
	return fmt.Sprintf("the state in %s was made on another machine, %s", e.Place, e.Host)
}

// DiagnosticID is the diagnostic's name.
func (e *MachineError) DiagnosticID() string { return "state-elsewhere" }

// Advice tells what to do.
func (e *MachineError) Advice() (string, []string) {
	return fmt.Sprintf("Run the command on %s, where the cluster is. If that machine is gone, so is the cluster: move the folder away.", e.Host), nil
}

// An IdentityError says that the secrets cannot be decrypted with the identity at hand.
type IdentityError struct {
	Path       string   // of the identity
	File       string   // that cannot be decrypted
	Recipients []string // whom File is encrypted to; empty if that is not known
	Have       []string // the public keys of the identity
	Missing    bool     // there is no identity at Path
}

// Error says which identity is needed. Public keys are long: it tells the beginning of each.
func (e *IdentityError) Error() string {
	whom := "whom it is encrypted to is not known"
	if len(e.Recipients) > 0 {
		whom = "it is encrypted to " + short(e.Recipients)
	}
	if e.Missing {
		return fmt.Sprintf("the age identity %s does not exist, and %s cannot be read without it: %s", e.Path, e.File, whom)
	}
	return fmt.Sprintf("the age identity in %s, %s, does not open %s: %s", e.Path, short(e.Have), e.File, whom)
}

// DiagnosticID is the diagnostic's name.
func (e *IdentityError) DiagnosticID() string { return "identity-missing" }

// Advice tells what to do.
func (e *IdentityError) Advice() (string, []string) {
	return fmt.Sprintf("Put the right identity back at %s, from a copy. The cluster goes on running without it, but its secrets cannot be had in another way, and nothing was changed.", e.Path), nil
}

// A CorruptError says that a file is damaged.
type CorruptError struct {
	Path   string
	Offset int64  // of the journal: bytes before it are good
	Err    error  // of other files: what is wrong
	Mend   string // what to do; empty: as for a journal
}

// Error says where.
func (e *CorruptError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s is damaged: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s is damaged: what begins at byte %d is not what was written", e.Path, e.Offset)
}

// Unwrap returns what is wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// DiagnosticID is the diagnostic's name.
func (e *CorruptError) DiagnosticID() string { return "state-corrupt" }

// Advice tells what to do.
func (e *CorruptError) Advice() (string, []string) {
	if e.Mend != "" {
		return e.Mend + " Nothing was changed.", nil
	}
	return "Put the file back from a copy. Without one, put it and what is beside it elsewhere and run apply: it takes the cluster over by its vendor's tags. Or destroy: that needs nothing of the state. Nothing was changed.", nil
}

// A VersionError says that a newer program wrote the state.
type VersionError struct {
	Path       string
	Have, Know int
}

// Error names the versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has format %d, and this program knows formats up to %d", e.Path, e.Have, e.Know)
}

// DiagnosticID is the diagnostic's name.
func (e *VersionError) DiagnosticID() string { return "state-newer" }

// Advice tells what to do.
func (e *VersionError) Advice() (string, []string) {
	return "A newer provision wrote it: use that one. Nothing was changed.", nil
}

// An ExposedError says that others than the user can read or write a file or folder, or own it.
type ExposedError struct {
	Path   string
	Mode   fs.FileMode
	Owner  int // user ID
	Folder bool
}

// Error says what the permissions are.
func (e *ExposedError) Error() string {
	what := "the file"
	if e.Folder {
		what = "the folder"
	}
	if e.Mode&0o077 == 0 {
		return fmt.Sprintf("%s %s belongs to the user with ID %d, not to you", what, e.Path, e.Owner)
	}
	return fmt.Sprintf("%s %s is open to others than you: its mode is %04o", what, e.Path, e.Mode)
}

// DiagnosticID is the diagnostic's name.
func (e *ExposedError) DiagnosticID() string { return "state-permission" }

// Advice tells what to do.
func (e *ExposedError) Advice() (string, []string) {
	if e.Mode&0o077 == 0 {
		return "Run the command as that user, or give the folder and its files to yourself.", nil
	}
	mode := "600"
	if e.Folder {
		mode = "700"
	}
	return "Whoever could read it may know the cluster's secrets. If that was nobody, close it and run the command again:", []string{"chmod " + mode + " " + e.Path}
}

// An AccessError says that the user may not read or write a file or folder.
type AccessError struct {
	Path string
	Err  error
}

// Error says why.
func (e *AccessError) Error() string { return fmt.Sprintf("%s cannot be used: %v", e.Path, e.Err) }

// Unwrap returns the system's error.
func (e *AccessError) Unwrap() error { return e.Err }

// DiagnosticID is the diagnostic's name.
func (e *AccessError) DiagnosticID() string { return "state-permission" }

// Advice tells what to do.
func (e *AccessError) Advice() (string, []string) {
	return "Give yourself the right to read and write there, or name another place with --state-dir or in the file's state block, and run the same command again.", nil
}

// A SpaceError says that the disk, or the user's share of it, is full.
type SpaceError struct {
	Path string
	Err  error
}

// Error names the file.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s cannot be written: %v", e.Path, e.Err)
}

// Unwrap returns the system's error.
func (e *SpaceError) Unwrap() error { return e.Err }

// DiagnosticID is the diagnostic's name.
func (e *SpaceError) DiagnosticID() string { return "disk-full" }

// Advice tells what to do.
func (e *SpaceError) Advice() (string, []string) {
	return "Make room there and run the same command again. What was written before is whole.", nil
}

// pathError gives the system's errors the types above.
func pathError(path string, err error) error {
	var ours coded
	switch {
	case err == nil || errors.As(err, &ours):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &SpaceError{path, system(err)}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return &AccessError{path, system(err)}
	}
	return err
}

// system is the system's own part of an error, which does not repeat the path.
func system(err error) error {
	var n syscall.Errno
	if errors.As(err, &n) {
		return n
	}
	return err
}

// at puts the path into an error of parse.
func at(err error, path string) error {
	switch e := err.(type) {
	case *CorruptError:
		e.Path = path
	case *VersionError:
		e.Path = path
	}
	return err
}

// coded is an error that names its diagnostic.
type coded interface {
	error
	DiagnosticID() string
}
