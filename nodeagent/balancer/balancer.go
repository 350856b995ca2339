// Package balancer forwards TCP connections to whichever of several servers is well.
package balancer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	probePeriod  = time.Second
	probeTimeout = 2 * time.Second
	dialTimeout  = 2 * time.Second
	// A server that was well is unwell after that many probes have failed: one may be bad luck.
	failures = 2
)

// Options is what a Balancer works with.
type Options struct {
	// Probe says why an endpoint is unwell. It is safe for concurrent use and obeys the context. nil: a TCP connect.
	Probe func(ctx context.Context, endpoint string) error
	Log   *slog.Logger
}

// A Balancer forwards connections to endpoints, those that are well first, and among them to the one with the fewest.
// Its methods are safe for concurrent use.
type Balancer struct {
	o Options

	mu        sync.Mutex
	endpoints []*endpoint
	prefer    string
}

// An endpoint is one server. Its fields are guarded by the balancer's mu.
type endpoint struct {
	address string
	healthy bool
	failed  int // probes in a row
	conns   map[net.Conn]struct{}
	cancel  context.CancelFunc
}

// A State is what a Balancer knows of one endpoint.
type State struct {
	Address     string
	Healthy     bool
	Connections int
}

// New returns a balancer without endpoints.
func New(o Options) *Balancer {
	if o.Probe == nil {
		o.Probe = connect
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Balancer{o: o}
}

func connect(ctx context.Context, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

// Set says which endpoints there are, and which of them is used whenever it is well: the one on this machine, which may be
// none of them. Connections to those that are no longer among them are closed, and all of them if this machine is at another
// address: they came from the old one, and whoever only listens on one would wait for long. Endpoints are probed until ctx
// ends or a later Set leaves them out.
func (b *Balancer) Set(ctx context.Context, addresses []string, prefer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	moved := b.prefer != "" && prefer != b.prefer
	b.prefer = prefer
	var kept []*endpoint
	for _, e := range b.endpoints {
		if moved {
			e.closeAll()
		}
		if slices.Contains(addresses, e.address) {
			kept = append(kept, e)
			continue
		}
		e.cancel()
		e.closeAll()
	}
	for _, a := range addresses {
		if slices.ContainsFunc(kept, func(e *endpoint) bool { return e.address == a }) {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		e := &endpoint{address: a, conns: map[net.Conn]struct{}{}, cancel: cancel}
		kept = append(kept, e)
		go b.watch(ctx, e)
	}
	b.endpoints = kept
}

// closeAll is called with mu held.
func (e *endpoint) closeAll() {
	for c := range e.conns {
		c.Close()
	}
}

// watch probes an endpoint until ctx ends.
func (b *Balancer) watch(ctx context.Context, e *endpoint) {
	tick := time.NewTicker(probePeriod)
	defer tick.Stop()
	for {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		err := b.o.Probe(probe, e.address)
		cancel()
		if ctx.Err() != nil {
			return
		}
		b.learn(e, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// learn takes over what a probe said. When an endpoint becomes unwell its connections are closed, so that their owners go
// elsewhere; unless there is nowhere else, and half a server is better than none.
func (b *Balancer) learn(e *endpoint, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := e.healthy
	if err == nil {
		e.failed, e.healthy = 0, true
	} else {
		e.failed++
		e.healthy = was && e.failed < failures
	}
	if was != e.healthy {
		b.o.Log.Info("endpoint", "address", e.address, "healthy", e.healthy, "err", err)
	}
	if !e.healthy && len(e.conns) > 0 && slices.ContainsFunc(b.endpoints, func(o *endpoint) bool { return o.healthy }) {
		e.closeAll()
	}
}

// State returns what is known of the endpoints, sorted by address.
func (b *Balancer) State() []State {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]State, 0, len(b.endpoints))
	for _, e := range b.endpoints {
		list = append(list, State{e.address, e.healthy, len(e.conns)})
	}
	slices.SortFunc(list, func(x, y State) int {
		if x.Address < y.Address {
			return -1
		}
		return 1
	})
	return list
}

// Serve forwards what the listener accepts until ctx ends, then closes all connections and returns.
func (b *Balancer) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of file descriptors, or the client has gone: neither is for ever
			b.o.Log.Error("cannot accept", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		all.Go(func() { b.forward(ctx, c) })
	}
}

// forward copies between a client and the first endpoint that answers.
func (b *Balancer) forward(ctx context.Context, client net.Conn) {
	defer client.Close()
	for _, e := range b.candidates() {
		d := net.Dialer{Timeout: dialTimeout}
		server, err := d.DialContext(ctx, "tcp", e.address)
		if err != nil {
			b.learn(e, err)
			continue
		}
		defer server.Close()
		if !b.enter(e, client) {
			continue
		}
		defer b.leave(e, client)
		stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
		defer stop()
		pipe(client, server)
		return
	}
}

// enter counts a connection; false if the endpoint has been taken out meanwhile.
func (b *Balancer) enter(e *endpoint, c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.endpoints, e) {
		return false
	}
	e.conns[c] = struct{}{}
	return true
}

func (b *Balancer) leave(e *endpoint, c net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(e.conns, c)
}

// candidates returns the endpoints in the order in which to try them. Those that seem unwell come last: they may be well
// again and nobody has looked.
func (b *Balancer) candidates() []*endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	rank := func(e *endpoint) int {
		switch {
		case e.healthy && e.address == b.prefer:
			return -1
		case e.healthy:
			return len(e.conns)
		}
		return 1 << 30
	}
	return slices.SortedStableFunc(slices.Values(b.endpoints), func(x, y *endpoint) int { return rank(x) - rank(y) })
}

// pipe copies in both directions until both have ended. One direction may end before the other.
func pipe(a, b net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { half(a, b) })
	both.Go(func() { half(b, a) })
	both.Wait()
}

// half copies to dst until src ends, and passes the end on.
func half(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if t, ok := dst.(*net.TCPConn); ok && err == nil {
		_ = t.CloseWrite()
		return
	}
	dst.Close()
	src.Close()
}
