package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

const (
	chunk      = 128 << 10       // bytes that are read and sent at a time, at most
	firstChunk = 4 << 10         // … and at first
	farewell   = 2 * time.Second // that a command gets to end after its context did
)

// Run runs one command.
func (h *host) Run(ctx context.Context, c Command) (Result, error) {
	s, release, conn, err := h.session(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	defer s.Close()
	out := newOutput(c)
	s.Stdout, s.Stderr = &out.stdout, &out.stderr
	r := &running{h: h, conn: conn, s: s, c: c, mark: rand.Text()}
	err = r.run(ctx)
	res, words := out.result()
	if err == nil {
		return res, nil
	}
	return res, h.explain(ctx, conn, c, words, err)
}

// session opens a session, in a new connection if the old one turns out to be lost.
func (h *host) session(ctx context.Context) (*gossh.Session, func(), *conn, error) {
	for again := false; ; again = true {
		c, err := h.connection(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		s, release, err := c.session(ctx)
		if err == nil {
			return s, release, c, nil
		}
		if ctx.Err() != nil {
			return nil, nil, nil, fmt.Errorf("%s: open a session: %w", h.o.Name, context.Cause(ctx))
		}
		if refused := new(gossh.OpenChannelError); errors.As(err, &refused) {
			return nil, nil, nil, fmt.Errorf("%s: open a session: %w", h.o.Name, err)
		}
		c.end(err)
		if again {
			return nil, nil, nil, &LostError{Host: h.o.Name, Err: c.lost()}
		}
	}
}

// running is a command in its session.
type running struct {
	h    *host
	conn *conn
	s    *gossh.Session
	c    Command
	mark string // in the environment of all that the command starts
}

// run runs the command until it ends or the context does, and leaves the meaning of the error to explain.
func (r *running) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- r.perform(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	go r.kill() // sending blocks on a connection that hangs
	select {
	case <-done:
		return context.Cause(ctx)
	case <-time.After(farewell / 2):
	}
	go r.s.Close()
	select {
	case <-done:
	case <-time.After(farewell / 2):
	}
	return context.Cause(ctx)
}

func (r *running) perform(ctx context.Context) error {
	in, err := r.s.StdinPipe()
	if err != nil {
		return err
	}
	if t := r.c.TTY; t != nil {
		if err := r.s.RequestPty(t.Term, t.Height, t.Width, gossh.TerminalModes{}); err != nil {
			return err
		}
		stop := make(chan struct{})
		defer close(stop)
		go resize(r.s, t, stop)
	}
	if err := r.s.Start(r.line()); err != nil {
		return err
	}
	go feed(ctx, in, r.c.Stdin)
	return r.s.Wait()
}

// feed sends the input. Its errors say only that the command has stopped reading, which Wait tells better. When the
// context has ended, the input does not: the command must not take a part of it for the whole.
func feed(ctx context.Context, in io.WriteCloser, r io.Reader) {
	if r != nil {
		pump(in, func(p []byte) (int, error) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return r.Read(p)
		})
	}
	if ctx.Err() == nil {
		in.Close()
	}
}

// pump copies until an end or an error. Its buffer is as large as what comes: most input is small, and there are sessions
// with hundreds of machines at once.
func pump(w io.Writer, read readFunc) {
	for b := make([]byte, firstChunk); ; {
		n, err := read(b)
		if _, werr := w.Write(b[:n]); err != nil || werr != nil {
			return
		}
		if n == len(b) && n < chunk {
			b = make([]byte, 2*n)
		}
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func resize(s *gossh.Session, t *TTY, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case size, ok := <-t.Resize:
			if !ok {
				return
			}
			s.WindowChange(size[1], size[0])
		}
	}
}

// markName is the variable that marks the processes of a command.
const markName = "PROVISION_RUN"

// line is what the user's login shell, whichever that is, gets to read.
func (r *running) line() string {
	if r.c.Login {
		return r.c.Line
	}
	return r.h.asRoot(r.c.Line, markName+"="+r.mark)
}

// asRoot makes a line for the login shell of a line for sh, with a variable in its environment.
func (h *host) asRoot(line, variable string) string {
	sudo := ""
	if h.o.Sudo {
		sudo = "LC_ALL=C sudo -n -- env "
	}
	return "exec env " + sudo + variable + " sh -c " + Quote(line)
}

// kill ends the command and what it has started. OpenSSH passes signals on only for users other than root, and not to
// what sudo has started; so the processes are also looked for by their mark.
func (r *running) kill() {
	r.s.Signal(gossh.SIGTERM)
	if r.c.Login {
		return
	}
	s, err := r.conn.client.NewSession()
	if err != nil {
		return
	}
	defer s.Close()
	const script = `for p in $(grep -la MARK /proc/[0-9]*/environ 2>/dev/null); do p=${p%/environ}; kill -TERM "${p#/proc/}" 2>/dev/null; done`
	s.Run(r.h.asRoot(strings.Replace(script, "MARK", r.mark, 1), markName+"_END=1"))
}

// explain gives the error of a command its type.
func (h *host) explain(ctx context.Context, conn *conn, c Command, words []byte, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", h.o.Name, title(c.Line), context.Cause(ctx))
	}
	var exit *gossh.ExitError
	if !errors.As(err, &exit) {
		return &LostError{Host: h.o.Name, Err: conn.why(err)}
	}
	if h.o.Sudo && !c.Login {
		if e := sudoRefused(words); e != nil {
			e.Host, e.User = h.o.Name, h.o.User
			return e
		}
	}
	status := exit.ExitStatus()
	if exit.Signal() != "" {
		status = -1
	}
	return &ExitError{Host: h.o.Name, Command: title(c.Line), Status: status, Signal: exit.Signal(), Stderr: words}
}

// why is the reason for which the connection ended, if it did, or else what a session saw.
func (c *conn) why(seen error) error {
	select {
	case <-c.done:
		return c.lost()
	case <-time.After(100 * time.Millisecond):
		return seen
	}
}

// sudoRefused returns what sudo said if it did not run the command.
func sudoRefused(stderr []byte) *SudoError {
	for line := range bytes.Lines(stderr) {
		l := strings.TrimSpace(string(line))
		password := strings.HasPrefix(l, "sudo:") && strings.Contains(l, "password is required")
		for _, words := range []string{"must have a tty", "not in the sudoers", "is not allowed to", "sudo: not found", "sudo: command not found"} {
			if password || strings.Contains(l, words) && strings.Contains(l, "sudo") {
				return &SudoError{Reason: l, Password: password}
			}
		}
	}
	return nil
}

// title is a command line as an error names it.
func title(line string) string {
	first, _, more := strings.Cut(strings.TrimSpace(line), "\n")
	if r := []rune(first); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	if more {
		return first + " …"
	}
	return first
}

// output collects what a command says.
type output struct {
	mu     sync.Mutex
	closed bool
	stdout stream
	stderr stream
}

func newOutput(c Command) *output {
	o := new(output)
	o.stdout = stream{out: o, to: c.Stdout, lines: c.Lines}
	o.stderr = stream{out: o, to: c.Stderr, lines: c.Lines}
	return o
}

// result returns what was collected, and the tail of standard error in any case. What comes later is dropped.
func (o *output) result() (Result, []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	var r Result
	for s, to := range map[*stream]*[]byte{&o.stdout: &r.Stdout, &o.stderr: &r.Stderr} {
		s.flush()
		s.trim()
		if s.to == nil {
			*to = s.buf
			r.Dropped += s.dropped
		}
	}
	return r, o.stderr.buf[max(0, len(o.stderr.buf)-words):]
}

const (
	kept  = 1 << 20 // bytes of a stream that a Result holds
	words = 4 << 10 // bytes of standard error that an error holds
)

// A stream is one of a command's two outputs.
type stream struct {
	out     *output
	to      io.Writer
	lines   func(string)
	line    []byte
	buf     []byte
	dropped int64
}

func (s *stream) Write(b []byte) (int, error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.out.closed {
		return 0, io.ErrClosedPipe
	}
	s.split(b)
	if s.buf = append(s.buf, b...); len(s.buf) > 2*s.limit() {
		s.trim()
	}
	if s.to != nil {
		return s.to.Write(b)
	}
	return len(b), nil
}

func (s *stream) limit() int {
	if s.to != nil {
		return words
	}
	return kept
}

// trim keeps only the last bytes.
func (s *stream) trim() {
	if n := len(s.buf) - s.limit(); n > 0 {
		s.dropped += int64(n)
		s.buf = append([]byte(nil), s.buf[n:]...)
	}
}

// maxLine is how long a line may get before it is cut in two.
const maxLine = 64 << 10

func (s *stream) split(b []byte) {
	if s.lines == nil {
		return
	}
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		s.line = append(s.line, b[:i]...)
		s.flush()
		b = b[i+1:]
	}
	if s.line = append(s.line, b...); len(s.line) > maxLine {
		s.flush()
	}
}

func (s *stream) flush() {
	if s.lines != nil && len(s.line) > 0 {
		s.lines(strings.TrimSuffix(string(s.line), "\r"))
	}
	s.line = s.line[:0]
}
