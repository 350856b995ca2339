package ssh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	gossh "golang.org/x/crypto/ssh"
)

// newKey returns a private key as PEM and its public half.
func newKey(t testing.TB) ([]byte, gossh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, "test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer.PublicKey()
}

func newKeys(t testing.TB, o ssh.KeyOptions) *ssh.Keys {
	t.Helper()
	if len(o.PEM)+len(o.Files) == 0 && o.Agent == "" {
		b, _ := newKey(t)
		o.PEM = [][]byte{b}
	}
	k, err := ssh.NewKeys(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// options are those to reach the scripted machine in memory.
func options(t testing.TB, s *sshtest.Server) ssh.Options {
	return ssh.Options{Name: "demo-cp-0", Addr: "10.0.0.1", HostKeys: []string{s.HostKey()}, Through: s, Keys: newKeys(t, ssh.KeyOptions{})}
}

func dial(t testing.TB, o ssh.Options) ssh.Host {
	t.Helper()
	h, err := ssh.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestQuote(t *testing.T) {
	args := []string{"plain", "", "two words", "it's", `back\slash`, "$HOME", "`id`", "new\nline", "*", "-x=1", "é", "'", "a'b'c"}
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+ssh.Quote(args...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(string(out), "\x00"); got != strings.Join(args, "\x00") {
		t.Errorf("sh reads %q, want %q", got, args)
	}
	if got := sshtest.Words(ssh.Quote(args...)); strings.Join(got, "\x00") != strings.Join(args, "\x00") {
		t.Errorf("Words reads %q, want %q", got, args)
	}
}

func TestRun(t *testing.T) {
	s := sshtest.New(sshtest.Options{Shell: true})
	defer s.Close()
	h := dial(t, options(t, s))
	for _, c := range []struct{ line, in, out, errs string }{
		{"echo one; echo two >&2", "", "one\n", "two\n"},
		{"cat", "input", "input", ""},
		{"echo 'a b'; printf '%s' \"$0\"", "", "a b\nsh", ""},
	} {
		res, err := h.Run(context.Background(), ssh.Command{Line: c.line, Stdin: strings.NewReader(c.in)})
		if err != nil || string(res.Stdout) != c.out || string(res.Stderr) != c.errs {
			t.Errorf("%s: got %q, %q, %v; want %q, %q", c.line, res.Stdout, res.Stderr, err, c.out, c.errs)
		}
	}
}

func TestRunFails(t *testing.T) {
	s := sshtest.New(sshtest.Options{Shell: true})
	defer s.Close()
	h := dial(t, options(t, s))
	res, err := h.Run(context.Background(), ssh.Command{Line: "echo out; echo no such thing >&2; exit 7\n# more"})
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.Status != 7 || exit.Host != "demo-cp-0" || string(exit.Stderr) != "no such thing\n" || string(res.Stdout) != "out\n" {
		t.Fatalf("got %#v, %q", err, res.Stdout)
	}
	if want := "demo-cp-0: echo out; echo no such thing >&2; exit 7 …: exit status 7: no such thing"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestRunKeepsTheTail(t *testing.T) {
	s := sshtest.New(sshtest.Options{Answer: func(e *sshtest.Exec) int {
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range 5000 {
			e.Stdout.Write(line)
		}
		fmt.Fprintln(e.Stdout, "the end")
		return 0
	}})
	defer s.Close()
	h := dial(t, options(t, s))
	res, err := h.Run(context.Background(), ssh.Command{Line: "much"})
	if err != nil || len(res.Stdout) != 1<<20 || !bytes.HasSuffix(res.Stdout, []byte("x\nthe end\n")) || res.Dropped != 5000*1024+8-1<<20 {
		t.Errorf("got %d bytes, %d dropped, %v", len(res.Stdout), res.Dropped, err)
	}
	var all bytes.Buffer
	res, err = h.Run(context.Background(), ssh.Command{Line: "much", Stdout: &all})
	if err != nil || all.Len() != 5000*1024+8 || len(res.Stdout) != 0 || res.Dropped != 0 {
		t.Errorf("writer got %d bytes, result %d, %v", all.Len(), len(res.Stdout), err)
	}
}

func TestRunLines(t *testing.T) {
	s := sshtest.New(sshtest.Options{Answer: func(e *sshtest.Exec) int {
		for _, p := range []string{"fir", "st\nsecond\r\nth", "ird"} {
			io.WriteString(e.Stdout, p)
		}
		return 0
	}})
	defer s.Close()
	var lines []string
	_, err := dial(t, options(t, s)).Run(context.Background(), ssh.Command{Line: "x", Lines: func(l string) { lines = append(lines, l) }})
	if got := strings.Join(lines, "|"); err != nil || got != "first|second|third" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestRunMany runs more commands at once than one connection has sessions.
func TestRunMany(t *testing.T) {
	var now, most atomic.Int64
	s := sshtest.New(sshtest.Options{Answer: func(e *sshtest.Exec) int {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		fmt.Fprint(e.Stdout, e.Line)
		return 0
	}})
	defer s.Close()
	h := dial(t, options(t, s))
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			res, err := h.Run(context.Background(), ssh.Command{Line: fmt.Sprint(i)})
			if err != nil || string(res.Stdout) != fmt.Sprint(i) {
				t.Errorf("command %d: %q, %v", i, res.Stdout, err)
			}
		})
	}
	all.Wait()
	if m := most.Load(); m > 8 || m < 2 {
		t.Errorf("%d sessions at once, want 2 to 8", m)
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestRunContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		s := sshtest.New(sshtest.Options{Answer: func(e *sshtest.Exec) int {
			<-e.Context.Done()
			close(ended)
			return -1
		}})
		defer s.Close()
		h := dial(t, options(t, s))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := h.Run(ctx, ssh.Command{Line: "sleep forever"})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		<-ended // the signal arrived
		h.Close()
		s.Close()
	})
}

// TestRunGivenUp gives commands up while their sessions are being opened: the sessions are closed when they come.
func TestRunGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sshtest.New(sshtest.Options{Latency: 200 * time.Millisecond, Answer: func(*sshtest.Exec) int { return 0 }})
		h := dial(t, options(t, s))
		for range 20 { // more than may be open at once
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			if _, err := h.Run(ctx, ssh.Command{Line: "x"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			cancel()
			time.Sleep(5 * time.Second)
		}
		if _, err := h.Run(context.Background(), ssh.Command{Line: "x"}); err != nil {
			t.Error(err)
		}
		h.Close()
		s.Close()
		synctest.Wait()
	})
}

// TestFrozen shows that a machine that hangs is noticed, and that a later command connects anew.
func TestFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sshtest.New(sshtest.Options{Latency: 10 * time.Millisecond, Answer: func(e *sshtest.Exec) int {
			if e.Line == "wait" {
				<-e.Context.Done()
			}
			return 0
		}})
		h := dial(t, options(t, s))
		start := time.Now()
		time.AfterFunc(time.Second, s.Freeze)
		_, err := h.Run(context.Background(), ssh.Command{Line: "wait"})
		var lost *ssh.LostError
		if d := time.Since(start); !errors.As(err, &lost) || d < 45*time.Second || d > 75*time.Second {
			t.Errorf("got %v after %v", err, d)
		}
		if _, err := h.Run(context.Background(), ssh.Command{Line: "again"}); err != nil || s.Connections() != 2 {
			t.Errorf("after it: %v, %d connections", err, s.Connections())
		}
		h.Close()
		s.Close()
		synctest.Wait()
	})
}

// TestCut shows that a command whose connection breaks fails and is not started again.
func TestCut(t *testing.T) {
	var runs atomic.Int64
	s := sshtest.New(sshtest.Options{})
	s = sshtest.New(sshtest.Options{Answer: func(e *sshtest.Exec) int {
		if runs.Add(1) == 1 {
			s.Cut()
			<-e.Context.Done()
		}
		return 0
	}})
	defer s.Close()
	h := dial(t, options(t, s))
	_, err := h.Run(context.Background(), ssh.Command{Line: "x"})
	if lost := new(ssh.LostError); !errors.As(err, &lost) || runs.Load() != 1 {
		t.Errorf("got %v after %d runs", err, runs.Load())
	}
	if _, err := h.Run(context.Background(), ssh.Command{Line: "x"}); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	s := sshtest.New(sshtest.Options{})
	defer s.Close()
	h := dial(t, options(t, s))
	h.Close()
	_, err := h.Run(context.Background(), ssh.Command{Line: "x"})
	if lost := new(ssh.LostError); !errors.As(err, &lost) || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want a LostError: whoever holds a host that another has closed goes on through another one", err)
	}
}

// TestCloseWhileLost closes a host that is about to connect anew.
func TestCloseWhileLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sshtest.New(sshtest.Options{})
		h := dial(t, options(t, s))
		s.Fail(sshtest.Faults{Refuse: -1})
		s.Cut()
		start := time.Now()
		time.AfterFunc(time.Second, func() { h.Close() })
		_, err := h.Run(context.Background(), ssh.Command{Line: "x"})
		if lost := new(ssh.LostError); !errors.As(err, &lost) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want a LostError", err, time.Since(start))
		}
		s.Close()
	})
}

func TestSudo(t *testing.T) {
	s := sshtest.New(sshtest.Options{Answer: func(e *sshtest.Exec) int {
		fmt.Fprintf(e.Stdout, "%v %s", e.Sudo, e.Line)
		return 0
	}})
	defer s.Close()
	o := options(t, s)
	o.User, o.Sudo = "admin", true
	h := dial(t, o)
	res, err := h.Run(context.Background(), ssh.Command{Line: "id -u; echo 'x y'"})
	if string(res.Stdout) != "true id -u; echo 'x y'" || err != nil {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	res, err = h.Run(context.Background(), ssh.Command{Line: "id", Login: true})
	if string(res.Stdout) != "false id" || err != nil {
		t.Errorf("as the user: got %q, %v", res.Stdout, err)
	}
	for words, password := range map[string]bool{
		"sudo: a password is required":                 true,
		"admin is not in the sudoers file.":            false,
		"sudo: sorry, you must have a tty to run sudo": false,
	} {
		s.Fail(sshtest.Faults{Sudo: words})
		_, err := h.Run(context.Background(), ssh.Command{Line: "id", Stderr: io.Discard})
		var e *ssh.SudoError
		if !errors.As(err, &e) || e.Password != password || e.User != "admin" || e.Reason != words {
			t.Errorf("%s: got %#v", words, err)
		}
	}
}
