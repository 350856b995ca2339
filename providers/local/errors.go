package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/provisionhq/provision/providers"
)

// fail returns an error of the kind that says in words what happened.
func fail(k providers.Kind, format string, args ...any) error {
	return fmt.Errorf("%w: %w", k, fmt.Errorf(format, args...))
}

// kinded gives err a Kind if it has none: the one that its errno or its context stands for, Unavailable for all else.
func kinded(err error) error {
	if err == nil || providers.KindOf(err) != "" {
		return err
	}
	return fmt.Errorf("%w: %w", kindOfErrno(err), err)
}

func kindOfErrno(err error) providers.Kind {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return providers.Unavailable
	case errors.Is(err, fs.ErrPermission):
		return providers.Denied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return providers.Quota
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.EOPNOTSUPP):
		return providers.Unsupported
	}
	return providers.Unavailable
}

// about adds the operation and the object to err, and a Kind if it has none.
func about(op string, noun providers.Noun, key providers.Key, err *error) {
	if *err != nil {
		*err = fmt.Errorf("%s %s %s: %w", op, noun, key, kinded(*err))
	}
}
