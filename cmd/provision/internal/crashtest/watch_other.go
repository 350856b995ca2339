//go:build !linux || !amd64

package crashtest

import (
	"errors"
	"os/exec"
)

// Run needs ptrace and seccomp as Linux has them on amd64.
func (w *Watch) Run(*exec.Cmd) (Exit, error) {
	return Exit{}, errors.New("watching programs needs Linux on amd64")
}
