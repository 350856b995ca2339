//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package fake

import (
	"errors"
	"os"
)

// tryLock fails: this system has no lock that ends with its process.
func tryLock(*os.File) (held bool, err error) { return false, errors.ErrUnsupported }
