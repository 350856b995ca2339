// Package crashtest kills programs where it hurts. It runs an unmodified program under ptrace, stops it at each system call
// by which the program changes what others can see (files, folders, sockets), and kills it just before, in the middle of, or
// just after one; it then looks whether the next run mends everything.
//
// It is for tests only, runs on Linux on amd64, and knows of the program under test nothing but its command line.
package crashtest

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A Boundary is a moment just before or just after a system call by which a program changes what others can see.
type Boundary struct {
	Call  string // its name: pwrite64
	Path  string // the file, below Watch.Root, or "socket"
	After bool   // it has been done
	Child bool   // a process that the program started does it
}

// String says which it is: "before pwrite64 state/journal".
func (b Boundary) String() string {
	when, who := "before", ""
	if b.After {
		when = "after"
	}
	if b.Child {
		who = "child: "
	}
	return fmt.Sprintf("%s%s %s %s", who, when, b.Call, b.Path)
}

// Writes says whether the call writes bytes, so that it can be torn.
func (b Boundary) Writes() bool { return strings.Contains(b.Call, "write") }

// An Action is what to do with the program at a boundary.
type Action int

// The actions.
const (
	Go        Action = iota
	Kill             // SIGKILL to the process that is at the boundary
	Tear             // let half of the bytes be written, then kill; only before a call that Writes
	Interrupt        // SIGINT to the program
)

// A Watch runs programs. It may be used by many goroutines at once if At may.
type Watch struct {
	Root    string                              // files below it count
	Sockets bool                                // what is written to and read from sockets counts too
	At      func(n int, b Boundary) Action      // asked at the n-th boundary, from 1, on one goroutine; nil: always Go
	Limit   time.Duration                       // the program is killed after so long; 0: five minutes
	Signals func(kill func(sig syscall.Signal)) // called once the program runs, to send it signals at other moments; may be nil
}

// An Exit is how a program ended.
type Exit struct {
	Code       int            // its exit code; -1 if a signal ended it
	Signal     syscall.Signal // what ended it, or 0
	Late       bool           // it was killed because it took longer than the limit
	Boundaries int            // how many it met
	At         Boundary       // the one at which an action was taken, the last if there were several
	Acted      bool           // one was taken
	Took       time.Duration
	Orphans    []int // processes that it started and that outlived it by more than 3 s; they were killed
}

// Kind is what boundaries that do the same have in common: String without what is random in a file's name.
func (b Boundary) Kind() string {
	b.Path = random.ReplaceAllString(b.Path, "*")
	return b.String()
}

// random are the parts of names of files that differ from run to run: numbers, and texts as rand.Text makes them.
var random = regexp.MustCompile(`[A-Z2-7]{26}|[a-z2-7]{26}|[0-9]{3,}`)
