package ui

import (
	"io"
	"sync"
)

// A queue writes what it is given, in order, without letting the giver wait.
type queue struct {
	w    io.Writer
	mu   sync.Mutex
	some *sync.Cond // there is something to write, or there will be nothing more
	text []byte
	shut bool
	err  error // the first; nothing is written after it
	end  chan struct{}
}

func newQueue(w io.Writer) *queue {
	q := &queue{w: w, end: make(chan struct{})}
	q.some = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// put takes the text over.
func (q *queue) put(text []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.shut && q.err == nil {
		q.text = append(q.text, text...)
		q.some.Signal()
	}
}

// close waits until all is written and returns the first error.
func (q *queue) close() error {
	q.mu.Lock()
	q.shut = true
	q.some.Signal()
	q.mu.Unlock()
	<-q.end
	return q.err
}

func (q *queue) run() {
	defer close(q.end)
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.text) == 0 && !q.shut {
			q.some.Wait()
		}
		if len(q.text) == 0 || q.err != nil {
			return
		}
		text := q.text
		q.text = nil
		q.mu.Unlock()
		_, err := q.w.Write(text)
		q.mu.Lock()
		q.err = err
	}
}
