package ccm

import (
	"context"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Ages that a list may have: never older than maxAge for what is asked over and over, never read twice within minAge.
// While the vendor does not answer, it is asked again after ever longer waits, up to failAge.
const (
	minAge  = time.Second
	maxAge  = 5 * time.Minute
	failAge = 30 * time.Second
)

// A list is the machines that the cluster has, read in one call.
type list struct {
	byID   map[string]providers.Machine // by node ID
	byName map[string]providers.Machine
	at     time.Time // before it was read
}

// A lister keeps the last list. Many may ask at once: one call answers them all.
type lister struct {
	read func(context.Context) ([]providers.Machine, error)

	reading sync.Mutex // held during a call
	mu      sync.Mutex // of what follows
	last    list
	err     error     // of the last call, if it failed
	failed  int       // how many did, one after another
	again   time.Time // not before
}

// newer returns a list that was read no earlier than since, and no earlier than maxAge ago. Calls are at least minAge
// apart; until then it may return an earlier list, whose time tells so, or the error of the call before.
func (l *lister) newer(ctx context.Context, since time.Time) (list, error) {
	if got, err, ok := l.have(since); ok {
		return got, err
	}
	l.reading.Lock()
	defer l.reading.Unlock()
	if got, err, ok := l.have(since); ok { // another one read it meanwhile
		return got, err
	}
	at := time.Now()
	all, err := l.read(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			l.err, l.again = err, time.Now().Add(min(minAge<<min(l.failed, 10), failAge))
			l.failed++
		}
		return l.last, err
	}
	l.last, l.err, l.failed = index(all, at), nil, 0
	return l.last, nil
}

func index(all []providers.Machine, at time.Time) list {
	l := list{map[string]providers.Machine{}, map[string]providers.Machine{}, at}
	for _, m := range all {
		if m.NodeID != "" {
			l.byID[m.NodeID], l.byName[m.Name] = m, m
		}
	}
	return l
}

// have returns what there is, and whether that will do.
func (l *lister) have(since time.Time) (list, error, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.err != nil && now.Before(l.again) {
		return l.last, l.err, true
	}
	age := now.Sub(l.last.at)
	return l.last, nil, l.err == nil && !l.last.at.IsZero() && (age < minAge || age < maxAge && !l.last.at.Before(since))
}

// forget makes the next caller read: the list is known to be wrong.
func (l *lister) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last.at = time.Time{}
}

// patient returns the time that a list must have been read at to tell something new of what changed at the moment
// given: at once after the change, then ever more seldom, as what did not show by then hardly will.
func patient(changed, now time.Time) time.Time {
	return now.Add(-min(max(now.Sub(changed)/4, minAge), maxAge))
}

// machinesOf returns the lister of the cluster's machines.
func machinesOf(c templates.Cloud, p providers.Provider) *lister {
	return &lister{read: func(ctx context.Context) ([]providers.Machine, error) {
		return p.Machines().List(ctx, providers.Owner(c.Cluster))
	}}
}
