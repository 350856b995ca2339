package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// inBucket are options of a state in a bucket in memory.
func inBucket(t *testing.T) (Options, *bucket.Memory) {
	t.Helper()
	o := options(t)
	m := bucket.NewMemory()
	m.Hashed = true
	o.Bucket = m
	return o, m
}

func TestBucketKeepsAll(t *testing.T) {
	o, m := inBucket(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"ssh": []byte("key")}))
	for _, r := range records(30) {
		must(t, s.Append(r))
	}
	must(t, s.SetSecrets(map[string][]byte{"pki": []byte("new")}))
	uid := s.UID()
	must(t, s.Close())
	for _, readOnly := range []bool{true, false} {
		o.ReadOnly = readOnly
		s := mustOpen(t, o)
		a, _ := s.Secret("ssh")
		b, _ := s.Secret("pki")
		if s.UID() != uid || !reflect.DeepEqual(s.Records(), records(30)) || string(a) != "key" || string(b) != "new" || s.Folder() != "" || s.Place() != "mem://" {
			t.Errorf("UID %s, %d records, secrets %q and %q, in %s", s.UID(), len(s.Records()), a, b, s.Place())
		}
		must(t, s.Close())
	}
	if keys, _ := m.List(t.Context(), ""); len(keys) != 3 {
		t.Errorf("the bucket holds %v; want journal, lease and secrets", keys)
	}
	s = mustOpen(t, o)
	must(t, s.Remove())
	if keys, _ := m.List(t.Context(), ""); len(keys) != 0 {
		t.Errorf("after Remove the bucket holds %v", keys)
	}
	must(t, mustOpen(t, o).Close())
	if keys, _ := m.List(t.Context(), ""); len(keys) != 0 {
		t.Errorf("a state that was never written left %v", keys)
	}
}

// TestBases: a journal that grows is moved to bases, which are read, kept over a change of writers, and go with a compaction.
func TestBases(t *testing.T) {
	o, m := inBucket(t)
	var largest int
	s := mustOpen(t, o)
	var want []Record
	for i := range 40 {
		r := Record{Type: Note, Address: fmt.Sprintf("n[%d]", i), Time: noon, Data: []byte(`"` + strings.Repeat("x", 30_000) + `"`)}
		must(t, s.Append(r))
		want = append(want, r)
		b, _, err := m.Get(t.Context(), "journal")
		must(t, err)
		largest = max(largest, len(b))
		if i == 20 {
			must(t, s.Close())
			s = mustOpen(t, o)
		}
	}
	must(t, s.Close())
	bases, _ := m.List(t.Context(), "base.")
	if len(bases) < 3 || largest > journalLimit+1000 {
		t.Errorf("%d bases, and a journal of up to %d bytes; want some, and at most %d", len(bases), largest, journalLimit)
	}
	s = mustOpen(t, o)
	if !reflect.DeepEqual(s.Records(), want) {
		t.Errorf("%d records are read; want %d", len(s.Records()), len(want))
	}
	must(t, s.Compact(func(rs []Record) []Record { return rs[35:] }))
	must(t, s.Close())
	if !reflect.DeepEqual(mustOpen(t, o).Records(), want[35:]) {
		t.Error("after the compaction other records are read")
	}
	if after, _ := m.List(t.Context(), "base."); len(after) != 0 {
		t.Errorf("after the compaction there are still %v", after)
	}
}

func TestDamagedBase(t *testing.T) {
	o, m := inBucket(t)
	s := mustOpen(t, o)
	for range 12 {
		must(t, s.Append(Record{Type: Note, Data: []byte(`"` + strings.Repeat("x", 30_000) + `"`)}))
	}
	must(t, s.Close())
	keys, _ := m.List(t.Context(), "base.")
	b, revision, err := m.Get(t.Context(), keys[0])
	must(t, err)
	b[100] ^= 1
	revision, err = m.Put(t.Context(), keys[0], b, revision)
	must(t, err)
	openError[*CorruptError](t, o)
	must(t, m.Delete(t.Context(), keys[0], revision))
	openError[*CorruptError](t, o)
}

// TestStoppedInABucket: a writer whose request is held up past its lease, before it or after it has taken effect, is refused,
// or what it wrote was read by the next one. At any request; -writers says how often.
func TestStoppedInABucket(t *testing.T) {
	for i := range max(40, *writers) {
		synctest.Test(t, func(t *testing.T) { stoppedRound(t, i) })
	}
}

func stoppedRound(t *testing.T, i int) {
	o, m := inBucket(t)
	o.TTL, o.strange = time.Second, true
	o.Wait = time.Minute
	o.Recipients = []string{publicKey(t, o)}
	held := rand.IntN(40)
	var mu sync.Mutex
	m.Inject = func(op, key string) (f bucket.Fault) {
		mu.Lock()
		defer mu.Unlock()
		if op == "put" || op == "delete" {
			if held--; held == 0 {
				f = bucket.Fault{Delay: time.Hour}
				if i%4 >= 2 {
					f = bucket.Fault{After: errors.New("the answer is lost")}
				}
			}
		}
		return f
	}
	a, err := Open(t.Context(), o)
	must(t, err)
	var acks []string
	done := make(chan error)
	go func() {
		for k := 0; ; k++ {
			address := fmt.Sprintf("a[%d]", k)
			var err error
			switch {
			case k == 25:
				done <- nil
				return
			case k%7 == 3:
				err = a.Compact(func(rs []Record) []Record { return rs })
			default:
				if err = a.Append(Record{Type: Note, Address: address}); err == nil {
					acks = append(acks, address)
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	select {
	case err = <-done:
		a.Close() // its own request may be the one that is held up
	case <-time.After(2 * time.Minute): // it hangs, and so does what renews its lease if that is what was held up
		a.endRenewal()
		err = errors.New("held up")
	}
	mu.Lock()
	held = -1 // what comes now is the next one's
	mu.Unlock()
	b, openErr := Open(t.Context(), o)
	must(t, openErr)
	read := b.Records()
	must(t, b.Append(Record{Type: Note, Address: "b"}))
	if err != nil && err.Error() == "held up" {
		err = <-done
		var fenced *FencedError
		if !errors.As(err, &fenced) && err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("round %d: the one that was held up ends with %v", i, err)
		}
	}
	must(t, b.Close())
	final := mustOpen(t, o).Records()
	if want := append(read, Record{Type: Note, Address: "b", Time: noon}); !reflect.DeepEqual(final, want) {
		t.Errorf("round %d: there are %d records; want the %d that were read and one more", i, len(final), len(read))
	}
	if len(read) < len(acks) {
		t.Errorf("round %d: %d writes were said to be done, and %d were read", i, len(acks), len(read))
	}
}

// publicKey makes the identity of the options.
func publicKey(t *testing.T, o Options) string {
	t.Helper()
	key, err := PublicKey(o)
	must(t, err)
	return key
}

// TestLostAnswers: whatever answer is lost, what was said to be written is there, once.
func TestLostAnswers(t *testing.T) {
	for n := range 30 {
		o, m := inBucket(t)
		var mu sync.Mutex
		count := 0
		m.Inject = func(op, _ string) (f bucket.Fault) {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == n {
				f.After = errors.New("the answer is lost")
			}
			return f
		}
		var acks []string
		for round := range 3 {
			s, err := Open(t.Context(), o)
			if err != nil {
				continue
			}
			for k := range 4 {
				address := fmt.Sprintf("n[%d][%d]", round, k)
				if s.Append(Record{Type: Note, Address: address}) == nil {
					acks = append(acks, address)
				}
			}
			s.Close()
		}
		seen := map[string]int{}
		for _, r := range mustOpen(t, o).Records() {
			seen[r.Address]++
		}
		for _, a := range acks {
			if seen[a] != 1 {
				t.Errorf("answer %d lost: %s is there %d times; want once", n, a, seen[a])
			}
		}
		if len(acks) < 8 {
			t.Errorf("answer %d lost: only %d writes succeeded", n, len(acks))
		}
	}
}

// TestBucketVanishes: a write fails with a diagnostic, the lease is lost, and when the bucket is there again, so is all that was
// said to be written.
func TestBucketVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, m := inBucket(t)
		o.strange = true // so that the clock is the test's
		var mu sync.Mutex
		gone := false
		m.Inject = func(string, string) (f bucket.Fault) {
			mu.Lock()
			defer mu.Unlock()
			if gone {
				f.Before = &bucket.MissingError{URL: "s3://team", Err: errors.New("NoSuchBucket")}
			}
			return f
		}
		set := func(b bool) { mu.Lock(); defer mu.Unlock(); gone = b }
		s := mustOpen(t, o)
		must(t, s.Append(records(1)[0]))
		set(true)
		var store *StoreError
		if err := s.Append(records(2)[1]); !errors.As(err, &store) || store.DiagnosticID() != "state-no-bucket" {
			t.Errorf("Append = %v (%T)", err, err)
		}
		select {
		case <-s.Lost():
			t.Error("the lease is lost at once")
		default:
		}
		time.Sleep(2 * defaultTTL)
		select {
		case <-s.Lost():
		default:
			t.Error("the lease is not lost")
		}
		if err := s.Close(); err == nil {
			t.Error("Close succeeds")
		}
		set(true)
		openError[*StoreError](t, o)
		set(false)
		if got := mustOpen(t, o).Records(); len(got) != 1 {
			t.Errorf("there are %d records; want 1", len(got))
		}
	})
}

// TestBucketErrors: each error of a bucket names a diagnostic.
func TestBucketErrors(t *testing.T) {
	o, m := inBucket(t)
	why := errors.New("because")
	for want, errs := range map[string][]error{
		"state-unreachable":    {&bucket.UnreachableError{Err: why}},
		"state-no-bucket":      {&bucket.MissingError{Err: why}},
		"state-denied":         {&bucket.DeniedError{Err: why}},
		"state-credentials":    {&bucket.CredentialsError{Err: why}},
		"state-no-credentials": {&bucket.CredentialsError{Err: why, Trouble: bucket.Missing}},
		"state-expired":        {&bucket.CredentialsError{Err: why, Trouble: bucket.Expired}},
		"state-clock":          {&bucket.CredentialsError{Err: why, Trouble: bucket.Skewed}},
		"state-region":         {&bucket.RegionError{Err: why}},
		"state-url":            {&bucket.UnconditionalError{}, &bucket.URLError{}},
	} {
		for _, err := range errs {
			m.Inject = func(string, string) bucket.Fault { return bucket.Fault{Before: err} }
			if e := openError[*StoreError](t, o); e.DiagnosticID() != want {
				t.Errorf("%T is %s; want %s", err, e.DiagnosticID(), want)
			}
		}
	}
	for _, url := range []string{"bucket", "s3:", "file://host/x", "file:relative", "ftp://x/y", "s3://user:secret@bucket/x"} {
		o := options(t)
		o.URL = url
		_, err := Open(t.Context(), o)
		var ours coded
		if !errors.As(err, &ours) || ours.DiagnosticID() != "state-url" || strings.Contains(err.Error(), "secret") {
			t.Errorf("the URL %s: %v (%T)", url, err, err)
		}
	}
}

// TestJournalObjectLost: a bucket with a state's secrets and no journal does not become a new state.
func TestJournalObjectLost(t *testing.T) {
	o, m := inBucket(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": {1}}))
	must(t, s.Close())
	_, revision, err := m.Get(t.Context(), "journal")
	must(t, err)
	must(t, m.Delete(t.Context(), "journal", revision))
	openError[*CorruptError](t, o)
	f := filled(t, 1)
	s = mustOpen(t, f)
	must(t, s.SetSecrets(map[string][]byte{"a": {1}}))
	must(t, s.Close())
	must(t, removeFile(fileOf(t, f, "journal")))
	openError[*CorruptError](t, f)
	if _, err := m.List(t.Context(), ""); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
