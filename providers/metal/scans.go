package metal

import (
	"context"
	"sync"
)

// scans shares looks at the hosts: a caller gets one that began after it asked.
type scans struct {
	look func(context.Context) (*view, error)

	mu   sync.Mutex
	next *scan // not begun
	now  *scan
}

// A scan is one look for all who wait for it.
type scan struct {
	done    chan struct{}
	view    *view
	err     error
	waiting int
	cancel  context.CancelFunc
}

// fresh returns what all hosts say now.
func (s *scans) fresh(ctx context.Context) (*view, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	k := s.next
	if k == nil {
		k = &scan{done: make(chan struct{})}
		var scanning context.Context
		scanning, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
		s.next = k
		go s.run(scanning, k, s.now)
	}
	k.waiting++
	s.mu.Unlock()
	select {
	case <-k.done:
		return k.view, k.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.waiting--; k.waiting == 0 {
		if s.next == k {
			s.next = nil // nobody may join a scan that was given up
		}
		k.cancel()
	}
	return nil, ctx.Err()
}

func (s *scans) run(ctx context.Context, k, before *scan) {
	if before != nil {
		<-before.done
	}
	s.mu.Lock()
	if s.next == k {
		s.next = nil
	}
	s.now = k
	s.mu.Unlock()
	k.view, k.err = s.look(ctx)
	k.cancel()
	close(k.done)
}
