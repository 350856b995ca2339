//go:build linux

package forwarder_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local/forwarder"
)

// The loopback link has all of 127.0.0.0/8: targets are hosts of one port each.
var (
	here = netip.MustParseAddr("127.77.0.1")
	one  = netip.MustParseAddr("127.77.0.2")
	two  = netip.MustParseAddr("127.77.0.3")
)

// free returns a port that nobody listens at on the addresses.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(here, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A host is a target that answers each connection with its address, and then with what it is told.
type host struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func serve(t *testing.T, at netip.Addr, port int) *host {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns = append(h.conns, c)
			h.mu.Unlock()
			go func() {
				defer c.Close()
				fmt.Fprintln(c, at)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(h.die)
	return h
}

// die ends the host, connections included.
func (h *host) die() {
	h.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.Close()
	}
}

func forward(t *testing.T, c forwarder.Config) *forwarder.Forwarder {
	t.Helper()
	f := forwarder.New(here, t.Logf)
	t.Cleanup(func() {
		f.Close()
		time.Sleep(10 * time.Millisecond) // what it still has to say must not be said after the test
	})
	if err := f.Apply(c); err != nil {
		t.Fatal(err)
	}
	return f
}

// within waits until the condition holds, and returns how long it took.
func within(t *testing.T, d time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for ; !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > d {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
	return time.Since(start)
}

// ask connects and returns the connection and who answered; "" if nobody did.
func ask(port int) (net.Conn, string) {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(here, uint16(port)).String(), time.Second)
	if err != nil {
		return nil, ""
	}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(io.LimitReader(c, int64(len("127.77.0.2\n")))).ReadString('\n')
	if err != nil {
		c.Close()
		return nil, ""
	}
	return c, strings.TrimSpace(line)
}

func asked(port int) string {
	c, who := ask(port)
	if c != nil {
		c.Close()
	}
	return who
}

func tcp(port, target int) providers.BalancerPort {
	return providers.BalancerPort{Name: "web", Protocol: "tcp", Port: port, TargetPort: target}
}

func TestSpreadsAndPasses(t *testing.T) {
	port, target := free(t), free(t)
	serve(t, one, target)
	serve(t, two, target)
	f := forward(t, forwarder.Config{Ports: []providers.BalancerPort{tcp(port, target)}, Targets: []netip.Addr{one, two}})
	within(t, 2*time.Second, "both are healthy", func() bool { return slices.Equal(f.Healthy("tcp", port), []netip.Addr{one, two}) })
	count := map[string]int{}
	for range 20 {
		count[asked(port)]++
	}
	if count[one.String()] != 10 || count[two.String()] != 10 {
		t.Errorf("20 connections went to %v, want ten to each", count)
	}
	c, _ := ask(port)
	defer c.Close()
	said := strings.Repeat("0123456789", 100_000)
	go func() {
		_, _ = io.WriteString(c, said)
		c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || string(got) != said {
		t.Errorf("a million bytes came back as %d, %v", len(got), err)
	}
}

func TestDeadTargetIsOut(t *testing.T) {
	port, target := free(t), free(t)
	first := serve(t, one, target)
	serve(t, two, target)
	f := forward(t, forwarder.Config{Ports: []providers.BalancerPort{tcp(port, target)}, Targets: []netip.Addr{one, two}})
	within(t, 2*time.Second, "both are healthy", func() bool { return len(f.Healthy("tcp", port)) == 2 })
	first.die()
	for range 10 { // even before anybody has noticed
		if who := asked(port); who != two.String() {
			t.Errorf("%q answered after %s died", who, one)
		}
	}
	took := within(t, 2*time.Second, "it is out", func() bool { return slices.Equal(f.Healthy("tcp", port), []netip.Addr{two}) })
	t.Logf("out after %s", took)
	serve(t, one, target)
	took = within(t, 2*time.Second, "it is in again", func() bool { return len(f.Healthy("tcp", port)) == 2 })
	t.Logf("in again after %s", took)
}

// silent listens as a host that is gone does: after the first few nobody's connection is accepted, nor refused.
func silent(t *testing.T, at netip.Addr, port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: at.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
}

// TestConnectionsOfTheSilentAreReset lets a target's host fall silent while it holds a connection open.
func TestConnectionsOfTheSilentAreReset(t *testing.T) {
	port, target, health := free(t), free(t), free(t)
	serve(t, one, target)
	silent(t, one, health)
	spec := tcp(port, target)
	spec.HealthPort = health
	f := forward(t, forwarder.Config{Ports: []providers.BalancerPort{spec}, Targets: []netip.Addr{one}})
	c, _ := ask(port)
	defer c.Close()
	within(t, 5*time.Second, "it is out", func() bool { return len(f.Healthy("tcp", port)) == 0 })
	if _, err := fmt.Fprint(c, "x"); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("the connection was cut as soon as the target was out: %v", err)
	}
	start := time.Now()
	if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) > 4500*time.Millisecond {
		t.Errorf("the connection was cut with %v after %s", err, time.Since(start))
	}
	if who := asked(port); who != one.String() {
		t.Errorf("with no healthy target %q answered, want whoever can", who)
	}
}

func TestHealthPath(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var mu sync.Mutex
			status := http.StatusOK
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if r.URL.Path != "/healthz" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.WriteHeader(status)
			}))
			health := free(t)
			l, err := net.Listen("tcp", netip.AddrPortFrom(one, uint16(health)).String())
			if err != nil {
				t.Fatal(err)
			}
			srv.Listener.Close()
			srv.Listener = l
			srv.Config.ErrorLog = nil
			if scheme == "https" {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			spec := tcp(free(t), free(t))
			spec.HealthPort, spec.HealthPath = health, "/healthz"
			f := forward(t, forwarder.Config{Ports: []providers.BalancerPort{spec}, Targets: []netip.Addr{one}})
			within(t, 3*time.Second, "it is healthy", func() bool { return len(f.Healthy("tcp", spec.Port)) == 1 })
			mu.Lock()
			status = http.StatusServiceUnavailable
			mu.Unlock()
			within(t, 2*time.Second, "it is out", func() bool { return len(f.Healthy("tcp", spec.Port)) == 0 })
		})
	}
}

func TestSources(t *testing.T) {
	port, target := free(t), free(t)
	serve(t, one, target)
	c := forwarder.Config{Ports: []providers.BalancerPort{tcp(port, target)}, Targets: []netip.Addr{one}}
	c.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	f := forward(t, c)
	if who := asked(port); who != "" {
		t.Errorf("a client that may not connect was answered by %s", who)
	}
	c.Sources = append(c.Sources, netip.MustParsePrefix("127.0.0.0/8"))
	if err := f.Apply(c); err != nil {
		t.Fatal(err)
	}
	if who := asked(port); who != one.String() {
		t.Errorf("a client that may connect was answered by %q", who)
	}
}

func TestProxyProtocol(t *testing.T) {
	port, target := free(t), free(t)
	l, err := net.Listen("tcp", netip.AddrPortFrom(one, uint16(target)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	headers := make(chan []byte, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 28)
			if _, err := io.ReadFull(c, b); err == nil { // a health check says nothing
				headers <- b
			}
			c.Close()
		}
	}()
	spec := tcp(port, target)
	spec.ProxyProtocol = true
	forward(t, forwarder.Config{Ports: []providers.BalancerPort{spec}, Targets: []netip.Addr{one}})
	c, err := net.Dial("tcp", netip.AddrPortFrom(here, uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mine := c.LocalAddr().(*net.TCPAddr).AddrPort()
	want := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	want = append(append(want, mine.Addr().AsSlice()...), here.AsSlice()...)
	want = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(want, mine.Port()), uint16(port))
	select {
	case got := <-headers:
		if string(got) != string(want) {
			t.Errorf("the target was told %q, want %q", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Error("the target was told nothing")
	}
}

func TestIdle(t *testing.T) {
	port, target := free(t), free(t)
	serve(t, one, target)
	spec := tcp(port, target)
	spec.IdleSeconds = 1
	forward(t, forwarder.Config{Ports: []providers.BalancerPort{spec}, Targets: []netip.Addr{one}})
	c, _ := ask(port)
	defer c.Close()
	start := time.Now()
	for time.Since(start) < 1500*time.Millisecond { // longer than it may be idle, but never idle
		time.Sleep(200 * time.Millisecond)
		if _, err := fmt.Fprint(c, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("a busy connection was cut after %s: %v", time.Since(start), err)
		}
	}
	start = time.Now()
	_, err := c.Read(make([]byte, 1))
	if took := time.Since(start); err == nil || took < 500*time.Millisecond || took > 3*time.Second {
		t.Errorf("an idle connection was cut after %s, %v; want after a second", took, err)
	}
}

// TestApply changes ports and targets under a connection.
func TestApply(t *testing.T) {
	port, other, target := free(t), free(t), free(t)
	serve(t, one, target)
	serve(t, two, target)
	c := forwarder.Config{Ports: []providers.BalancerPort{tcp(port, target)}, Targets: []netip.Addr{one}}
	f := forward(t, c)
	old, who := ask(port)
	if who != one.String() {
		t.Fatalf("%q answered", who)
	}
	defer old.Close()
	c.Ports, c.Targets = append(c.Ports, tcp(other, target)), []netip.Addr{two}
	if err := f.Apply(c); err != nil {
		t.Fatal(err)
	}
	if a, b := asked(port), asked(other); a != two.String() || b != two.String() {
		t.Errorf("%q and %q answered, want the new target on the old and the new port", a, b)
	}
	c.Ports = c.Ports[1:]
	if err := f.Apply(c); err != nil {
		t.Fatal(err)
	}
	if who := asked(port); who != "" {
		t.Errorf("%s answered on a port that was taken away", who)
	}
	if _, err := fmt.Fprint(old, "x"); err != nil {
		t.Error(err)
	}
	if _, err := old.Read(make([]byte, 1)); err != nil {
		t.Errorf("a connection from before was cut: %v", err)
	}
	if err := f.Apply(forwarder.Config{Ports: []providers.BalancerPort{{Protocol: "sctp", Port: 1, TargetPort: 1}}}); providers.KindOf(err) != providers.Invalid {
		t.Errorf("Apply of a port of another protocol = %v, want Invalid", err)
	}
}

func TestUDP(t *testing.T) {
	port, target := free(t), free(t)
	for _, at := range []netip.Addr{one, two} {
		l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, uint16(target))))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := l.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				_, _ = l.WriteToUDPAddrPort([]byte(at.String()+" "+string(buf[:n])), from)
			}
		}()
	}
	health := free(t)
	first, second := serve(t, one, health), serve(t, two, health)
	spec := providers.BalancerPort{Name: "dns", Protocol: "udp", Port: port, TargetPort: target, HealthPort: health}
	f := forward(t, forwarder.Config{Ports: []providers.BalancerPort{spec}, Targets: []netip.Addr{one, two}})
	within(t, 2*time.Second, "both are healthy", func() bool { return len(f.Healthy("udp", port)) == 2 })
	say := func(c *net.UDPConn, words string) string {
		_, _ = c.Write([]byte(words))
		c.SetReadDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 100)
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	client := func() *net.UDPConn {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(here, uint16(port))))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	a, b := client(), client()
	whoA, whoB := say(a, "x"), say(b, "x")
	if whoA == whoB || whoA == "" || whoB == "" {
		t.Errorf("two clients were answered by %q and %q, want one by each", whoA, whoB)
	}
	if again := say(a, "x"); again != whoA {
		t.Errorf("one client was answered by %q and then by %q", whoA, again)
	}
	dead, left := first, whoB
	if strings.HasPrefix(whoA, two.String()) {
		dead = second
	}
	dead.die()
	within(t, 2*time.Second, "the dead one is out", func() bool { return len(f.Healthy("udp", port)) == 1 })
	if again := say(a, "x"); again != left {
		t.Errorf("after its target died the client was answered by %q, want %q", again, left)
	}
}

// TestManyConnections holds hundreds at a time.
func TestManyConnections(t *testing.T) {
	port, target := free(t), free(t)
	serve(t, one, target)
	serve(t, two, target)
	forward(t, forwarder.Config{Ports: []providers.BalancerPort{tcp(port, target)}, Targets: []netip.Addr{one, two}})
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			c, who := ask(port)
			if who == "" {
				t.Error("nobody answered")
				return
			}
			defer c.Close()
			if _, err := fmt.Fprint(c, "x"); err != nil {
				t.Error(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
