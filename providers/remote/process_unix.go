//go:build unix && !linux

package remote

import (
	"os"
	"os/exec"
	"syscall"
)

// detach gives the process a group of its own. It notices the end of its parent by the end of its stdin.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// kill ends the process and its group.
func kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// endGroup ends this process's group, itself included, if it is the first of one.
func endGroup() {
	if pid := os.Getpid(); syscall.Getpgrp() == pid {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// hideMemory does nothing where there is no such thing.
func hideMemory() {}
