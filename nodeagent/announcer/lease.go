package announcer

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/provisionhq/provision/nodeagent/etcdapi"
)

// The arithmetic of a lease, which needs no clocks that agree, only clocks that run about equally fast.
//
// A holder writes the key again every renewEvery, and holds until dropAfter after it *began* the last write that succeeded.
// Another one may take the key when it has seen it unchanged for takeAfter by its own clock. It saw the write after the write
// was made, and that was after it was begun, so:
//
//	taken  ≥ seen + takeAfter ≥ begun + takeAfter > begun + dropAfter ≥ dropped
//
// with takeAfter - dropAfter = 300 ms left for clocks that run unequally and for a processor that is busy. The take itself
// is a compare-and-swap on the revision that was seen, so a renewal that was not seen makes it fail: what was read may be
// old, and is read from the nearest member without asking the others.
//
// A holder that dies is followed after at most poll + takeAfter + one write: 2.9 s. One that is unwell, or ends, deletes the
// key, and is followed after one poll. A store that has no quorum lets nobody renew and nobody take: its minority drops, and
// when it elects a new leader within 1.8 s the holder stays.
const (
	renewEvery = 500 * time.Millisecond
	dropAfter  = 2300 * time.Millisecond
	takeAfter  = 2600 * time.Millisecond
	poll       = 250 * time.Millisecond // of one who does not hold
	wellEvery  = 300 * time.Millisecond // between two questions whether what the address leads to is well
	callLimit  = time.Second            // of one call of the store, and of one question
	rest       = 5 * time.Second        // before one tries again who has the lease and cannot put the address on its link
)

// A Store keeps the lease's key. etcd is one; it must not be reached through the address that the lease is about.
type Store interface {
	// Read returns a key as it was at some moment.
	Read(ctx context.Context, name string) (etcdapi.Key, error)
	// Swap writes a key, or deletes it if value is nil, provided that its last change is of the revision.
	Swap(ctx context.Context, name string, revision int64, value []byte) (etcdapi.Key, bool, error)
}

// LeaseOptions is what a Lease works with.
type LeaseOptions struct {
	Store Store
	Key   string
	Self  string                          // name of this holder
	Well  func(ctx context.Context) error // why this one must not hold now; it obeys the context
	Hold  func() error                    // is called when the lease was taken and whenever it was renewed
	Drop  func() error                    // is called when it must be held no longer
	Log   *slog.Logger
	Tell  func() // is called when State may say something else
}

// A State is how a lease is, as one of those sees it who may hold it.
type State struct {
	Here    bool
	Holder  string // "" if nobody holds it, or nobody knows
	Problem string // why this one cannot hold it
}

// A Lease is held by one of several at a time.
type Lease struct {
	o LeaseOptions

	mu    sync.Mutex
	until time.Time   // when it is dropped; zero: not held
	fence *time.Timer // drops it then, whatever else is going on
	last  etcdapi.Key // as last seen or written
	seen  time.Time   // since when it is like that
	ill   string      // why this one must not hold

	notBefore time.Time // this one takes it again
}

type content struct {
	Holder string `json:"holder"`
}

// NewLease returns a lease that does nothing before Run.
func NewLease(o LeaseOptions) *Lease {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tell == nil {
		o.Tell = func() {}
	}
	return &Lease{o: o, ill: "nobody has looked yet"}
}

// State returns how the lease is.
func (l *Lease) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Here: !l.until.IsZero(), Problem: l.ill}
	if s.Here {
		s.Holder = l.o.Self
		return s
	}
	var c content
	if l.last.Revision != 0 && json.Unmarshal(l.last.Value, &c) == nil {
		s.Holder = c.Holder
	}
	return s
}

// Run takes the lease whenever it can be had, until ctx ends; then it gives it back. What an earlier run may have left is
// dropped first.
func (l *Lease) Run(ctx context.Context) {
	l.drop("starting")
	wake := make(chan struct{}, 1)
	var all sync.WaitGroup
	all.Go(func() { l.watchHealth(ctx, wake) })
	for ctx.Err() == nil {
		pause := l.step(ctx)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(pause):
		}
	}
	all.Wait()
	l.give("ending")
}

// step does what is to be done now, and returns when to look again.
func (l *Lease) step(ctx context.Context) time.Duration {
	l.mu.Lock()
	held, ill := !l.until.IsZero(), l.ill
	l.mu.Unlock()
	switch {
	case held && ill != "":
		l.give(ill)
		return poll
	case held:
		l.renew(ctx)
		return renewEvery
	case ill != "":
		_, _ = l.look(ctx)
		return poll
	}
	return l.contend(ctx)
}

// contend takes the lease if nobody has it, or if nobody has renewed it for long enough.
func (l *Lease) contend(ctx context.Context) time.Duration {
	idle, err := l.look(ctx)
	if err != nil {
		return poll
	}
	l.mu.Lock()
	// What bears this one's own name was taken and then not held: the agent was started anew, or an answer was lost.
	free := l.last.Revision == 0 || l.mine(l.last)
	rest := time.Until(l.notBefore)
	l.mu.Unlock()
	switch {
	case rest > 0:
		return min(rest, poll)
	case !free && idle < takeAfter:
		return min(poll, takeAfter-idle)
	}
	l.renew(ctx)
	if l.State().Here {
		return renewEvery
	}
	return poll
}

// look reads the key and returns for how long it has been as it is.
func (l *Lease) look(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	k, err := l.o.Store.Read(ctx, l.o.Key)
	if err != nil {
		return 0, err
	}
	now := time.Now() // the read may have taken long; what it saw was so before now
	l.mu.Lock()
	// A member that is behind may show less than was seen already.
	fresh := k.Revision > l.last.Revision || k.Revision == 0 && l.last.Revision != 0 || l.seen.IsZero()
	other := fresh && string(k.Value) != string(l.last.Value)
	if fresh {
		l.last, l.seen = k, now
	}
	idle := now.Sub(l.seen)
	l.mu.Unlock()
	if other {
		l.o.Tell()
	}
	return idle, nil
}

// renew writes the key: to go on holding, or to take it.
func (l *Lease) renew(ctx context.Context) {
	value, err := json.Marshal(content{l.o.Self})
	if err != nil {
		panic(err) // plain data always marshals
	}
	l.mu.Lock()
	revision, held := l.last.Revision, !l.until.IsZero()
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	begun := time.Now()
	k, ok, err := l.o.Store.Swap(ctx, l.o.Key, revision, value)
	if err != nil {
		// Nobody knows whether it was written. If it was, the revision is another, and the next try sees that.
		l.o.Log.Debug("cannot write the lease", "key", l.o.Key, "held", held, "err", err)
		return
	}
	l.mu.Lock()
	l.last, l.seen = k, time.Now()
	l.mu.Unlock()
	switch {
	case ok:
		l.extend(begun.Add(dropAfter), held)
	case held && !l.mine(k):
		l.drop("another one has it")
	}
}

// mine reports whether a key says that this one holds it.
func (l *Lease) mine(k etcdapi.Key) bool {
	var c content
	return k.Revision != 0 && json.Unmarshal(k.Value, &c) == nil && c.Holder == l.o.Self
}

// extend holds until then.
func (l *Lease) extend(until time.Time, held bool) {
	l.mu.Lock()
	left := time.Until(until)
	if left <= 0 {
		l.mu.Unlock()
		return // the answer took too long: another one may have it by now
	}
	if err := l.o.Hold(); err != nil {
		l.until, l.ill, l.notBefore = until, err.Error(), time.Now().Add(rest)
		l.mu.Unlock()
		l.o.Log.Error("cannot hold", "key", l.o.Key, "err", err)
		l.give("it cannot be held here")
		return
	}
	l.until = until
	if l.fence == nil {
		l.fence = time.AfterFunc(left, l.expire)
	} else {
		l.fence.Reset(left)
	}
	l.mu.Unlock()
	if !held {
		l.o.Log.Info("took the lease", "key", l.o.Key)
		l.o.Tell()
	}
}

// expire drops the lease if it was not renewed meanwhile.
func (l *Lease) expire() {
	l.mu.Lock()
	over := !l.until.IsZero() && !time.Now().Before(l.until)
	l.mu.Unlock()
	if over {
		l.drop("it could not be renewed")
	}
}

// drop stops holding, at once.
func (l *Lease) drop(why string) {
	l.mu.Lock()
	held := !l.until.IsZero()
	l.until = time.Time{}
	if l.fence != nil {
		l.fence.Stop()
		l.fence = nil
	}
	err := l.o.Drop()
	l.mu.Unlock()
	if err != nil {
		l.o.Log.Error("cannot drop", "key", l.o.Key, "err", err)
	}
	if held {
		l.o.Log.Info("dropped the lease", "key", l.o.Key, "why", why)
		l.o.Tell()
	}
}

// give drops the lease and lets another one have it at once.
func (l *Lease) give(why string) {
	l.mu.Lock()
	held, revision := !l.until.IsZero(), l.last.Revision
	l.mu.Unlock()
	l.drop(why)
	if !held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if k, ok, err := l.o.Store.Swap(ctx, l.o.Key, revision, nil); err == nil && ok {
		l.mu.Lock()
		l.last, l.seen = k, time.Now()
		l.mu.Unlock()
	}
}
