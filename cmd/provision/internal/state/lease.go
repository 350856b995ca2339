package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A Holder is who works on a cluster.
type Holder struct {
	User    string    `json:"user"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires,omitzero"` // by the holder's clock, unless it is renewed
}

// A lease is what its file or object says, in JSON.
type lease struct {
	Version  int           `json:"version"`
	Fence    uint64        `json:"fence"` // grows with each lease
	Nonce    string        `json:"nonce"` // tells apart two leases of one number
	Beat     int           `json:"beat"`  // grows with each renewal
	TTL      time.Duration `json:"ttl"`   // after so long without a renewal the lease ends, in nanoseconds
	Released bool          `json:"released,omitempty"`
	Holder   Holder        `json:"holder"`
	Process  process       `json:"process"`
}

// leaseVersion is what this program writes and the newest that it reads.
const leaseVersion = 1

// A process says which process on which running system holds a lease, for others on the same one.
type process struct {
	Boot      string        `json:"boot,omitempty"`      // of the system, since it was started; and its clock
	Space     string        `json:"space,omitempty"`     // of process IDs
	Start     string        `json:"start,omitempty"`     // of the process, by its system's clock
	Monotonic time.Duration `json:"monotonic,omitempty"` // the system's clock when this was written
}

// A found is a lease as others see it.
type found struct {
	lease    lease
	text     string // empty: there is none
	revision bucket.Revision
}

// parseLease reads a lease. What cannot be read (it may be half written) is one of nobody known.
func parseLease(b []byte) lease {
	var l lease
	if json.Unmarshal(b, &l) != nil || l.Nonce == "" {
		return lease{Version: leaseVersion, TTL: defaultTTL}
	}
	l.TTL = min(max(l.TTL, time.Millisecond), time.Hour)
	return l
}

func (l lease) text() []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // numbers and texts
	}
	// Always as long as before, so that a renewal in place needs no room on the disk and leaves nothing behind.
	return fmt.Appendf(nil, "%-2047s\n", b)
}

// newLease is a lease of this process.
func newLease(o Options) lease {
	h := Holder{User: strconv.Itoa(os.Geteuid()), Host: hostname(), PID: os.Getpid(), Command: cut(o.Command, 200), Since: o.Now().UTC().Round(time.Second)}
	if u, err := user.Current(); err == nil {
		h.User = cut(u.Username, 50)
	}
	l := lease{Version: leaseVersion, Nonce: rand.Text(), TTL: o.TTL, Holder: h}
	if !o.strange {
		l.Process = thisProcess()
	}
	return l.renewed(o)
}

// renewed is the lease as it is written next.
func (l lease) renewed(o Options) lease {
	l.Beat++
	l.Holder.Expires = o.Now().Add(l.TTL).UTC().Round(time.Second)
	l.Process.Monotonic = monotonic()
	return l
}

// cut keeps what people typed from making a lease too long.
func cut(s string, n int) string {
	if s = strings.ToValidUTF8(s, ""); len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// A verdict is what one process can tell of another's lease at once.
type verdict int

const (
	unsure verdict = iota // it has to be watched
	alive
	free    // given back, or its process is no more: it writes no more
	expired // not renewed in time: it may yet write
)

// judge compares the lease with this process. Clocks of two systems are never compared.
func (f found) judge() verdict {
	l, here := f.lease, thisProcess()
	if f.text == "" || l.Released {
		return free
	}
	if l.Process.Boot == "" || l.Process.Boot != here.Boot {
		return unsure
	}
	if l.Process.Space == here.Space && l.Process.Start != "" && ended(l.Holder.PID, l.Process.Start) {
		return free
	}
	switch age := monotonic() - l.Process.Monotonic; {
	case age < -time.Second:
		return unsure
	case age >= l.TTL:
		return expired
	}
	return alive
}

// acquire takes the lease: at once if it is free or has expired; else it waits as long as the options say. A lease of another
// system is watched: if it does not change for the time that it is good for, its holder has renewed it no more.
// It also says whether the former holder may yet write.
func acquire(ctx context.Context, p place, o Options) (t term, l lease, risky bool, err error) {
	began := time.Now()
	var seen string
	var since time.Time
	wait, told := o.Wait, false
	for {
		f, err := p.lease(ctx)
		if err != nil {
			return nil, l, false, err
		}
		if f.lease.Version > leaseVersion {
			return nil, l, false, &VersionError{Path: p.String(), Have: f.lease.Version, Know: leaseVersion}
		}
		changed := seen != "" && f.text != seen
		if f.text != seen {
			seen, since = f.text, time.Now()
		}
		v := f.judge()
		if v == unsure && time.Since(since) >= f.lease.TTL {
			v = expired
		}
		if v == free || v == expired {
			l = newLease(o)
			if t, err = p.take(ctx, f, &l); !errors.Is(err, errTaken) {
				return t, l, v == expired, err
			}
			wait = max(wait, patience) // who was quicker may give it back at once, as two do that are first together
			time.Sleep(mathrand.N(3 * time.Millisecond))
			continue
		}
		if time.Since(began) >= wait && (v == alive || changed) {
			return nil, l, false, &LockedError{Place: p.String(), Holder: f.lease.Holder}
		}
		if !told && o.Watching != nil {
			told = true
			o.Watching(f.lease.Holder)
		}
		select {
		case <-ctx.Done():
			return nil, l, false, ctx.Err()
		case <-time.After(min(max(f.lease.TTL/10, 5*time.Millisecond), time.Second)):
		}
	}
}

// patience is how long a process waits for a lease at least, once it has seen it free.
const patience = time.Second / 2

// keep renews the lease until stop is closed, and closes lost when that has not succeeded for as long as the lease is good.
func (s *State) keep(l lease) {
	defer close(s.kept)
	renewed := time.Now()
	tick := time.NewTicker(s.o.TTL * 4 / 15)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		l = l.renewed(s.o)
		ctx, cancel := context.WithTimeout(context.Background(), max(s.o.TTL-now.Sub(renewed), s.o.TTL/5))
		err := s.term.renew(ctx, l)
		cancel()
		var fenced *FencedError
		switch {
		case err == nil:
			renewed = now
		case errors.As(err, &fenced), errors.Is(err, fs.ErrNotExist), time.Since(renewed) >= s.o.TTL:
			s.lose()
			return
		}
	}
}
