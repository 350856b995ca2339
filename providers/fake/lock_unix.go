//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fake

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the file's lock unless somebody else has it. It is given back when the file is closed.
func tryLock(f *os.File) (held bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
