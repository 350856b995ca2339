// Package forwarder forwards TCP connections and UDP datagrams that come to one address to those of its targets that are
// healthy. It is what a balancer of provider local is made of.
//
// Each port has a list of targets that are checked about twice a second. New connections go to healthy targets in turn; if
// a target does not answer the next is tried, and if none is healthy all are. When a target's host has been silent for a few
// seconds its connections are reset, so that clients come back and need not wait until their own time is over.
package forwarder

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/provisionhq/provision/providers"
)

// A Config is what is forwarded, and to whom.
type Config struct {
	Ports   []providers.BalancerPort
	Targets []netip.Addr
	Sources []netip.Prefix // who may connect; empty: everybody
}

// A Forwarder is at work until it is closed. Its methods are safe for concurrent use.
type Forwarder struct {
	address netip.Addr
	say     func(format string, args ...any)

	mu    sync.Mutex
	ports map[key]*port
}

// A key is what a listener is known by.
type key struct {
	protocol string
	port     int
}

// New returns a Forwarder for the address that listens nowhere yet. It tells say, a line at a time, what happens to its
// targets.
func New(address netip.Addr, say func(format string, args ...any)) *Forwarder {
	return &Forwarder{address: address, say: say, ports: map[key]*port{}}
}

// Apply makes the Forwarder do what the config says. Ports that stay are open all the while, connections to targets go on
// until they end or the target dies, and what is known of targets that stay is kept. If a port cannot be opened, the others
// are, and the error says which it was.
func (f *Forwarder) Apply(c Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[key]bool{}
	var errs []error
	for _, spec := range c.Ports {
		k := key{spec.Protocol, spec.Port}
		wanted[k] = true
		if f.ports[k] == nil {
			p, err := f.open(k)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			f.ports[k] = p
		}
		f.ports[k].set(spec, c)
	}
	for k, p := range f.ports {
		if !wanted[k] {
			p.close()
			delete(f.ports, k)
		}
	}
	return errors.Join(errs...)
}

// Close ends all listeners, checks and connections.
func (f *Forwarder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, p := range f.ports {
		p.close()
		for _, b := range p.all() {
			b.reset()
		}
		delete(f.ports, k)
	}
}

// Healthy returns the targets of the port that are healthy, sorted.
func (f *Forwarder) Healthy(protocol string, number int) (all []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.ports[key{protocol, number}]; p != nil {
		for _, b := range p.all() {
			if b.healthy() {
				all = append(all, b.target.Addr())
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// open opens a port that forwards to nobody yet.
func (f *Forwarder) open(k key) (*port, error) {
	p := &port{say: f.say}
	at := netip.AddrPortFrom(f.address, uint16(k.port))
	switch k.protocol {
	case "tcp":
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return nil, fmt.Errorf("port %d/tcp: %w", k.port, err)
		}
		p.listener = l
		go p.acceptAll(l)
	case "udp":
		l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return nil, fmt.Errorf("port %d/udp: %w", k.port, err)
		}
		p.listener = l
		go p.receiveAll(l)
	default:
		return nil, fmt.Errorf("port %d: %w: protocol %q is neither tcp nor udp", k.port, providers.Invalid, k.protocol)
	}
	return p, nil
}
