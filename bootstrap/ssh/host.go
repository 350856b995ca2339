package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
)

var errClosed = errors.New("the host was closed")

// host is a Host over a real connection, which is made anew when it was lost.
type host struct {
	o     Options
	known hostKeys

	closing context.Context // ended by Close
	close   context.CancelFunc

	turn chan struct{} // holds one element; who takes it may read and write conn
	conn *conn
}

// Dial connects to a machine. While it boots and does not answer, Dial tries again, until Options.Timeout has passed or
// the context ends; a wrong host key and a refused login are final at once. The caller closes the host.
func Dial(ctx context.Context, o Options) (Host, error) {
	o = o.withDefaults()
	known, err := parseHostKeys(o.HostKeys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	c, err := dial(ctx, o, known, o.Timeout)
	if err != nil {
		return nil, err
	}
	h := &host{o: o, known: known, conn: c, turn: make(chan struct{}, 1)}
	h.closing, h.close = context.WithCancel(context.Background())
	h.turn <- struct{}{}
	return h, nil
}

// connection returns the open connection, or opens a new one.
func (h *host) connection(ctx context.Context) (*conn, error) {
	select {
	case <-h.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { h.turn <- struct{}{} }()
	if h.closing.Err() != nil {
		return nil, &LostError{Host: h.o.Name, Err: errClosed} // as for those whom Close found at work
	}
	if !h.conn.ended() {
		return h.conn, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.closing, cancel)()
	c, err := dial(ctx, h.o, h.known, h.o.Redial)
	if err != nil && h.closing.Err() != nil {
		return nil, &LostError{Host: h.o.Name, Err: errClosed}
	}
	if err != nil {
		return nil, err
	}
	h.conn = c
	return c, nil
}

// Dial connects from the machine.
func (h *host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := h.connection(ctx)
	if err != nil {
		return nil, err
	}
	nc, err := c.client.DialContext(ctx, network, addr)
	if err != nil && c.ended() {
		return nil, &LostError{Host: h.o.Name, Err: c.lost()}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: dial %s: %w", h.o.Name, addr, err)
	}
	return nc, nil
}

// Close ends the connection, or the attempt to make it anew.
func (h *host) Close() error {
	h.close()
	<-h.turn
	defer func() { h.turn <- struct{}{} }()
	h.conn.end(errClosed)
	return nil
}
