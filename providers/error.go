package providers

import (
	"errors"
	"time"
)

// A Kind is why an operation failed, as far as a caller may act on it. Vendors wrap one:
//
//	fmt.Errorf("run instance %s: %w: %w", name, providers.Capacity, err)
type Kind string

// The kinds. Every error of a provider wraps exactly one of them.
const (
	NotFound    Kind = "not found"
	Exists      Kind = "exists"
	Conflict    Kind = "conflict"
	Invalid     Kind = "invalid"
	Denied      Kind = "denied"
	Quota       Kind = "quota"
	Capacity    Kind = "capacity"
	Throttled   Kind = "throttled"
	Unavailable Kind = "unavailable"
	Unsupported Kind = "unsupported"
)

// Error makes a Kind usable as an error to wrap.
func (k Kind) Error() string { return string(k) }

// Kinds returns every Kind, in the order of the table in the architecture document.
func Kinds() []Kind {
	return []Kind{NotFound, Exists, Conflict, Invalid, Denied, Quota, Capacity, Throttled, Unavailable, Unsupported}
}

// KindOf returns the Kind that err wraps, or "" if it wraps none.
func KindOf(err error) Kind {
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return ""
}

// Retryable says whether the same call may succeed later without anybody changing anything.
func (k Kind) Retryable() bool { return k == Capacity || k == Throttled || k == Unavailable }

// RetryAfter is an error that carries the vendor's own word on when to try again. Vendors wrap it beside a Kind.
type RetryAfter struct {
	After time.Duration // from the moment of the answer
}

// Error says how long to wait.
func (r RetryAfter) Error() string { return "retry after " + r.After.String() }
