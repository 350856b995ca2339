package ssh

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

const (
	maxSessions = 8 // at once in one connection; OpenSSH allows 10
	maxMissed   = 3 // keep-alives in a row
)

var errUnanswered = errors.New("keep-alives were not answered")

// A conn is one connection to a machine.
type conn struct {
	client *gossh.Client
	net    *heardConn
	slots  chan struct{} // one element per open session
	done   chan struct{} // closed when the connection has ended
	rtt    atomic.Int64  // shortest round trip so far, in nanoseconds

	once  sync.Once
	cause error // set before done is closed
}

// newConn watches over a connection that took the time dialed to be accepted.
func newConn(client *gossh.Client, nc *heardConn, o Options, dialed time.Duration) *conn {
	c := &conn{client: client, net: nc, slots: make(chan struct{}, maxSessions), done: make(chan struct{})}
	c.rtt.Store(int64(dialed))
	go func() { c.end(client.Wait()) }()
	go c.watch(o.KeepAlive)
	return c
}

// end ends the connection for the given reason, unless it has ended already.
func (c *conn) end(why error) {
	c.once.Do(func() {
		c.cause = why
		c.client.Close()
		c.net.Close()
		close(c.done)
	})
}

func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// watch sends keep-alives until the connection ends, and ends it when nothing at all was heard for three of them.
func (c *conn) watch(every time.Duration) {
	answer := c.ping()
	t := time.NewTicker(every)
	defer t.Stop()
	for missed := 0; ; {
		select {
		case <-c.done:
			return
		case <-answer:
			answer, missed = nil, 0
		case <-t.C:
			if answer == nil {
				answer = c.ping()
				continue
			}
			if missed++; c.net.heardWithin(every) {
				missed = 0
			}
			if missed >= maxMissed {
				c.end(errUnanswered)
				return
			}
		}
	}
}

// ping sends a keep-alive; the channel is closed by its answer.
func (c *conn) ping() <-chan struct{} {
	answer := make(chan struct{})
	go func() {
		start := time.Now()
		if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return // the connection has ended
		}
		c.rtt.Store(min(c.rtt.Load(), int64(time.Since(start))))
		close(answer)
	}()
	return answer
}

// distance is the shortest round trip so far. A busy computer makes it longer than it is.
func (c *conn) distance() time.Duration { return time.Duration(c.rtt.Load()) }

// session opens a session when fewer than the most allowed are open. release is to be called after its end.
func (c *conn) session(ctx context.Context) (s *gossh.Session, release func(), err error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-c.done:
		return nil, nil, c.lost()
	}
	// Not the result's own variable: that is nil when the goroutine below comes to it.
	free := sync.OnceFunc(func() { <-c.slots })
	type opened struct {
		s   *gossh.Session
		err error
	}
	ch := make(chan opened, 1)
	go func() {
		s, err := c.client.NewSession()
		ch <- opened{s, err}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			free()
			return nil, nil, o.err
		}
		return o.s, free, nil
	case <-ctx.Done():
		go func() {
			if o := <-ch; o.err == nil {
				o.s.Close()
			}
			free()
		}()
		return nil, nil, ctx.Err()
	}
}

// lost is why the connection has ended.
func (c *conn) lost() error {
	<-c.done
	if c.cause == nil {
		return net.ErrClosed
	}
	return c.cause
}

// A heardConn remembers when it last heard something.
type heardConn struct {
	net.Conn
	heard atomic.Int64
}

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.note()
	}
	return n, err
}

func (c *heardConn) note() { c.heard.Store(time.Now().UnixNano()) }

func (c *heardConn) heardWithin(d time.Duration) bool {
	return time.Since(time.Unix(0, c.heard.Load())) < d
}
