// Package ssh runs commands on machines, puts files there and opens connections from there, over SSH.
//
// A machine is known by its host keys before the first connection: there is no trust on first use. One connection per
// machine carries everything; it is watched by keep-alives and made anew when it was lost. Every wait has an end.
// Package sshtest is the other side for tests: scripted machines with latency and faults.
package ssh

import (
	"context"
	"io"
	"io/fs"
	"net"
	"strings"
)

// A Host is a machine that answers SSH. Its methods are safe for concurrent use.
//
// An error of a machine is, by errors.As, an *ExitError, *SudoError, *SpaceError, *MismatchError, *LostError,
// *UnreachableError, *SilentError, *AuthError or *HostKeyChanged; an ended context is that context's error.
type Host interface {
	// Run runs one command and returns when it has ended. A status other than 0 is an *ExitError, beside which the
	// Result is still given. A command is started at most once, also when the connection breaks.
	Run(context.Context, Command) (Result, error)

	// Put makes files be there with the given content and mode, making their folders. A file appears whole or not at
	// all. What is there already is not sent again, and an upload that was cut off goes on where it ended.
	Put(context.Context, ...File) error

	// Dial connects from the machine to network ("tcp", "unix") and addr. The connection has no deadlines of its own.
	Dial(ctx context.Context, network, addr string) (net.Conn, error)

	// Close ends the connection and all that uses it.
	Close() error
}

// A Command is a command line for the POSIX shell of a machine. Secrets go to Stdin: a command line is readable by
// everyone on the machine.
type Command struct {
	Line   string            // as sh reads it; Quote makes one of arguments
	Stdin  io.Reader         // nil is empty input
	Stdout io.Writer         // gets standard output instead of the Result; may be nil
	Stderr io.Writer         // gets standard error instead of the Result; may be nil
	Lines  func(line string) // gets each line of both as it comes, one at a time; may be nil
	TTY    *TTY              // runs the command on a terminal; may be nil
	Login  bool              // runs it as the user who logs in, also if Options.Sudo is set
}

// A TTY is the terminal that a command gets.
type TTY struct {
	Term          string // as in $TERM
	Width, Height int    // characters
	Resize        <-chan [2]int
}

// A Result is what a command left. Of each stream at most the last MiB is kept.
type Result struct {
	Stdout, Stderr []byte
	Dropped        int64 // bytes that came before those that were kept, of both streams
}

// A File is a file to put on a machine.
type File struct {
	Path     string // absolute, with slashes
	Mode     fs.FileMode
	Source   *Source
	Progress func(done, total int64) // bytes of Source that are there; called often, from one goroutine; may be nil
}

// Quote makes a command line of arguments: sh reads them exactly as they are.
func Quote(args ...string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a != "" && strings.Trim(a, plain) == "" {
			b.WriteString(a)
			continue
		}
		b.WriteString("'" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return b.String()
}

// plain are the characters that mean nothing to a shell.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+"
