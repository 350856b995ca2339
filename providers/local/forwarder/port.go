package forwarder

import (
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A port is an open port with its rules as they are now.
type port struct {
	say      func(format string, args ...any)
	listener io.Closer
	rules    atomic.Pointer[rules]
	turn     atomic.Uint64
}

// rules are where what comes to a port goes. They do not change; there are new ones.
type rules struct {
	proxyProtocol bool
	idle          time.Duration // 0: no end
	sources       []netip.Prefix
	backends      []*backend
}

// set replaces the port's rules. Backends that are the same stay.
func (p *port) set(spec providers.BalancerPort, c Config) {
	old := map[backendKey]*backend{}
	for _, b := range p.all() {
		old[b.backendKey] = b
	}
	r := &rules{
		proxyProtocol: spec.ProxyProtocol,
		idle:          time.Duration(spec.IdleSeconds) * time.Second,
		sources:       slices.Clone(c.Sources),
	}
	for _, t := range c.Targets {
		k := keyOf(t, spec)
		b := old[k]
		delete(old, k)
		if b == nil {
			b = newBackend(k, p.say)
		}
		r.backends = append(r.backends, b)
	}
	p.rules.Store(r)
	for _, b := range old {
		b.retire()
	}
}

// all returns the port's backends.
func (p *port) all() []*backend {
	if r := p.rules.Load(); r != nil {
		return r.backends
	}
	return nil
}

// close stops listening and checking. Connections go on.
func (p *port) close() {
	p.listener.Close()
	for _, b := range p.all() {
		b.retire()
	}
}

// lets says whether the rules let the client in.
func (r *rules) lets(client netip.Addr) bool {
	client = client.Unmap()
	return len(r.sources) == 0 || slices.ContainsFunc(r.sources, func(p netip.Prefix) bool { return p.Contains(client) })
}

func (r *rules) anyHealthy() bool { return slices.ContainsFunc(r.backends, (*backend).healthy) }

// order returns the backends in the order in which to try them: healthy ones first, a different one each time.
func (r *rules) order(turn uint64) []*backend {
	var up, down []*backend
	for _, b := range r.backends {
		if b.healthy() {
			up = append(up, b)
		} else {
			down = append(down, b)
		}
	}
	return append(rotate(up, turn), rotate(down, turn)...)
}

func rotate(all []*backend, turn uint64) []*backend {
	if len(all) < 2 {
		return all
	}
	n := int(turn % uint64(len(all)))
	return slices.Concat(all[n:], all[:n])
}
