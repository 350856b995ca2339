package csi

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A busy is what is being worked on.
type busy struct {
	mu  sync.Mutex
	all map[string]bool
}

// take notes that work on a thing begins, and returns what ends it; Aborted if work on it goes on already.
func (b *busy) take(thing string) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[thing] {
		return nil, status.Errorf(codes.Aborted, "another call works on %s", thing)
	}
	if b.all == nil {
		b.all = map[string]bool{}
	}
	b.all[thing] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, thing)
	}, nil
}
