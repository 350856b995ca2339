package balancer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A server on loopback says its name to everybody who connects, and then repeats what it hears.
type server struct {
	name string
	l    net.Listener
	mu   sync.Mutex
	sick bool
}

func serve(t *testing.T, name string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{name: name, l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintln(c, name)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return s
}

func (s *server) address() string { return s.l.Addr().String() }

func (s *server) setSick(sick bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sick = sick
}

func (s *server) isSick() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sick
}

// open returns a balancer that serves on loopback, and where.
func open(t *testing.T, o Options) (*Balancer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not return")
		}
	})
	return b, l.Addr().String()
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

// dial connects and returns who answers.
func dial(t *testing.T, address string) (string, conn) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", conn{c, r}
	}
	return line[:len(line)-1], conn{c, r}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not %s in time", what)
}

func healthy(b *Balancer, n int) func() bool {
	return func() bool {
		have := 0
		for _, s := range b.State() {
			if s.Healthy {
				have++
			}
		}
		return have == n
	}
}

// probes returns a probe that believes what the servers say of themselves.
func probes(servers ...*server) func(context.Context, string) error {
	return func(_ context.Context, address string) error {
		for _, s := range servers {
			if s.address() == address && !s.isSick() {
				return nil
			}
		}
		return errors.New("sick")
	}
}

func TestForwardsBothWays(t *testing.T) {
	a := serve(t, "a")
	b, address := open(t, Options{})
	b.Set(t.Context(), []string{a.address()}, "")
	name, c := dial(t, address)
	if name != "a" {
		t.Fatalf("%q answers", name)
	}
	fmt.Fprintln(c, "hello")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil { // a half that ends leaves the other open
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.r); err != nil || string(rest) != "hello\n" {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestFewestConnectionsFirst(t *testing.T) {
	a, z := serve(t, "a"), serve(t, "z")
	b, address := open(t, Options{})
	b.Set(t.Context(), []string{a.address(), z.address()}, "")
	await(t, "healthy", healthy(b, 2))
	count := map[string]int{}
	for i := range 10 {
		name, _ := dial(t, address)
		count[name]++
		await(t, "counted", func() bool { s := b.State(); return s[0].Connections+s[1].Connections == i+1 })
	}
	if count["a"] != 5 || count["z"] != 5 {
		t.Errorf("connections went to %v", count)
	}
}

func TestPreferred(t *testing.T) {
	a, z := serve(t, "a"), serve(t, "z")
	b, address := open(t, Options{Probe: probes(a, z)})
	b.Set(t.Context(), []string{a.address(), z.address()}, z.address())
	await(t, "healthy", healthy(b, 2))
	for range 5 {
		if name, _ := dial(t, address); name != "z" {
			t.Fatalf("%q answers, want the preferred", name)
		}
	}
	z.setSick(true)
	await(t, "one sick", healthy(b, 1))
	if name, _ := dial(t, address); name != "a" {
		t.Errorf("%q answers, want the one that is well", name)
	}
}

func TestSickEndpointLosesItsConnections(t *testing.T) {
	a, z := serve(t, "a"), serve(t, "z")
	b, address := open(t, Options{Probe: probes(a, z)})
	b.Set(t.Context(), []string{a.address(), z.address()}, a.address())
	await(t, "healthy", healthy(b, 2))
	_, c := dial(t, address)
	a.setSick(true) // it still accepts, and may say nothing sensible ever again
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the connection lives on")
	}
	if name, _ := dial(t, address); name != "z" {
		t.Errorf("%q answers", name)
	}
	// With nowhere else to go, connections stay.
	_, last := dial(t, address)
	z.setSick(true)
	await(t, "all sick", healthy(b, 0))
	fmt.Fprintln(last, "still here")
	if line, err := last.r.ReadString('\n'); err != nil || line != "still here\n" {
		t.Errorf("got %q, %v", line, err)
	}
	if name, _ := dial(t, address); name == "" {
		t.Error("nobody answers, though both would")
	}
}

func TestDeadEndpointIsSkipped(t *testing.T) {
	a, z := serve(t, "a"), serve(t, "z")
	b, address := open(t, Options{Probe: probes(a, z)})
	b.Set(t.Context(), []string{a.address(), z.address()}, a.address())
	await(t, "healthy", healthy(b, 2))
	a.l.Close() // and no probe has seen it yet
	if name, _ := dial(t, address); name != "z" {
		t.Errorf("%q answers", name)
	}
}

func TestNobodyThere(t *testing.T) {
	b, address := open(t, Options{})
	if name, _ := dial(t, address); name != "" {
		t.Errorf("%q answers", name)
	}
	a := serve(t, "a")
	a.l.Close()
	b.Set(t.Context(), []string{a.address()}, "")
	if name, _ := dial(t, address); name != "" {
		t.Errorf("%q answers", name)
	}
}

func TestRemovedEndpoint(t *testing.T) {
	a, z := serve(t, "a"), serve(t, "z")
	b, address := open(t, Options{})
	b.Set(t.Context(), []string{a.address()}, "")
	_, c := dial(t, address)
	b.Set(t.Context(), []string{z.address()}, "")
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("a connection to an endpoint that was removed lives on")
	}
	if name, _ := dial(t, address); name != "z" {
		t.Errorf("%q answers", name)
	}
	if s := b.State(); len(s) != 1 || s[0].Address != z.address() {
		t.Errorf("state is %v", s)
	}
}

// TestMoved gives the machine another address: connections from the old one are dead without a word.
func TestMoved(t *testing.T) {
	a := serve(t, "a")
	b, address := open(t, Options{})
	b.Set(t.Context(), []string{a.address()}, "192.0.2.1:6443")
	_, c := dial(t, address)
	b.Set(t.Context(), []string{a.address()}, "192.0.2.1:6443")
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if x, err := c.r.ReadByte(); err != nil || x != 'x' {
		t.Fatalf("nothing has changed, and the connection says %q, %v", x, err)
	}
	b.Set(t.Context(), []string{a.address()}, "192.0.2.2:6443")
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("a connection from the machine's old address lives on")
	}
	if name, _ := dial(t, address); name != "a" {
		t.Errorf("%q answers", name)
	}
}
