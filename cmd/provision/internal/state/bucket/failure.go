package bucket

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A failure is a request's end as a store reports it. Its kind decides what is done about it.
type failure struct {
	kind    kind
	err     error         // the store's words
	trouble Trouble       // of stranger
	region  string        // of wrongRegion: where the bucket is, if the store told
	after   time.Duration // of busy: how long the store asks to be left alone
}

// A kind of failure.
type kind int

const (
	refused     kind = iota // the store will not do it, now or later; nothing was done
	noObject                // there is no such object
	noBucket                // there is no such bucket
	changed                 // the condition does not hold
	denied                  // who asks may not do it
	stranger                // the store does not know or accept who asks, or there are no credentials
	wrongRegion             // the bucket is elsewhere
	unheard                 // the request did not reach the store, or the store said that it had no time: nothing was done; to be tried again
	nowhere                 // there is no way to the store, and trying again will not find one; nothing was done
	lost                    // done or not, nobody will ever know
	busy                    // anything else: done or not, nobody knows; to be tried again
)

// Error returns the store's words.
func (f *failure) Error() string { return fmt.Sprint(f.err) }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// kindOf is err's kind; anything that no store named is busy.
func kindOf(err error) kind {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.kind
	}
	return busy
}

// A credentialFailure marks what a source of credentials says, on its way through a vendor's SDK.
type credentialFailure struct{ err error }

// Error returns the source's words.
func (f *credentialFailure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *credentialFailure) Unwrap() error { return f.err }

// troubleOf is what is the matter with credentials by the words of a source that could give none. Sources have no types for it.
func troubleOf(err error) Trouble {
	words := strings.ToLower(err.Error())
	for _, w := range []string{"expired", "invalid_grant", "token has been revoked", "reauth", "az login", "sso session"} {
		if strings.Contains(words, w) {
			return Expired
		}
	}
	return Missing
}

// unanswered makes a failure of an error that came without an answer of the store.
func unanswered(err error) *failure {
	if c, ok := errors.AsType[*credentialFailure](err); ok {
		return &failure{kind: stranger, trouble: troubleOf(c.err), err: c.err}
	}
	if isCertificate(err) {
		return &failure{kind: nowhere, err: err}
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		if d.IsNotFound {
			return &failure{kind: nowhere, err: err}
		}
		return &failure{kind: unheard, err: err}
	}
	if o, ok := errors.AsType[*net.OpError](err); ok && o.Op == "dial" {
		return &failure{kind: unheard, err: err}
	}
	return &failure{kind: busy, err: err}
}

// isCertificate reports whether the other side is not who it should be.
func isCertificate(err error) bool {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid)
}

// answered makes a failure of an answer, by its status alone. A store looks at its own codes first.
func answered(status int, header http.Header, err error) *failure {
	f := &failure{kind: refused, err: err}
	switch {
	case status == http.StatusNotFound:
		f.kind = noObject
	case status == http.StatusPreconditionFailed:
		f.kind = changed
	case status == http.StatusUnauthorized:
		f.kind = stranger
	case status == http.StatusForbidden:
		f.kind = denied
	case status == http.StatusTooManyRequests:
		f.kind, f.after = unheard, retryAfter(header, time.Now())
	case status == http.StatusRequestTimeout || status == http.StatusConflict || status >= 500 && status != http.StatusNotImplemented:
		f.kind, f.after = busy, retryAfter(header, time.Now())
	}
	return f
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// public makes of a request's error what a caller of Bucket gets. sure tells that nothing was done.
func (c *client) public(ctx context.Context, r request, err error, sure bool) error {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{kind: busy, err: err}
	}
	told := c.typed(ctx, r, f)
	if sure || f.kind == changed {
		return told
	}
	return &UnknownError{URL: c.url, Op: r.op, Key: r.key, Err: told}
}

// typed is the error of a request of which nothing was done.
func (c *client) typed(ctx context.Context, r request, f *failure) error {
	wrap := func(err error) error { return fmt.Errorf("%s in %s: %w", r, c.url, err) }
	switch f.kind {
	case noObject:
		return wrap(fs.ErrNotExist)
	case changed:
		return wrap(ErrChanged)
	case noBucket:
		return &MissingError{URL: c.url, Err: f.err}
	case denied:
		return &DeniedError{URL: c.url, Action: r.String() + " (" + c.store.permission(r.op) + ")", Err: f.err}
	case stranger:
		return &CredentialsError{URL: c.url, Hint: c.store.permission(""), Trouble: f.trouble, Err: f.err}
	case wrongRegion:
		return &RegionError{URL: c.url, Want: f.region, Err: f.err}
	case refused, lost:
		return wrap(f.err)
	}
	if end := context.Cause(ctx); end != nil {
		if f.err == nil || errors.Is(f.err, end) {
			return wrap(end)
		}
		return wrap(fmt.Errorf("%w (last: %v)", end, f.err))
	}
	return &UnreachableError{URL: c.url, Err: f.err}
}
