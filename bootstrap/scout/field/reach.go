//go:build linux

package field

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// listen puts up listeners for the time of a check: listen ADDRESS TOKEN PROTOCOL/PORT…. It says for each port whether it
// did: "ok", "busy" if another program listens there, or why not. A listener tells who connects the token, and datagrams
// that begin with it are answered by their length.
func (s *scout) listen(r *request, args []string) (string, error) {
	token := args[1]
	for _, a := range args[2:] {
		proto, port, _ := strings.Cut(a, "/")
		var err error
		if addr := net.JoinHostPort(args[0], port); proto == "tcp" {
			err = s.listenTCP(addr, token)
		} else {
			err = s.listenUDP(addr, token)
		}
		switch {
		case err == nil:
			r.say(a, "ok")
		case errors.Is(err, syscall.EADDRINUSE):
			r.say(a, "busy")
		default:
			r.say(a, plain(err))
		}
	}
	return "", nil
}

func (s *scout) listenTCP(addr, token string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.keep(l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(greet))
			io.WriteString(c, token+"\n")
			c.Close()
		}
	}()
	return nil
}

func (s *scout) listenUDP(addr, token string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	s.keep(c)
	go func() {
		for b := make([]byte, 64<<10); ; {
			n, from, err := c.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || !strings.HasPrefix(string(b[:min(n, len(token))]), token) {
				continue
			}
			host, _, _ := net.SplitHostPort(from.String())
			s.mu.Lock()
			s.heard[host] = true
			s.mu.Unlock()
			c.WriteTo([]byte(token+" "+strconv.Itoa(n)), from)
		}
	}()
	return nil
}

// listHeard says whose datagrams came: heard.
func (s *scout) listHeard(r *request, _ []string) (string, error) {
	s.mu.Lock()
	var all []string
	for host := range s.heard {
		all = append(all, host)
	}
	s.mu.Unlock()
	for _, host := range all {
		r.say(host)
	}
	return "", nil
}

// A target is a port of a peer: ADDRESS/PROTOCOL/PORT, with /any behind it if another program than a scout answers there.
type target struct {
	addr  string
	proto string
	any   bool
}

func parseTarget(s string) target {
	p := append(strings.Split(s, "/"), "", "", "")
	return target{net.JoinHostPort(p[0], p[2]), p[1], p[3] == "any"}
}

// atOnce is how many ports are tried side by side.
const atOnce = 256

// reach tries ports of peers: reach TOKEN TARGET…. It says those that do not answer as they should, with how they answer:
// silent, refused, unreachable, stranger, or the system's words; and answers how many were tried.
func reach(r *request, args []string) (string, error) {
	raiseFiles()
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, t := range args[1:] {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if how := try(parseTarget(t), args[0]); how != "" {
				r.say(strings.TrimSuffix(t, "/any"), how)
			}
		})
	}
	all.Wait()
	return strconv.Itoa(len(args) - 1), nil
}

// raiseFiles lets this process have as many open files as it may.
func raiseFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

func try(t target, token string) string {
	if t.proto == "udp" {
		return tryUDP(t.addr, token)
	}
	c, err := net.DialTimeout("tcp", t.addr, connect)
	if err != nil {
		return how(err)
	}
	defer c.Close()
	if t.any {
		return ""
	}
	c.SetDeadline(time.Now().Add(connect))
	if line := readLine(c); line != token {
		return "stranger"
	}
	return ""
}

// how names the way in which a port does not answer.
func how(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "silent"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
		return "unreachable"
	case errors.Is(err, syscall.EPERM):
		return "forbidden"
	}
	return plain(err)
}

const (
	datagramTries = 4
	datagramWait  = 400 * time.Millisecond
)

func tryUDP(addr, token string) string {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return how(err)
	}
	defer c.Close()
	last := "silent"
	for range datagramTries {
		ok, err := echo(c, token, len(token), datagramWait)
		if ok {
			return ""
		}
		if err != nil {
			last = how(err)
		}
	}
	return last
}

// echo sends a datagram of that many bytes and waits for its answer.
func echo(c net.Conn, token string, size int, wait time.Duration) (bool, error) {
	b := make([]byte, size)
	copy(b, token)
	if _, err := c.Write(b); err != nil {
		return false, err
	}
	end := time.Now().Add(wait)
	c.SetReadDeadline(end)
	for answer := make([]byte, 256); time.Now().Before(end); {
		n, err := c.Read(answer)
		if err != nil {
			return false, err
		}
		if string(answer[:n]) == token+" "+strconv.Itoa(size) {
			return true, nil // not that to an earlier one
		}
	}
	return false, os.ErrDeadlineExceeded
}

// links says what network interfaces there are, except for the loopback: NAME MTU MAC PREFIX….
func links(r *request, _ []string) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", errors.New(plain(err))
	}
	for _, l := range all {
		if l.Flags&net.FlagLoopback != 0 {
			continue
		}
		words := []string{l.Name, strconv.Itoa(l.MTU), l.HardwareAddr.String()}
		if len(l.HardwareAddr) == 0 {
			words[2] = "-"
		}
		addrs, _ := l.Addrs()
		for _, a := range addrs {
			words = append(words, a.String())
		}
		r.say(words...)
	}
	return "", nil
}
