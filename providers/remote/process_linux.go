package remote

import (
	"golang.org/x/sys/unix"

	"os"
	"os/exec"
	"syscall"
)

// detach gives the process a group of its own and has the kernel kill it when its parent has ended.
func detach(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// kill ends the process and its group.
func kill(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// endGroup ends this process's group, itself included, if it is the first of one.
func endGroup() {
	if pid := os.Getpid(); syscall.Getpgrp() == pid {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// hideMemory keeps the secrets of the provider's block, which a plug-in holds: no core file is written of it.
func hideMemory() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
