package forwarder

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	udpIdle     = time.Minute // how long a client may be silent before it is forgotten
	maxSessions = 20000       // clients of one port at a time
)

// sessions are the clients of a UDP port.
type sessions struct {
	mu  sync.Mutex
	all map[netip.AddrPort]*session
}

// A session is one client and its target.
type session struct {
	*net.UDPConn // to the target
	backend      *backend
}

// receiveAll passes on the datagrams that come to the port until it is closed.
func (p *port) receiveAll(l *net.UDPConn) {
	s := &sessions{all: map[netip.AddrPort]*session{}}
	defer s.close()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := l.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		r := p.rules.Load()
		if err != nil || r == nil || !r.lets(from.Addr()) {
			continue
		}
		to := s.of(p, r, l, from)
		if to == nil {
			continue
		}
		_ = to.SetReadDeadline(time.Now().Add(r.udpIdle())) // fails if it was closed, and then so does Write
		if _, err := to.Write(buf[:n]); err != nil {        // refused: the one before came to a port where nobody listens
			to.backend.suspect()
		}
	}
}

// of returns the client's session, a new one if there is none or its target is gone.
func (s *sessions) of(p *port, r *rules, l *net.UDPConn, client netip.AddrPort) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.all[client]; old != nil {
		if old.backend.healthy() || !r.anyHealthy() {
			return old
		}
		old.Close()
		delete(s.all, client)
	}
	if len(s.all) >= maxSessions {
		return nil
	}
	for _, b := range r.order(p.turn.Add(1)) {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.target))
		if err != nil {
			b.suspect()
			continue
		}
		next := &session{c, b}
		s.all[client] = next
		b.hold(c)
		go s.answer(l, client, next, r.udpIdle())
		return next
	}
	return nil
}

// udpIdle is how long a client may be silent.
func (r *rules) udpIdle() time.Duration {
	if r.idle > 0 {
		return r.idle
	}
	return udpIdle
}

// answer passes on what the target says until it has said nothing for a while, or the session is closed.
func (s *sessions) answer(l *net.UDPConn, client netip.AddrPort, one *session, idle time.Duration) {
	defer func() {
		one.Close()
		one.backend.release(one.UDPConn)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.all[client] == one {
			delete(s.all, client)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		if one.SetReadDeadline(time.Now().Add(idle)) != nil {
			return
		}
		n, err := one.Read(buf)
		if err != nil {
			return
		}
		if _, err := l.WriteToUDPAddrPort(buf[:n], client); err != nil {
			return
		}
	}
}

func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		one.Close()
	}
}
