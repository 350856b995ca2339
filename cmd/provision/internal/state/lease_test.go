package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// places are the same options for a state in a folder and in a bucket, as if the two who use it were on two systems.
func places(t *testing.T, run func(t *testing.T, o Options)) {
	for _, kind := range []string{"folder", "bucket"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := options(t)
				o.Now = time.Now
				o.strange = true
				if kind == "bucket" {
					o.Bucket = bucket.NewMemory()
				}
				run(t, o)
			})
		})
	}
}

// TestLeaseIsKept: for as long as it is open, the state is refused to others, who learn by whom it is held.
func TestLeaseIsKept(t *testing.T) {
	places(t, func(t *testing.T, o Options) {
		s := mustOpen(t, o)
		time.Sleep(10 * time.Minute)
		began := time.Now()
		e := openError[*LockedError](t, o)
		if took := time.Since(began); took > defaultTTL {
			t.Errorf("it takes %v to find out that the holder is alive", took)
		}
		if h := e.Holder; h.Command != o.Command || h.PID != os.Getpid() || h.Expires.Before(time.Now()) || h.Since.After(began.Add(-9*time.Minute)) {
			t.Errorf("the holder is %+v", h)
		}
		select {
		case <-s.Lost():
			t.Error("the lease is lost")
		default:
		}
		must(t, s.Append(records(1)[0]))
	})
}

// TestDeadHolder: a holder that renews its lease no more is waited for as long as the lease is good, and not longer; then it
// is refused.
func TestDeadHolder(t *testing.T) {
	places(t, func(t *testing.T, o Options) {
		a := mustOpen(t, o)
		must(t, a.Append(records(1)[0]))
		a.endRenewal()
		told := 0
		o.Watching = func(h Holder) { told++ }
		began := time.Now()
		b := mustOpen(t, o)
		if took := time.Since(began); took < defaultTTL || took > defaultTTL+3*time.Second || told != 1 {
			t.Errorf("it takes %v, and was told %d times; want about %v, once", took, told, defaultTTL)
		}
		must(t, b.Append(records(2)[1]))
		var fenced *FencedError
		if err := a.Append(records(1)[0]); !errors.As(err, &fenced) || fenced.Holder.PID != os.Getpid() || !strings.Contains(err.Error(), "taken over") {
			t.Errorf("the first one's Append = %v (%T)", err, err)
		}
		for what, err := range map[string]error{
			"Append": a.Append(records(1)[0]), "SetSecrets": a.SetSecrets(map[string][]byte{"a": {1}}), "Compact": a.Compact(Latest),
		} {
			if !isFenced(err) {
				t.Errorf("the first one's %s = %v", what, err)
			}
		}
		if err := a.journal.remove(t.Context(), a.mine); !isFenced(err) {
			t.Errorf("the first one's Remove = %v", err)
		}
		select {
		case <-a.Lost():
		default:
			t.Error("the first one's lease is not lost")
		}
		must(t, b.Close())
		if got := mustOpen(t, o).Records(); len(got) != 2 {
			t.Errorf("there are %d records; want 2", len(got))
		}
	})
}

// TestNeverWrittenHolder: a holder that has written nothing yet cannot begin to after another has taken over, even if that one
// has written nothing either.
func TestNeverWrittenHolder(t *testing.T) {
	places(t, func(t *testing.T, o Options) {
		a := mustOpen(t, o)
		a.endRenewal()
		b := mustOpen(t, o)
		must(t, b.Close())
		if err := a.SetSecrets(map[string][]byte{"a": {1}}); !isFenced(err) {
			t.Errorf("SetSecrets of the first = %v", err)
		}
		c := mustOpen(t, o)
		if c.Exists() {
			t.Error("a state exists that nobody was said to have written")
		}
		must(t, c.Append(records(1)[0]))
		must(t, c.Close())
		if got := mustOpen(t, o); len(got.Records()) != 1 || got.UID() != c.UID() {
			t.Errorf("there are %d records of %s", len(got.Records()), got.UID())
		}
	})
}

// TestClocksApart: two systems whose clocks are five minutes apart, in either direction, neither take a live holder's lease nor
// wait for a dead one's for ever.
func TestClocksApart(t *testing.T) {
	for _, apart := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		places(t, func(t *testing.T, o Options) {
			a := mustOpen(t, o)
			o.Now = func() time.Time { return time.Now().Add(apart) }
			openError[*LockedError](t, o)
			a.endRenewal()
			began := time.Now()
			must(t, mustOpen(t, o).Close())
			if took := time.Since(began); took > defaultTTL+3*time.Second {
				t.Errorf("clocks %v apart: it takes %v to take over", apart, took)
			}
		})
	}
}

// TestWaits: with time to wait, the lease is taken when it is given back.
func TestWaits(t *testing.T) {
	places(t, func(t *testing.T, o Options) {
		a := mustOpen(t, o)
		go func() {
			time.Sleep(2 * time.Minute)
			a.Close()
		}()
		o.Wait = time.Minute
		openError[*LockedError](t, o)
		o.Wait = 2 * time.Minute
		began := time.Now()
		mustOpen(t, o)
		if took := time.Since(began); took > 63*time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

// TestOddLeases: a lease of the future is refused, and one that cannot be read ends as all do.
func TestOddLeases(t *testing.T) {
	o := filled(t, 1)
	path := fileOf(t, o, "lease")
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.Replace(string(b), `"version":1`, `"version":2`, 1)), 0o600))
	openError[*VersionError](t, o)
	for _, text := range []string{"", "{}", "rubbish", strings.Repeat("\x00", 2048)} {
		synctest.Test(t, func(t *testing.T) {
			must(t, os.WriteFile(fileOf(t, o, "lease"), []byte(text), 0o600))
			must(t, mustOpen(t, o).Close())
		})
	}
	if len(mustOpen(t, o).Records()) != 1 {
		t.Error("the record is lost")
	}
}

// TestOneOfMany: of many who open a new state at once, one gets it; none is refused by another that is refused, too.
func TestOneOfMany(t *testing.T) {
	for i := range 3 {
		o := options(t)
		o.Folder = filepath.Join(o.Folder, fmt.Sprint(i))
		var mu sync.Mutex
		won := 0
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				s, err := Open(t.Context(), o)
				var locked *LockedError
				if err != nil && !errors.As(err, &locked) {
					t.Error(err)
				}
				if err != nil {
					return
				}
				if err := s.Append(records(1)[0]); err != nil {
					t.Error(err)
				}
				mu.Lock()
				won++
				mu.Unlock()
				time.Sleep(2 * time.Second)
				s.Close()
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d got it; want 1", won)
		}
	}
}
