package ssh_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	gossh "golang.org/x/crypto/ssh"
)

func TestDialBoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sshtest.New(sshtest.Options{})
		s.Fail(sshtest.Faults{Refuse: 20})
		start := time.Now()
		h := dial(t, options(t, s))
		if d := time.Since(start); d > 8*time.Second {
			t.Errorf("connected after %v", d)
		}
		h.Close()
		s.Close()
	})
}

func TestDialFails(t *testing.T) {
	other := sshtest.New(sshtest.Options{})
	_, public := newKey(t)
	for _, c := range []struct {
		name    string
		options sshtest.Options
		faults  sshtest.Faults
		change  func(*sshtest.Server, *ssh.Options)
		after   time.Duration
		check   func(error) bool
	}{
		{name: "nothing there", faults: sshtest.Faults{Refuse: -1}, after: 5 * time.Minute, check: func(err error) bool {
			var e *ssh.UnreachableError
			return errors.As(err, &e) && e.Tries > 500 && e.Addr == "10.0.0.1:22"
		}},
		{name: "silent", faults: sshtest.Faults{Silent: true}, after: 20*time.Second + 20*time.Millisecond, check: func(err error) bool {
			var e *ssh.SilentError
			return errors.As(err, &e) && e.For == 10*time.Second
		}},
		{name: "other host key", change: func(s *sshtest.Server, _ *ssh.Options) { s.ChangeHostKey() }, check: func(err error) bool {
			var e *ssh.HostKeyChanged
			return errors.As(err, &e) && strings.HasPrefix(e.Got, "SHA256:") && len(e.Want) == 1 && e.Got != e.Want[0]
		}},
		{name: "other kind of host key", change: func(_ *sshtest.Server, o *ssh.Options) { o.HostKeys = []string{ecdsaKey} }, check: func(err error) bool {
			var e *ssh.HostKeyChanged
			return errors.As(err, &e) && e.Got == "" && len(e.Want) == 1
		}},
		{name: "no host key", change: func(_ *sshtest.Server, o *ssh.Options) { o.HostKeys = nil }, check: func(err error) bool {
			return strings.Contains(err.Error(), "no host key is known")
		}},
		{name: "key refused", options: sshtest.Options{Keys: []gossh.PublicKey{public}}, check: func(err error) bool {
			var e *ssh.AuthError
			return errors.As(err, &e) && len(e.Offered) == 1 && strings.Contains(e.Offered[0], "SHA256:")
		}},
		{name: "user refused", options: sshtest.Options{Users: []string{"admin"}}, check: func(err error) bool {
			var e *ssh.AuthError
			return errors.As(err, &e) && e.User == "root"
		}},
		{name: "users refused while booting", options: sshtest.Options{Users: []string{"admin"}, Banner: "System is booting up.\n"}, after: 5 * time.Minute,
			check: func(err error) bool { return errors.As(err, new(*ssh.UnreachableError)) }},
		{name: "bad address", change: func(_ *sshtest.Server, o *ssh.Options) { o.Through = failing{} }, after: 5 * time.Minute,
			check: func(err error) bool { return errors.As(err, new(*ssh.UnreachableError)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sshtest.New(c.options)
				o := options(t, s)
				o.Timeout = 5 * time.Minute
				s.Fail(c.faults)
				if c.change != nil {
					c.change(s, &o)
				}
				start := time.Now()
				_, err := ssh.Dial(context.Background(), o)
				if err == nil || !c.check(err) {
					t.Errorf("got %v", err)
				}
				if d := time.Since(start); d != c.after {
					t.Errorf("gave up after %v, want %v", d, c.after)
				}
				s.Close()
			})
		})
	}
	other.Close()
}

const ecdsaKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="

type failing struct{}

func (failing) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no route to host")
}

// TestDialCancelled shows that a caller who gives up is told just that, at once.
func TestDialCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sshtest.New(sshtest.Options{})
		s.Fail(sshtest.Faults{Silent: true})
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		_, err := ssh.Dial(ctx, options(t, s))
		if !errors.Is(err, context.Canceled) || time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		s.Close()
	})
}

// TestBastion reaches a machine through another, which itself is reached through a third.
func TestBastion(t *testing.T) {
	target := sshtest.New(sshtest.Options{Latency: time.Millisecond, Answer: func(e *sshtest.Exec) int {
		fmt.Fprint(e.Stdout, "target")
		return 0
	}})
	defer target.Close()
	inner := sshtest.New(sshtest.Options{Forward: func(_, addr string) (net.Conn, error) {
		if addr != "10.0.0.1:22" {
			return nil, fmt.Errorf("no route to %s", addr)
		}
		return target.Dial(context.Background(), "tcp", addr)
	}})
	defer inner.Close()
	outer := sshtest.New(sshtest.Options{Forward: func(_, addr string) (net.Conn, error) {
		return inner.Dial(context.Background(), "tcp", addr)
	}})
	defer outer.Close()

	first := dial(t, options(t, outer))
	o := options(t, inner)
	o.Through = first
	second := dial(t, o)
	o = options(t, target)
	o.Through = second
	res, err := dial(t, o).Run(context.Background(), ssh.Command{Line: "who"})
	if err != nil || string(res.Stdout) != "target" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	target.ChangeHostKey()
	if _, err = ssh.Dial(context.Background(), o); !errors.As(err, new(*ssh.HostKeyChanged)) {
		t.Errorf("other key behind the bastion: got %v", err)
	}
	o.Addr, o.Timeout = "10.0.0.2", 100*time.Millisecond
	if _, err = ssh.Dial(context.Background(), o); !errors.As(err, new(*ssh.UnreachableError)) {
		t.Errorf("nothing behind the bastion: got %v", err)
	}
}
