//go:build !unix

package remote

import (
	"os"
	"os/exec"
)

// detach does nothing: the process notices the end of its parent by the end of its stdin.
func detach(*exec.Cmd) {}

// kill ends the process; what it started may stay.
func kill(p *os.Process) error { return p.Kill() }

// endGroup does nothing.
func endGroup() {}

// hideMemory does nothing where there is no such thing.
func hideMemory() {}
