package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// Pauses between two tries to connect to a machine that boots, and how long one try may take.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
	firstTry   = time.Second
	lastTry    = 10 * time.Second
	silences   = 2 // tries that end in silence before it is taken for the machine's last word
)

// dial connects to a machine, again and again until it answers, its answer is final, or the time is over.
func dial(ctx context.Context, o Options, known hostKeys, timeout time.Duration) (*conn, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause, limit := firstPause, firstTry
	for try, silent := 1, 0; ; try++ {
		c, err := dialOnce(ctx, o, known, limit)
		if err == nil {
			return c, nil
		}
		if s := new(SilentError); errors.As(err, &s) {
			silent++
		}
		if final(err) || silent >= silences {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, gaveUp(ctx, o, err, time.Since(start), try)
		case <-time.After(pause):
		}
		pause, limit = min(pause*3/2, lastPause), min(limit*3/2, lastTry)
	}
}

// gaveUp is the error of a dial that ended because of its context: that of the caller, or the time that it had.
func gaveUp(ctx context.Context, o Options, last error, tried time.Duration, tries int) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return fmt.Errorf("%s: connect to %s: %w", o.Name, o.Addr, context.Canceled)
	}
	if s := new(SilentError); errors.As(last, &s) {
		return last
	}
	return &UnreachableError{Host: o.Name, Addr: o.Addr, For: tried, Tries: tries, Err: last}
}

// final says whether trying again cannot help.
func final(err error) bool {
	var key *HostKeyChanged
	var auth *AuthError
	var algo *gossh.AlgorithmNegotiationError
	return errors.As(err, &key) || errors.As(err, &auth) || errors.As(err, &algo) || errors.Is(err, errClosed)
}

func dialOnce(ctx context.Context, o Options, known hostKeys, limit time.Duration) (*conn, error) {
	dctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	nc, err := o.Through.Dial(dctx, "tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	h := &handshake{o: o, known: known, conn: &heardConn{Conn: nc}, dialed: time.Since(start)}
	h.conn.note()
	return h.do(ctx)
}

// A handshake is one try to make a connection to a machine of an accepted TCP connection.
type handshake struct {
	o     Options
	known hostKeys
	conn  *heardConn

	dialed time.Duration // that the connection took to be accepted

	timer   *time.Timer
	late    atomic.Bool // the timer went off
	trusted bool        // the host key was shown and is known
	booting bool        // the machine said that users cannot log in yet
	offered []string
}

func (h *handshake) do(ctx context.Context) (*conn, error) {
	h.timer = time.AfterFunc(h.o.Handshake, func() { h.late.Store(true); h.conn.Close() })
	defer h.timer.Stop()
	stop := context.AfterFunc(ctx, func() { h.conn.Close() })
	defer stop()
	accepted := h.conn.heard.Load()
	c, chans, reqs, err := gossh.NewClientConn(h.conn, h.o.Addr, h.config())
	if err != nil {
		h.conn.Close()
		if h.late.Load() {
			return nil, &SilentError{Host: h.o.Name, Addr: h.o.Addr, For: h.o.Handshake}
		}
		if ctx.Err() != nil && h.conn.heard.Load() == accepted {
			return nil, &SilentError{Host: h.o.Name, Addr: h.o.Addr, For: time.Since(time.Unix(0, accepted)).Round(time.Millisecond)}
		}
		return nil, h.classify(err)
	}
	return newConn(gossh.NewClient(c, chans, reqs), h.conn, h.o, h.dialed), nil
}

func (h *handshake) config() *gossh.ClientConfig {
	algos := gossh.SupportedAlgorithms()
	return &gossh.ClientConfig{
		Config:            gossh.Config{Ciphers: algos.Ciphers, KeyExchanges: algos.KeyExchanges, MACs: algos.MACs},
		User:              h.o.User,
		Auth:              []gossh.AuthMethod{gossh.PublicKeysCallback(h.signers)},
		HostKeyCallback:   h.checkHostKey,
		HostKeyAlgorithms: h.known.algorithms(),
		BannerCallback: func(m string) error {
			h.booting = h.booting || strings.Contains(m, "booting up") // pam_nologin
			return nil
		},
		ClientVersion: "SSH-2.0-provision",
	}
}

func (h *handshake) checkHostKey(_ string, remote net.Addr, key gossh.PublicKey) error {
	if err := h.known.trusts(h.o.Addr, remote, key); err != nil {
		changed := h.changed(shown(key))
		if _, ok := key.(*gossh.Certificate); ok {
			changed.Err = err
		} else {
			changed.Line = strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key)))
		}
		return changed
	}
	h.trusted = true
	return nil
}

func (h *handshake) changed(got string) *HostKeyChanged {
	return &HostKeyChanged{Host: h.o.Name, Addr: h.o.Addr, Got: got, Want: h.known.fingerprints()}
}

// signers returns the keys to offer. While one of them signs, the clock stands still: a person may have to type a
// passphrase or touch a token.
func (h *handshake) signers() ([]gossh.Signer, error) {
	all, err := h.o.Keys.all()
	var ss []gossh.Signer
	for _, s := range all {
		h.offered = append(h.offered, fmt.Sprintf("%s of %s", gossh.FingerprintSHA256(s.PublicKey()), s.origin))
		ss = append(ss, h.patient(s.Signer))
	}
	if len(ss) > 0 {
		err = nil
	}
	return ss, err
}

// classify gives an error of the handshake its type.
func (h *handshake) classify(err error) error {
	var changed *HostKeyChanged
	if errors.As(err, &changed) {
		return changed
	}
	var algo *gossh.AlgorithmNegotiationError
	if errors.As(err, &algo) {
		if strings.Contains(algo.What, "host key") {
			return h.changed("")
		}
		return fmt.Errorf("%s: %s: %w", h.o.Name, h.o.Addr, err)
	}
	if h.trusted && !h.booting && !broken(err) {
		return &AuthError{Host: h.o.Name, Addr: h.o.Addr, User: h.o.User, Offered: h.offered, Err: err}
	}
	return err
}

// broken says whether err comes from the network and not from the other side's decision.
func broken(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, os.ErrDeadlineExceeded)
}

// patient returns a signer that stops the handshake's clock while it signs.
func (h *handshake) patient(s gossh.Signer) gossh.Signer {
	as, ok := s.(gossh.AlgorithmSigner)
	if !ok {
		return s
	}
	return &patientSigner{as, h}
}

type patientSigner struct {
	gossh.AlgorithmSigner
	h *handshake
}

func (s *patientSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*gossh.Signature, error) {
	if s.h.timer.Stop() {
		defer s.h.timer.Reset(s.h.o.Handshake)
	}
	return s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}
