//go:build linux

package main

import (
	"os"
	"sync"
	"time"
)

// An entry is a line of the log of requests.
type entry struct {
	Service  string  `json:"service"`
	Action   string  `json:"action"`
	Mutating bool    `json:"mutating"`
	Status   int     `json:"status"` // 0: the connection was cut
	Code     string  `json:"code,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}

// A tail writes down the requests of a cloud that only remembers them.
type tail struct {
	stop chan struct{}
	done sync.WaitGroup
}

// tailEvery is how late a line may be.
const tailEvery = 50 * time.Millisecond

// follow begins to write; since returns the requests from the n-th on.
func follow(write func(entry), since func(n int) []entry) *tail {
	t := &tail{stop: make(chan struct{})}
	t.done.Go(func() {
		for n, last := 0, false; !last; {
			select {
			case <-t.stop:
				last = true
			case <-time.After(tailEvery):
			}
			for _, e := range since(n) {
				write(e)
				n++
			}
		}
	})
	return t
}

// end writes what is left.
func (t *tail) end() {
	close(t.stop)
	t.done.Wait()
}
