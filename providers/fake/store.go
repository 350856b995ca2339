package fake

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A store is the state behind a lock and, if there is a journal, on the disk.
type store struct {
	turn    chan struct{} // holds one value while somebody uses what follows
	now     *state
	seen    *state // what readers see: now, or what it was a lag ago
	late    []late // changes that are in now and not yet in seen, oldest first
	lag     time.Duration
	journal *journal
	writes  atomic.Int64
}

// A late change is to be seen from a moment on.
type late struct {
	from   time.Time
	change change
}

func newStore(lag Duration, j *journal) *store {
	s := &store{turn: make(chan struct{}, 1), lag: time.Duration(lag), journal: j}
	s.reset()
	return s
}

func (s *store) reset() {
	s.now, s.late = newState(), nil
	s.seen = s.now
	if s.lag > 0 {
		s.seen = newState()
	}
}

// open reads the journal for the first time and makes it small if it can be.
func (s *store) open() error {
	unlock, err := s.journal.lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.catchUp(); err != nil {
		return err
	}
	return s.journal.compact(s.now)
}

// enter waits for the caller's turn.
func (s *store) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read calls look with the state as readers see it. It must not keep or change what it finds.
func (s *store) read(ctx context.Context, look func(*state) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.journal != nil {
		if err := s.catchUp(); err != nil {
			return err
		}
	}
	s.show()
	return look(s.seen)
}

// change calls decide with the state as it is, and then does what it returned, all of it or nothing. Nobody else changes
// the state meanwhile. decide must not change what it finds.
func (s *store) change(ctx context.Context, decide func(*state) ([]change, error)) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.journal != nil {
		unlock, err := s.journal.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		if err := s.catchUp(); err != nil {
			return err
		}
	}
	changes, err := decide(s.now)
	if err != nil || len(changes) == 0 {
		return err
	}
	now := time.Now()
	if s.journal != nil {
		if err := s.journal.append(now, changes); err != nil {
			return fmt.Errorf("%w: %w", providers.Unavailable, err)
		}
	}
	s.writes.Add(int64(len(changes)))
	for _, c := range changes {
		s.apply(now, c)
	}
	return nil
}

// catchUp applies what other processes have done.
func (s *store) catchUp() error { return s.journal.read(s.reset, s.apply) }

func (s *store) apply(at time.Time, c change) {
	c.apply(s.now)
	if s.lag > 0 {
		s.late = append(s.late, late{at.Add(s.lag), c})
	}
}

// show lets readers see what is old enough.
func (s *store) show() {
	now := time.Now()
	for len(s.late) > 0 && !s.late[0].from.After(now) {
		s.late[0].change.apply(s.seen)
		s.late = s.late[1:]
	}
}
