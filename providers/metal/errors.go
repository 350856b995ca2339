package metal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal/power"
)

// An InventoryError says all that is wrong with an inventory. It wraps providers.Invalid.
type InventoryError struct {
	Problems []Problem // one at least, in the order of the file
}

// A Problem is one thing that is wrong with an inventory.
type Problem struct {
	Path  string // place in the provider's block: "host[3].address"; empty if it is of a file of its own
	Where string // place in a file: "hosts.csv:4"; may be empty
	What  string // a sentence without its full stop
}

// Error lists the problems.
func (e *InventoryError) Error() string {
	var all []string
	for _, p := range e.Problems {
		words := p.What
		if p.Where != "" {
			words = p.Where + ": " + words
		}
		all = append(all, words)
	}
	return strings.Join(all, "; ")
}

// Unwrap returns providers.Invalid.
func (e *InventoryError) Unwrap() error { return providers.Invalid }

// fail returns an error of the kind that says in words what happened.
func fail(k providers.Kind, format string, args ...any) error {
	return fmt.Errorf("%w: %w", k, fmt.Errorf(format, args...))
}

// about adds the operation and the object to err, and a Kind if it has none.
func about(verb providers.Verb, noun providers.Noun, key providers.Key, err *error) {
	if *err != nil {
		*err = fmt.Errorf("%s %s %s: %w", verb, noun, key, kinded(*err))
	}
}

// kinded gives err a Kind if it has none.
func kinded(err error) error {
	if err == nil || providers.KindOf(err) != "" {
		return err
	}
	return fmt.Errorf("%w: %w", kindOf(err), err)
}

// kindOf is the kind of what went wrong on the way to a host or its BMC.
func kindOf(err error) providers.Kind {
	var (
		key   *ssh.HostKeyChanged
		auth  *ssh.AuthError
		sudo  *ssh.SudoError
		space *ssh.SpaceError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return providers.Unavailable
	case errors.As(err, &key), errors.As(err, &auth), errors.As(err, &sudo), errors.Is(err, power.ErrDenied):
		return providers.Denied
	case errors.As(err, &space):
		return providers.Quota
	}
	return providers.Unavailable
}

// answered says whether the host was there, whatever it said.
func answered(err error) bool {
	var (
		key  *ssh.HostKeyChanged
		auth *ssh.AuthError
		sudo *ssh.SudoError
		exit *ssh.ExitError
	)
	return err == nil || errors.As(err, &key) || errors.As(err, &auth) || errors.As(err, &sudo) || errors.As(err, &exit)
}
