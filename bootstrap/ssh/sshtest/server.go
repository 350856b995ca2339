// Package sshtest is the other side of package ssh for tests: machines that speak SSH, answer by a script, keep files in
// memory, are far away if wanted, and fail on request. Hundreds of them fit in one process, and in a synctest bubble.
package sshtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// Options says how a machine behaves.
type Options struct {
	Answer  func(*Exec) int   // runs a command and returns its status; nil knows no command
	Shell   bool              // commands are run by this computer's sh, and files are its files
	Latency time.Duration     // of each direction
	Users   []string          // who may log in; nil is everybody
	Keys    []gossh.PublicKey // that are let in; nil is every key
	Banner  string            // shown before the login
	Forward func(network, addr string) (net.Conn, error)
}

// Faults are what goes wrong at a machine. All can be changed while it runs.
type Faults struct {
	Refuse    int    // so many connections are refused, -1: all
	Silent    bool   // connections are accepted and nothing is said
	CutAfter  int64  // the connection is cut when a command has read so many bytes of input; once
	FullAfter int64  // the disk is full when so many bytes of an upload have arrived
	Damage    int    // so many uploads arrive with a wrong byte
	Sudo      string // sudo says this and does nothing
}

// A Server is a machine that answers SSH. Its methods are safe for concurrent use.
type Server struct {
	o   Options
	Log *Log // what was run

	mu       sync.Mutex
	key      gossh.Signer
	faults   Faults
	files    map[string]*file
	conns    map[*link]bool
	listener net.Listener
	closed   bool
	accepted int
}

// New returns a machine with a new host key and no files.
func New(o Options) *Server {
	s := &Server{o: o, Log: new(Log), files: map[string]*file{}, conns: map[*link]bool{}}
	s.ChangeHostKey()
	return s
}

// ChangeHostKey gives the machine another host key.
func (s *Server) ChangeHostKey() {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // the system has no randomness
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		panic(err) // ed25519 is known
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = signer
}

// HostKey returns the public host key as a line of known_hosts has it.
func (s *Server) HostKey() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(s.key.PublicKey())))
}

// Fail sets what goes wrong from now on.
func (s *Server) Fail(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Faults returns what is left of the faults.
func (s *Server) Faults() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// Connections returns how many connections were accepted so far.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Dial connects to the machine in memory, whatever the address. It makes a Server an ssh.Dialer.
func (s *Server) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	a, b, err := s.accept()
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: fmt.Errorf("%s: %w", addr, err)}
	}
	select {
	case <-time.After(2 * s.o.Latency): // SYN and its answer
	case <-ctx.Done():
		a.Close()
		return nil, ctx.Err()
	}
	go s.serve(b)
	return a, nil
}

// accept makes a connection's two ends.
func (s *Server) accept() (theirs net.Conn, ours *end, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.faults.Refuse != 0 {
		if s.faults.Refuse > 0 {
			s.faults.Refuse--
		}
		return nil, nil, syscall.ECONNREFUSED
	}
	s.accepted++
	l := newLink(s.o.Latency)
	s.conns[l] = true
	return l.ends[0], l.ends[1], nil
}

// Listen makes the machine reachable at a port of the loopback address too.
func (s *Server) Listen() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.bridge(c)
		}
	}()
	return l.Addr().String(), nil
}

// bridge joins a connection of the network to one in memory.
func (s *Server) bridge(c net.Conn) {
	defer c.Close()
	m, err := s.Dial(context.Background(), "tcp", "")
	if err != nil {
		return
	}
	join(c, m)
}

// Cut ends all connections at once, as a machine that loses its power.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.conns {
		l.cut()
		delete(s.conns, l)
	}
}

// Freeze makes all connections that are open silent for ever, as a machine that hangs or a firewall that forgets.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.conns {
		l.freeze()
	}
}

// Close ends the machine.
func (s *Server) Close() {
	s.Cut()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.listener != nil {
		s.listener.Close()
	}
}

var errDenied = errors.New("denied")

func (s *Server) config() *gossh.ServerConfig {
	c := &gossh.ServerConfig{
		PublicKeyCallback: func(m gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
			if len(s.o.Users) > 0 && !contains(s.o.Users, m.User()) {
				return nil, errDenied
			}
			for _, k := range s.o.Keys {
				if string(k.Marshal()) == string(key.Marshal()) {
					return nil, nil
				}
			}
			if s.o.Keys != nil {
				return nil, errDenied
			}
			return nil, nil
		},
	}
	if s.o.Banner != "" {
		c.BannerCallback = func(gossh.ConnMetadata) string { return s.o.Banner }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.AddHostKey(s.key)
	return c
}

func contains(all []string, one string) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// serve speaks SSH on one connection until it ends.
func (s *Server) serve(c *end) {
	defer c.Close()
	if s.Faults().Silent {
		c.drain()
		return
	}
	conn, chans, reqs, err := gossh.NewServerConn(c, s.config())
	if err != nil {
		return
	}
	defer conn.Close()
	go gossh.DiscardRequests(reqs)
	for nc := range chans {
		switch nc.ChannelType() {
		case "session":
			go s.session(nc, c)
		case "direct-tcpip":
			go s.forward(nc)
		default:
			nc.Reject(gossh.UnknownChannelType, "no such channel")
		}
	}
}

func (s *Server) forward(nc gossh.NewChannel) {
	var to struct {
		Addr  string
		Port  uint32
		From  string
		FPort uint32
	}
	if err := gossh.Unmarshal(nc.ExtraData(), &to); err != nil || s.o.Forward == nil {
		nc.Reject(gossh.Prohibited, "no forwarding")
		return
	}
	out, err := s.o.Forward("tcp", net.JoinHostPort(to.Addr, fmt.Sprint(to.Port)))
	if err != nil {
		nc.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		out.Close()
		return
	}
	go gossh.DiscardRequests(reqs)
	join(ch, out)
}
