package forwarder

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// dialLimit is how long a target may take to accept a connection.
const dialLimit = time.Second

// acceptAll serves the connections that come to the port until it is closed.
func (p *port) acceptAll(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too many open files, for a while
			p.say("accept at %s: %v", l.Addr(), err)
			time.Sleep(50 * time.Millisecond)
		default:
			go p.serve(c)
		}
	}
}

// serve takes a connection to a target.
func (p *port) serve(client *net.TCPConn) {
	from := client.RemoteAddr().(*net.TCPAddr).AddrPort()
	r := p.rules.Load()
	if r == nil || !r.lets(from.Addr()) {
		abort(client)
		return
	}
	for _, b := range r.order(p.turn.Add(1)) {
		c, err := net.DialTimeout("tcp", b.target.String(), dialLimit)
		if err != nil {
			b.suspect()
			continue
		}
		target := c.(*net.TCPConn)
		if r.proxyProtocol {
			if _, err := target.Write(proxyHeader(from, client.LocalAddr().(*net.TCPAddr).AddrPort())); err != nil {
				abort(target)
				continue
			}
		}
		join(client, target, b, r.idle)
		return
	}
	abort(client)
}

// abort ends a connection with a reset, so that the other side knows at once.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0) // it is closed next, whatever comes of this
	c.Close()
}

// A pair is a client's connection and the one to its target.
type pair struct{ client, target *net.TCPConn }

// Close resets both.
func (p *pair) Close() error {
	abort(p.client)
	abort(p.target)
	return nil
}

// join passes on what both say until both have said all.
func join(client, target *net.TCPConn, b *backend, idle time.Duration) {
	both := &pair{client, target}
	b.hold(both)
	defer b.release(both)
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var wg sync.WaitGroup
	pass := func(to, from *net.TCPConn) {
		if err := relay(to, from, idle, &last); err != nil {
			both.Close()
			return
		}
		if to.CloseWrite() != nil {
			both.Close()
		}
	}
	wg.Go(func() { pass(target, client) })
	wg.Go(func() { pass(client, target) })
	wg.Wait()
	client.Close()
	target.Close()
}

// relay passes on what from says until it has said all. If idle is not 0, it is an error that neither side has said
// anything for so long.
func relay(to, from *net.TCPConn, idle time.Duration, last *atomic.Int64) error {
	if idle == 0 {
		_, err := io.Copy(to, from) // within the kernel
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		quiet := time.Since(time.Unix(0, last.Load()))
		if quiet >= idle {
			return os.ErrDeadlineExceeded
		}
		if err := from.SetReadDeadline(time.Now().Add(idle - quiet)); err != nil {
			return err
		}
		n, err := from.Read(buf)
		if n > 0 {
			last.Store(time.Now().UnixNano())
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// proxyHeader tells a target who the client is, in version 2 of the PROXY protocol.
func proxyHeader(client, here netip.AddrPort) []byte {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21")
	from, to := client.Addr().Unmap(), here.Addr().Unmap()
	if from.Is4() && to.Is4() {
		b = append(b, 0x11)
		b = binary.BigEndian.AppendUint16(b, 12)
	} else {
		from, to = netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16())
		b = append(b, 0x21)
		b = binary.BigEndian.AppendUint16(b, 36)
	}
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, here.Port())
}
