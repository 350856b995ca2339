package forwarder

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A target whose host is gone is out after checkEvery and two times checkLimit: well within 2 seconds. One that refuses is
// out at once. Its connections are reset after resetAfter: a host that is only slow must not lose them, and one that lives
// ends those of a program that died itself.
const (
	checkEvery = 400 * time.Millisecond
	checkLimit = 500 * time.Millisecond
	resetAfter = 3 * time.Second
)

// A backendKey is all that makes one backend another.
type backendKey struct {
	target  netip.AddrPort
	check   netip.AddrPort
	path    string // of HTTP; empty: a TCP connect
	refused bool   // that the check is refused is a sign of life: nothing is known to listen there
}

func keyOf(target netip.Addr, spec providers.BalancerPort) backendKey {
	k := backendKey{target: netip.AddrPortFrom(target, uint16(spec.TargetPort)), path: spec.HealthPath}
	k.check = k.target
	if spec.HealthPort != 0 {
		k.check = netip.AddrPortFrom(target, uint16(spec.HealthPort))
	}
	k.refused = spec.Protocol == "udp" && spec.HealthPort == 0 && spec.HealthPath == ""
	return k
}

// A backend is one target of one port, and what is known of it.
type backend struct {
	backendKey
	say    func(format string, args ...any)
	gone   atomic.Bool   // it is no target any more, but may have connections
	doubt  chan struct{} // holds a value when it should be looked at now
	scheme string        // that the target's health path was reached by; empty: not yet known

	mu    sync.Mutex
	up    bool
	known bool
	conns map[io.Closer]bool
}

// newBackend begins to check a target.
func newBackend(k backendKey, say func(format string, args ...any)) *backend {
	b := &backend{backendKey: k, say: say, doubt: make(chan struct{}, 1), conns: map[io.Closer]bool{}}
	go b.watch()
	return b
}

// retire ends the checks as soon as there are no connections to the target, which go on.
func (b *backend) retire() {
	b.gone.Store(true)
	b.suspect()
}

// idle says whether nobody needs to know of the target any more.
func (b *backend) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone.Load() && len(b.conns) == 0
}

func (b *backend) healthy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.up
}

// suspect lets the target be looked at now.
func (b *backend) suspect() {
	select {
	case b.doubt <- struct{}{}:
	default:
	}
}

// watch checks the target until it is retired.
func (b *backend) watch() {
	fails, silent := 0, time.Time{} // since when nothing came from its host
	for !b.idle() {
		began := time.Now()
		err := b.probe()
		wait := checkEvery
		switch {
		case err == nil:
			fails = 0
			b.set(true, nil)
		case fails > 0 || errors.Is(err, syscall.ECONNREFUSED):
			fails++
			b.set(false, err)
		default:
			fails++
			wait = 0 // once may be chance: look again at once
		}
		switch {
		case answered(err):
			silent = time.Time{}
		case silent.IsZero():
			silent = began
		case time.Since(silent) > resetAfter:
			b.reset()
		}
		select {
		case <-b.doubt:
		case <-time.After(wait):
		}
	}
}

// answered says whether what a check returned came from the target's host.
func answered(err error) bool {
	var status statusError
	return err == nil || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.As(err, &status)
}

// set notes what was found.
func (b *backend) set(up bool, why error) {
	b.mu.Lock()
	changed := !b.known || up != b.up
	b.up, b.known = up, true
	b.mu.Unlock()
	switch {
	case changed && up:
		b.say("target %s is healthy", b.target)
	case changed:
		b.say("target %s is not healthy: %v", b.target, why)
	}
}

// hold notes a connection to the target, until release.
func (b *backend) hold(c io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns[c] = true
}

func (b *backend) release(c io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// reset ends the connections to the target.
func (b *backend) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.Close()
	}
}

// probe looks at the target once.
func (b *backend) probe() error {
	if b.path != "" {
		return b.fetch()
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", b.check.String())
	switch {
	case b.refused && errors.Is(err, syscall.ECONNREFUSED):
		return nil
	case err != nil:
		return err
	}
	return c.Close()
}

// fetch asks for the health path: by HTTPS, whoever signed the certificate, or by HTTP, whichever answers at first.
func (b *backend) fetch() error {
	if b.scheme != "" {
		return b.fetchBy(b.scheme)
	}
	var errs []error
	for _, scheme := range []string{"https", "http"} {
		err := b.fetchBy(scheme)
		var status statusError
		if err == nil || scheme == "https" && errors.As(err, &status) {
			b.scheme = scheme
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// A statusError is an answer that is no success.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("it answered with status %d", int(s)) }

func (b *backend) fetchBy(scheme string) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+b.check.String()+b.path, nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // a check is no secret
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return statusError(res.StatusCode)
	}
	return nil
}
