package sshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	gossh "golang.org/x/crypto/ssh"
)

// An Exec is one command that a machine is to run.
type Exec struct {
	Context context.Context // ends with a signal for the command, and with its session
	Line    string          // without the shell and sudo around it
	Args    []string        // the line's words
	Sudo    bool
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// A Log holds the lines of the commands that were run, in their order.
type Log struct {
	mu    sync.Mutex
	lines []string
}

func (l *Log) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

// Lines returns the lines so far, without the scripts in them: sh -c SCRIPT NAME ARGS is NAME ARGS.
func (l *Log) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// session serves one session of a connection.
func (s *Server) session(nc gossh.NewChannel, conn *end) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := false
	for r := range reqs {
		switch r.Type {
		case "exec":
			var line struct{ Line string }
			ok := gossh.Unmarshal(r.Payload, &line) == nil && !started
			r.Reply(ok, nil)
			if ok {
				started = true
				go s.exec(ctx, ch, conn, line.Line)
			}
		case "signal":
			cancel()
		default:
			r.Reply(r.Type == "env" || r.Type == "pty-req" || r.Type == "window-change", nil)
		}
	}
}

// exec runs a command and tells its status.
func (s *Server) exec(ctx context.Context, ch gossh.Channel, conn *end, line string) {
	e := &Exec{Context: ctx, Stdin: &cutter{ch, s, conn}, Stdout: ch, Stderr: ch.Stderr()}
	e.Line, e.Sudo = unwrap(line)
	e.Args = Words(e.Line)
	status := s.run(e, line)
	if status < 0 {
		sig := struct {
			Signal  string
			Core    bool
			Message string
			Lang    string
		}{Signal: "TERM"}
		ch.SendRequest("exit-signal", false, gossh.Marshal(&sig))
	} else {
		ch.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(status)}))
	}
	ch.CloseWrite()
	ch.Close()
}

func (s *Server) run(e *Exec, line string) int {
	if words := s.Faults().Sudo; e.Sudo && words != "" {
		fmt.Fprintln(e.Stderr, words)
		return 1
	}
	args := e.Args
	if strings.Contains(line, "PROVISION_RUN_END=") {
		return 0 // the end of a command's context, of which its signal has told already
	}
	if len(args) > 3 && args[0] == "sh" && args[1] == "-c" {
		args = args[3:]
	}
	s.Log.add(strings.Join(args, " "))
	switch {
	case s.o.Shell:
		return shell(e, line)
	case len(args) > 0 && args[0] == "provision-probe":
		return s.probe(e, args[1:])
	case len(args) > 0 && args[0] == "provision-receive":
		return s.receive(e, args[1:])
	case s.o.Answer != nil:
		return s.o.Answer(e)
	}
	fmt.Fprintf(e.Stderr, "sh: %s: not found\n", args[0])
	return 127
}

func shell(e *Exec, line string) int {
	c := exec.CommandContext(e.Context, "/bin/sh", "-c", line)
	c.Stdout, c.Stderr = e.Stdout, e.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return 126
	}
	if err := c.Start(); err != nil {
		return 126
	}
	go func() {
		io.Copy(in, e.Stdin)
		in.Close()
	}()
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// A cutter reads a command's input and cuts the connection when the faults say so.
type cutter struct {
	io.Reader
	s    *Server
	conn *end
}

func (c *cutter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	left := &c.s.faults.CutAfter
	if *left == 0 {
		return n, err
	}
	if *left -= int64(n); *left > 0 {
		return n, err
	}
	n, *left = n+int(*left), 0
	c.conn.Close()
	c.conn.drop()
	return n, io.ErrUnexpectedEOF
}

// unwrap returns the command line inside what package ssh sends, and whether sudo is to run it:
//
//	exec env [LC_ALL=C sudo -n -- env] VARIABLE=VALUE sh -c LINE
func unwrap(line string) (inner string, sudo bool) {
	w := Words(line)
	if n := len(w); n >= 6 && w[0] == "exec" && w[1] == "env" && w[n-3] == "sh" && w[n-2] == "-c" {
		return w[n-1], w[3] == "sudo"
	}
	return line, false
}

// Words splits a command line as sh does, as far as ssh.Quote makes it: words, single quotes, backslashes.
func Words(line string) []string {
	var words []string
	var word strings.Builder
	in, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\'':
			quoted = false
		case quoted:
			word.WriteByte(c)
		case c == '\'':
			in, quoted = true, true
		case c == '\\' && i+1 < len(line):
			i++
			in = true
			word.WriteByte(line[i])
		case c == ' ' || c == '\n' || c == '\t':
			if in {
				words = append(words, word.String())
				word.Reset()
			}
			in = false
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words
}
