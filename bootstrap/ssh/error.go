package ssh

import (
	"fmt"
	"strings"
	"time"
)

// An ExitError is a command that ended with a status other than 0, or by a signal.
type ExitError struct {
	Host    string
	Command string // the first line of it, shortened
	Status  int    // -1 if a signal ended it
	Signal  string // name without SIG, or ""
	Stderr  []byte // its tail, at most 4 KiB
}

// Error gives host, command, status and the last line of standard error.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Status)
	if e.Signal != "" {
		how = "ended by signal " + e.Signal
	}
	if last := lastLine(e.Stderr); last != "" {
		how += ": " + last
	}
	return fmt.Sprintf("%s: %s: %s", e.Host, e.Command, how)
}

// A SudoError says that sudo did not make a command run as root without asking.
type SudoError struct {
	Host, User string
	Reason     string // sudo's words
	Password   bool   // sudo wants a password
}

// Error gives host, user and sudo's words.
func (e *SudoError) Error() string {
	return fmt.Sprintf("%s: user %s cannot become root by sudo: %s", e.Host, e.User, e.Reason)
}

// A SpaceError says that a machine's disk is full.
type SpaceError struct {
	Host, Path string
	Need, Free int64 // bytes; Free is -1 if not known
}

// Error gives host, path and both sizes.
func (e *SpaceError) Error() string {
	if e.Free < 0 {
		return fmt.Sprintf("%s: put %s: no space left on the disk, %d bytes needed", e.Host, e.Path, e.Need)
	}
	return fmt.Sprintf("%s: put %s: %d bytes needed, %d bytes free on the disk", e.Host, e.Path, e.Need, e.Free)
}

// A MismatchError says that a file arrived with other bytes than were sent, also at the second try.
type MismatchError struct {
	Host, Path string
	Got, Want  string // SHA-256
}

// Error gives host, path and both checksums.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: put %s: arrived with SHA-256 %s, sent was %s", e.Host, e.Path, e.Got, e.Want)
}

// A LostError says that a connection broke while it was used.
type LostError struct {
	Host string
	Err  error // may be nil
}

// Error gives host and cause.
func (e *LostError) Error() string { return fmt.Sprintf("%s: connection lost: %v", e.Host, e.Err) }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// An UnreachableError says that no connection came about in the time given.
type UnreachableError struct {
	Host, Addr string
	For        time.Duration // that was tried
	Tries      int
	Err        error // of the last try
}

// Error gives address, time, number of tries and the last cause.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s: no connection to %s in %v (%d tries): %v", e.Host, e.Addr, e.For.Round(time.Millisecond), e.Tries, e.Err)
}

// Unwrap returns the cause of the last try.
func (e *UnreachableError) Unwrap() error { return e.Err }

// A SilentError says that something accepted the connection and then did not speak SSH in time.
type SilentError struct {
	Host, Addr string
	For        time.Duration
}

// Error gives address and time.
func (e *SilentError) Error() string {
	return fmt.Sprintf("%s: %s accepted the connection and then said nothing for %v", e.Host, e.Addr, e.For)
}

// An AuthError says that the machine does not accept any of the keys.
type AuthError struct {
	Host, Addr, User string
	Offered          []string // fingerprints and origins of the keys
	Err              error
}

// Error gives address, user and the keys that were offered.
func (e *AuthError) Error() string {
	offered := "no key"
	if len(e.Offered) > 0 {
		offered = strings.Join(e.Offered, ", ")
	}
	return fmt.Sprintf("%s: %s does not let %s in (offered: %s)", e.Host, e.Addr, e.User, offered)
}

// Unwrap returns the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// HostKeyChanged says that a machine shows another host key than it should: it is another machine, or somebody is in
// between.
type HostKeyChanged struct {
	Host, Addr string
	Got        string   // SHA256:… fingerprint; empty if it has no key of a kind that is known
	Line       string   // the key as in authorized_keys, which proves nothing; empty if it showed none, or a certificate
	Want       []string // fingerprints
	Err        error    // why its certificate is not accepted; nil if it shows none
}

// Error gives address and fingerprints.
func (e *HostKeyChanged) Error() string {
	text := fmt.Sprintf("%s: %s shows host key %s, known is %s", e.Host, e.Addr, e.Got, strings.Join(e.Want, ", "))
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns why its certificate is not accepted.
func (e *HostKeyChanged) Unwrap() error { return e.Err }

// HostKeyUnknown says that nobody has told which host key a machine has: nothing was sent to it.
type HostKeyUnknown struct {
	Host, Addr string
	Shown      ShownKey // proves nothing
}

// Error gives the key that it shows, and where to write it.
func (e *HostKeyUnknown) Error() string {
	return fmt.Sprintf("%s: its host key is not known; it shows %s: if that is the right one, add to its block: host_key = %q", e.Host, e.Shown.Fingerprint, e.Shown.Line)
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
