package bootstrap

import (
	"fmt"
	"strings"
)

// A HostError is a phase that failed on a machine, with the machine's own words.
type HostError struct {
	Host   string
	Phase  string
	Err    error
	Output []string // last lines that the failing program wrote; may be empty
}

// Error gives host, phase and cause, without the output.
func (e *HostError) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.Host, e.Phase, strings.TrimPrefix(e.Err.Error(), e.Host+": "))
}

// Unwrap returns the cause.
func (e *HostError) Unwrap() error { return e.Err }

// A PreflightError says all that keeps a machine from becoming a node.
type PreflightError struct {
	Problems []Problem
}

// Error joins the problems.
func (e *PreflightError) Error() string {
	var what []string
	for _, p := range e.Problems {
		what = append(what, p.What)
	}
	return strings.Join(what, "; ")
}

// A Problem is one thing that keeps a machine from becoming a node.
type Problem struct {
	ID   ProblemID
	What string // a sentence without its full stop
	Mend string // what a person can do: a sentence without its full stop
}

// A ProblemID tells problems apart.
type ProblemID string

// The problems that preflight looks for.
const (
	NotRoot      ProblemID = "not-root"
	WrongArch    ProblemID = "wrong-architecture"
	OldKernel    ProblemID = "old-kernel"
	NoCgroups    ProblemID = "no-cgroups"
	NoInit       ProblemID = "no-init-system"
	NoTool       ProblemID = "missing-tool"
	NoOverlay    ProblemID = "no-overlayfs"
	LowMemory    ProblemID = "low-memory"
	FullDisk     ProblemID = "full-disk"
	WrongClock   ProblemID = "wrong-clock"
	PortTaken    ProblemID = "port-taken"
	OtherCluster ProblemID = "other-cluster"
)
