package sshtest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A link is a connection in memory with latency. It has no limit of what is on its way: SSH has its own.
type link struct {
	ends [2]*end
}

// An end is one end of a link.
type end struct {
	*half       // what this end reads
	peer  *half // what the other end reads
}

// A half is one direction of a link.
type half struct {
	latency time.Duration

	mu     sync.Mutex
	queue  []parcel
	ended  error         // that Read returns after the queue
	frozen bool          // nothing arrives any more
	wake   chan struct{} // gets an element when something has changed
}

type parcel struct {
	due  time.Time
	data []byte
}

func newLink(latency time.Duration) *link {
	a := &half{latency: latency, wake: make(chan struct{}, 1)}
	b := &half{latency: latency, wake: make(chan struct{}, 1)}
	return &link{[2]*end{{a, b}, {b, a}}}
}

// cut ends both directions with what an aborted connection shows.
func (l *link) cut() {
	for _, e := range l.ends {
		e.half.drop()
		e.half.end(syscall.ECONNRESET)
	}
}

func (l *link) freeze() {
	for _, e := range l.ends {
		e.half.mu.Lock()
		e.half.frozen = true
		e.half.mu.Unlock()
	}
}

func (h *half) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = nil
}

func (h *half) end(err error) {
	h.mu.Lock()
	if h.ended == nil {
		h.ended = err
	}
	h.mu.Unlock()
	h.poke()
}

func (h *half) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Read is for one goroutine at a time.
func (h *half) Read(p []byte) (int, error) {
	for {
		n, wait, err := h.take(p)
		if n > 0 || err != nil {
			return n, err
		}
		if wait < 0 {
			<-h.wake
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-h.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// take returns what has arrived, or how long to wait for it; -1 if that is not known.
func (h *half) take(p []byte) (n int, wait time.Duration, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen && h.ended == nil {
		return 0, -1, nil
	}
	if len(h.queue) == 0 {
		return 0, -1, h.ended
	}
	if wait := time.Until(h.queue[0].due); wait > 0 {
		return 0, wait, nil
	}
	n = copy(p, h.queue[0].data)
	if h.queue[0].data = h.queue[0].data[n:]; len(h.queue[0].data) == 0 {
		h.queue = h.queue[1:]
	}
	return n, 0, nil
}

func (h *half) put(p []byte) (int, error) {
	h.mu.Lock()
	if h.ended != nil {
		h.mu.Unlock()
		return 0, syscall.EPIPE
	}
	h.queue = append(h.queue, parcel{time.Now().Add(h.latency), append([]byte(nil), p...)})
	h.mu.Unlock()
	h.poke()
	return len(p), nil
}

// Write never blocks.
func (e *end) Write(p []byte) (int, error) { return e.peer.put(p) }

// Close ends both directions; what is on its way to the other end still arrives.
func (e *end) Close() error {
	e.peer.end(io.EOF)
	e.half.end(net.ErrClosed)
	return nil
}

// drain reads until the connection ends.
func (e *end) drain() { io.Copy(io.Discard, struct{ io.Reader }{e}) }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

func (e *end) LocalAddr() net.Addr              { return memoryAddr{} }
func (e *end) RemoteAddr() net.Addr             { return memoryAddr{} }
func (e *end) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (e *end) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (e *end) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// join copies both ways until both directions or one side has ended, and closes both.
func join(a, b io.ReadWriteCloser) {
	var both sync.WaitGroup
	for _, way := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		both.Go(func() {
			io.Copy(way[0], way[1])
			way[0].Close()
			way[1].Close()
		})
	}
	both.Wait()
}
