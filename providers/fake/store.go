package fake

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A store is the state behind a lock and, if there is a journal, on the disk. Changes that are asked for at the same time
// go to the disk together: whoever's turn it is makes all that are waiting.
type store struct {
	turn    chan struct{} // holds one value while somebody uses what follows
	now     *state
	seen    *state // what readers see: now, or what it was a lag ago
	late    []late // changes that are in now and not yet in seen, oldest first
	lag     time.Duration
	journal *journal
	writes  atomic.Int64

	mu      sync.Mutex
	waiting []*request
}

// A late change is to be seen from a moment on.
type late struct {
	from   time.Time
	change change
}

// A request is a change that somebody waits for.
type request struct {
	decide func(*state) ([]change, error)
	done   chan error // gets what became of it
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
	if s.show(); len(s.late) > 0 {
		return nil // the new file would not say since when its records are there
	}
	return s.journal.compact(s.now)
}

// read calls look with the state as readers see it. It must not keep or change what it finds.
func (s *store) read(ctx context.Context, look func(*state) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.journal != nil {
		if err := s.catchUp(); err != nil {
			return err
		}
	}
	s.show()
	return look(s.seen)
}

// change calls decide with the state as it is, and then does what it returned, all of it or nothing. Nobody else changes
// the state meanwhile. decide must not change what it finds; it may be called by another goroutine, before change returns.
func (s *store) change(ctx context.Context, decide func(*state) ([]change, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{decide, make(chan error, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, r)
	s.mu.Unlock()
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return s.withdraw(r, ctx.Err())
	case s.turn <- struct{}{}:
	}
	defer func() { <-s.turn }()
	if len(r.done) == 0 {
		if err := s.serve(ctx); err != nil {
			return s.withdraw(r, err)
		}
	}
	return <-r.done
}

// withdraw takes back a request that nobody has taken up and returns err; else it returns what became of the request.
func (s *store) withdraw(r *request, err error) error {
	s.mu.Lock()
	for i, w := range s.waiting {
		if w == r {
			s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	return <-r.done
}

// serve takes up all requests that wait. An error means that it could not begin: they still wait.
func (s *store) serve(ctx context.Context) error {
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
	s.mu.Lock()
	batch := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	s.commit(batch)
	return nil
}

// commit makes the changes of the requests, one request after another, and tells them when all are on the disk.
func (s *store) commit(batch []*request) {
	now, errs, all := time.Now(), make([]error, len(batch)), []change(nil)
	for i, r := range batch {
		var changes []change
		if changes, errs[i] = r.decide(s.now); errs[i] != nil {
			continue
		}
		for _, c := range changes {
			s.apply(now, c)
		}
		all = append(all, changes...)
	}
	if s.journal != nil && len(all) > 0 {
		if err := s.journal.append(now, all); err != nil {
			err = fmt.Errorf("%w: %w", providers.Unavailable, errors.Join(err, s.back()))
			for i := range errs {
				if errs[i] == nil {
					errs[i] = err
				}
			}
			all = nil
		}
	}
	s.writes.Add(int64(len(all)))
	for i, r := range batch {
		r.done <- errs[i]
	}
}

// back makes the state again what the journal says.
func (s *store) back() error {
	s.reset()
	s.journal.forget()
	return s.catchUp()
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
