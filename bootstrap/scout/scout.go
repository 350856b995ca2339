// Package scout sends a small program ahead to machines and talks to it: it looks at what a shell cannot see (ports, paths
// and disks), and it fetches programs from neighbours and serves them. What runs there is package scout/field.
//
// The program removes its own file when it starts, and ends with the connection; nothing is left on the machine.
package scout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
)

// The first line that the program writes, and the name of its file: as in package field.
const (
	greeting = "scout 1"
	Program  = "node-scout"
)

// A Scout is the program on one machine. Its methods are safe for concurrent use; it answers requests side by side.
type Scout struct {
	host string // for errors
	stop context.CancelFunc

	ready chan struct{} // closed when the program has greeted
	done  chan struct{} // closed when the program has ended
	err   error         // why it did; set before done is closed

	mu    sync.Mutex // of what follows, and held while a request is written
	in    *io.PipeWriter
	calls map[string]*call
	last  int
}

type call struct {
	each func(words string)
	end  chan answer // has room for one
}

type answer struct {
	words string
	err   error
}

// A Refusal is a request that the program answered with a failure.
type Refusal struct {
	Host   string
	Verb   string
	Reason string
}

// Error gives host, request and reason.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s: %s", r.Host, r.Verb, r.Reason) }

// The program is put and started again: another command may have started, and so removed, the same file, or an upload that
// broke may still have it open.
const (
	starts = 4
	retry  = 200 * time.Millisecond
)

// Start puts the program at the path on the machine and starts it. It runs until Close, or until the connection breaks;
// ctx is for the start only. name is what errors call the machine. The folder must allow programs to be run.
func Start(ctx context.Context, h ssh.Host, name string, program *ssh.Source, path string) (*Scout, error) {
	for try := 1; ; try++ {
		if err := h.Put(ctx, ssh.File{Path: path, Mode: 0o700, Source: program}); err != nil {
			return nil, err
		}
		s, err := start(ctx, h, name, path)
		var exit *ssh.ExitError
		if err == nil || try == starts || !errors.As(err, &exit) || exit.Status != 127 && !strings.Contains(string(exit.Stderr), "busy") {
			return s, err
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func start(ctx context.Context, h ssh.Host, name, path string) (*Scout, error) {
	out, in := io.Pipe()
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Scout{host: name, stop: stop, in: in, ready: make(chan struct{}), done: make(chan struct{}), calls: map[string]*call{}}
	go func() {
		_, err := h.Run(run, ssh.Command{Line: "exec " + ssh.Quote(path, "--vanish"), Stdin: out, Stdout: io.Discard, Lines: s.hear})
		var exit *ssh.ExitError
		if errors.As(err, &exit) {
			exit.Command = Program
		}
		if err == nil {
			err = fmt.Errorf("%s: %s has ended", name, Program)
		}
		s.over(err)
		out.CloseWithError(err)
	}()
	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		return nil, s.err
	case <-ctx.Done():
		s.Close()
		return nil, fmt.Errorf("%s: start %s: %w", name, Program, context.Cause(ctx))
	}
}

// over ends all requests.
func (s *Scout) over(err error) {
	s.err = err
	close(s.done)
	s.stop()
}

// hear reads one line of the program.
func (s *Scout) hear(line string) {
	if line == greeting {
		close(s.ready)
		return
	}
	id, rest, _ := strings.Cut(line, " ")
	kind, words, _ := strings.Cut(rest, " ")
	s.mu.Lock()
	c := s.calls[id]
	if c != nil && kind != "." {
		delete(s.calls, id)
	}
	s.mu.Unlock()
	switch {
	case c == nil:
	case kind == "." && c.each != nil:
		c.each(words)
	case kind == "=":
		c.end <- answer{words: words}
	case kind == "!":
		c.end <- answer{err: errors.New(words)}
	}
}

// Ask makes a request and returns its answer. each gets the parts that come before it, from one goroutine; it may be nil, and
// is not called after Ask has returned. A failure is a *Refusal, or why the program has ended, or that of the context.
// Arguments must not be empty nor have blanks in them.
func (s *Scout) Ask(ctx context.Context, each func(words string), verb string, args ...string) (string, error) {
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \n\t") {
			return "", fmt.Errorf("%s: %s: argument %q", s.host, verb, a)
		}
	}
	gate := &gate{each: each}
	defer gate.shut()
	c := &call{each: gate.pass, end: make(chan answer, 1)}
	id := s.write(c, verb, args)
	select {
	case a := <-c.end:
		if a.err != nil {
			return "", &Refusal{Host: s.host, Verb: verb, Reason: a.err.Error()}
		}
		return a.words, nil
	case <-s.done:
		return "", s.err
	case <-ctx.Done():
		s.forget(id)
		return "", fmt.Errorf("%s: %s: %w", s.host, verb, context.Cause(ctx))
	}
}

// write sends a request. An error shows in done.
func (s *Scout) write(c *call, verb string, args []string) (id string) {
	s.mu.Lock()
	s.last++
	id = strconv.Itoa(s.last)
	s.calls[id] = c
	s.mu.Unlock()
	line := strings.Join(append([]string{id, verb}, args...), " ") + "\n"
	go io.WriteString(s.in, line) // a pipe takes one write at a time, each whole
	return id
}

func (s *Scout) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
}

// Done is closed when the program has ended.
func (s *Scout) Done() <-chan struct{} { return s.done }

// Close ends the program: it does not read on, and what it has opened ends. It does not wait.
func (s *Scout) Close() {
	s.in.Close()
}

// A gate lets parts of an answer pass until it is shut.
type gate struct {
	mu   sync.Mutex
	each func(string)
}

func (g *gate) pass(words string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.each != nil {
		g.each(words)
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.each = nil
}
