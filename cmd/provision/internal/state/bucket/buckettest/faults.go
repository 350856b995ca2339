package buckettest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// RunFaults is the suite of what goes wrong between a bucket and its server. It needs the server's Proxy to itself.
func RunFaults(t *testing.T, s *Server) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Server)
	}{
		{"LostReply", lostReply},
		{"LostRequest", lostRequest},
		{"Overtaken", overtaken},
		{"RemovedMeanwhile", removedMeanwhile},
		{"NotOurs", notOurs},
		{"EveryReplyLost", everyReplyLost},
		{"LostDelete", lostDelete},
		{"RetryAfter", retryAfter},
		{"Throttled", throttled},
		{"Slow", slow},
		{"LateWrite", lateWrite},
		{"Deadline", deadline},
		{"HalfAnswer", halfAnswer},
		{"Vanish", vanish},
		{"Denied", denied},
		{"Stranger", stranger},
		{"Dead", dead},
		{"Random", random},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

// opened is a bucket whose server's conditions are checked already, with an object in it.
func opened(t *testing.T, s *Server, o bucket.Opener) (bucket.Bucket, bucket.Revision) {
	t.Helper()
	b, err := o.Open(t.Context(), s.URL("f-"+fmt.Sprint(mathrand.Int64())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // never fails: interface of a client of HTTP
	return b, put(t, b, "lock.json", "one", "")
}

func lostReply(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	for _, c := range []struct {
		key string
		was bucket.Revision
	}{{"lock.json", at}, {"new.json", ""}} {
		for n := range int64(3) {
			s.Proxy.Set(t, s.First(n+1, "put", Fault{Mute: true}))
			c.was = put(t, b, c.key, fmt.Sprint("mine ", n), c.was)
			holds(t, b, c.key, fmt.Sprint("mine ", n), c.was)
		}
	}
}

func lostRequest(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	s.Proxy.Set(t, s.First(2, "put", Fault{Lost: true}))
	holds(t, b, "lock.json", "mine", put(t, b, "lock.json", "mine", at))
	s.Proxy.Set(t, s.First(1, "put", Fault{Lost: true}))
	_, err := b.Put(t.Context(), "lock.json", []byte("stale"), at)
	is(t, "Put over a revision that is no more, its first try lost", err, bucket.ErrChanged)
}

// other lets somebody else write when our write is at the server, or before it is.
func other(t *testing.T, b bucket.Bucket, key string, change func(was bucket.Revision) error) func() {
	return func() {
		_, was, err := b.Get(context.Background(), key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get of somebody else: %v", err)
		}
		if err := change(was); err != nil {
			t.Errorf("somebody else: %v", err)
		}
	}
}

func overtaken(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	theirs := other(t, b, "lock.json", func(was bucket.Revision) error {
		_, err := b.Put(context.Background(), "lock.json", []byte("theirs"), was)
		return err
	})
	s.Proxy.Set(t, s.First(1, "put", Fault{Mute: true, After: theirs}))
	_, err := b.Put(t.Context(), "lock.json", []byte("mine"), at)
	unknown(t, "Put that was done, its reply lost, and written over", err)
	if got, _, err := b.Get(t.Context(), "lock.json"); string(got) != "theirs" {
		t.Fatalf("Get = %q, %v; want theirs", got, err)
	}
}

// unknown checks that an error says that nobody knows, and not that nothing was done.
func unknown(t *testing.T, what string, err error) {
	t.Helper()
	if e, ok := errors.AsType[*bucket.UnknownError](err); !ok || errors.Is(err, bucket.ErrChanged) || e.Key == "" || e.Op == "" {
		t.Fatalf("%s: got %v, want an UnknownError", what, err)
	}
}

func removedMeanwhile(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	for _, c := range []struct {
		key string
		was bucket.Revision
	}{{"lock.json", at}, {"new.json", ""}} {
		gone := other(t, b, c.key, func(was bucket.Revision) error { return b.Delete(context.Background(), c.key, was) })
		s.Proxy.Set(t, s.First(1, "put", Fault{Mute: true, After: gone}))
		at, err := b.Put(t.Context(), c.key, []byte("mine"), c.was)
		if c.was == "" && err == nil {
			// It was made anew: nothing tells that it had been there before.
			holds(t, b, c.key, "mine", at)
			continue
		}
		unknown(t, "Put that was done, its reply lost, and removed", err)
		_, _, err = b.Get(t.Context(), c.key)
		is(t, "Get after that", err, fs.ErrNotExist)
	}
}

// notOurs has somebody else win between two tries of which the first never arrived: that is certain, and said so.
func notOurs(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	theirs := other(t, b, "lock.json", func(was bucket.Revision) error {
		_, err := b.Put(context.Background(), "lock.json", []byte("theirs"), was)
		return err
	})
	first := s.First(1, "put", Fault{Lost: true})
	s.Proxy.Set(t, func(r *http.Request) Fault {
		f := first(r)
		if f.Lost {
			theirs()
		}
		return f
	})
	_, err := b.Put(t.Context(), "lock.json", []byte("mine"), at)
	is(t, "Put whose first try was lost while somebody else wrote", err, bucket.ErrChanged)
}

func everyReplyLost(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{Patience: time.Second})
	s.Proxy.Set(t, s.First(math.MaxInt64, "put", Fault{Mute: true}))
	_, err := b.Put(t.Context(), "lock.json", []byte("three"), at)
	unknown(t, "Put whose replies are all lost", err)
	s.Proxy.Set(t, nil)
	if got, _, err := b.Get(t.Context(), "lock.json"); string(got) != "three" {
		t.Fatalf("Get = %q, %v; want three", got, err)
	}
	s.Proxy.Set(t, s.First(math.MaxInt64, "put", Fault{Lost: true}))
	_, err = b.Put(t.Context(), "new.json", []byte("never"), "")
	unknown(t, "Put whose requests are all lost", err)
	s.Proxy.Set(t, nil)
	_, _, err = b.Get(t.Context(), "new.json")
	is(t, "Get of what was never written", err, fs.ErrNotExist)
}

func lostDelete(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	for _, f := range []Fault{{Mute: true}, {Lost: true}} {
		s.Proxy.Set(t, s.First(1, "delete", f))
		if err := b.Delete(t.Context(), "lock.json", at); err != nil {
			t.Fatalf("Delete with %+v: %v", f, err)
		}
		_, _, err := b.Get(t.Context(), "lock.json")
		is(t, "Get of a deleted object", err, fs.ErrNotExist)
		at = put(t, b, "lock.json", "again", "")
	}
	theirs := other(t, b, "lock.json", func(was bucket.Revision) error {
		_, err := b.Put(context.Background(), "lock.json", []byte("theirs"), was)
		return err
	})
	s.Proxy.Set(t, s.First(1, "delete", Fault{Mute: true, After: theirs}))
	is(t, "Delete whose reply was lost while somebody else made it anew", b.Delete(t.Context(), "lock.json", at), bucket.ErrChanged)
	if got, _, err := b.Get(t.Context(), "lock.json"); string(got) != "theirs" {
		t.Fatalf("Get = %q, %v; want theirs: another's object was deleted", got, err)
	}
}

func retryAfter(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	for _, status := range []int{429, 503} {
		s.Proxy.Set(t, s.First(1, "put", Fault{Status: status, Header: map[string]string{"Retry-After": "1"}}))
		began := time.Now()
		at = put(t, b, "lock.json", fmt.Sprint(status), at)
		if took := time.Since(began); took < time.Second {
			t.Errorf("status %d: tried again after %v, though asked to wait 1 s", status, took)
		}
	}
	for _, op := range []string{"get", "list"} {
		s.Proxy.Set(t, s.First(2, op, Fault{Status: 500}))
		holds(t, b, "lock.json", "503", at)
		if keys, err := b.List(t.Context(), ""); err != nil || !slices.Equal(keys, []string{"lock.json"}) {
			t.Fatalf("List = %q, %v", keys, err)
		}
	}
}

func throttled(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{Patience: time.Second})
	for _, c := range []struct {
		status int
		sure   bool
	}{{429, true}, {503, false}, {500, false}} {
		s.Proxy.Set(t, s.First(math.MaxInt64, "put", Fault{Status: c.status}))
		_, err := b.Put(t.Context(), "lock.json", []byte("two"), at)
		if e, ok := errors.AsType[*bucket.UnreachableError](err); !ok || e.URL != b.String() {
			t.Fatalf("status %d for ever: %v, want an UnreachableError", c.status, err)
		}
		if _, ok := errors.AsType[*bucket.UnknownError](err); ok == c.sure {
			t.Fatalf("status %d for ever: %v; that nothing was written is known: %v", c.status, err, c.sure)
		}
		s.Proxy.Set(t, nil)
		holds(t, b, "lock.json", "one", at)
	}
	s.Proxy.Set(t, s.First(1, "get", Fault{Status: 503, Header: map[string]string{"Retry-After": "3600"}}))
	began := time.Now()
	if _, _, err := b.Get(t.Context(), "lock.json"); err == nil || time.Since(began) > 5*time.Second {
		t.Fatalf("asked to come back in an hour: %v after %v, want an error at once", err, time.Since(began))
	}
}

func slow(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{Attempt: time.Second})
	s.Proxy.Set(t, s.First(1, "get", Fault{Delay: 3 * time.Second}))
	holds(t, b, "lock.json", "one", at)
	b, _ = opened(t, s, bucket.Opener{Attempt: time.Second, Patience: time.Second})
	s.Proxy.Set(t, s.First(math.MaxInt64, "get", Fault{Delay: 3 * time.Second}))
	_, _, err := b.Get(t.Context(), "lock.json")
	if _, ok := errors.AsType[*bucket.UnreachableError](err); !ok || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Get from a server that is always slow: %v, want an UnreachableError that is not the caller's deadline", err)
	}
}

// lateWrite has a write arrive at the server long after its writer gave that try up, together with the next one.
func lateWrite(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{Attempt: time.Second})
	for n := range 3 {
		s.Proxy.Set(t, s.First(1, "put", Fault{Delay: 3 * time.Second}))
		body := fmt.Sprint("late ", n)
		at = put(t, b, "lock.json", body, at)
		holds(t, b, "lock.json", body, at)
	}
}

func deadline(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	s.Proxy.Set(t, s.First(1, "put", Fault{Delay: 5 * time.Second}))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := b.Put(ctx, "lock.json", []byte("two"), at)
	unknown(t, "Put with the caller's deadline while it was under way", err)
	is(t, "Put", err, context.DeadlineExceeded)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v to notice a deadline of 0.3 s", took)
	}
}

func halfAnswer(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	big := strings.Repeat("0123456789", 50_000)
	at = put(t, b, "lock.json", big, at)
	s.Proxy.Set(t, s.First(2, "get", Fault{Half: true}))
	holds(t, b, "lock.json", big, at)
	s.Proxy.Set(t, s.First(2, "list", Fault{Half: true}))
	if keys, err := b.List(t.Context(), ""); err != nil || !slices.Equal(keys, []string{"lock.json"}) {
		t.Fatalf("List = %q, %v", keys, err)
	}
}

func vanish(t *testing.T, s *Server) {
	url, vanish := s.Vanishing(t)
	b := s.OpenURL(t, url)
	at := put(t, b, "lock.json", "one", "")
	vanish()
	_, _, got := b.Get(t.Context(), "lock.json")
	_, wrote := b.Put(t.Context(), "lock.json", []byte("two"), at)
	_, listed := b.List(t.Context(), "")
	_, opened := bucket.Open(t.Context(), url)
	for what, err := range map[string]error{
		"Get": got, "Put": wrote, "Delete": b.Delete(t.Context(), "lock.json", at), "List": listed, "Open": opened,
	} {
		if e, ok := errors.AsType[*bucket.MissingError](err); !ok || e.URL != url || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s in a bucket that vanished: %v, want a MissingError that is no missing object", what, err)
		}
	}
}

func denied(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	ops := calls(t, b, at)
	for op, call := range ops {
		s.Proxy.Set(t, s.First(math.MaxInt64, op, s.denied))
		if e, ok := errors.AsType[*bucket.DeniedError](call()); !ok || !strings.HasPrefix(e.Action, op) || !strings.Contains(e.Action, "(") {
			t.Errorf("%s: %v, want a DeniedError that names the action and the permission", op, call())
		}
	}
	s.Proxy.Set(t, s.First(math.MaxInt64, "list", s.denied))
	if _, err := bucket.Open(t.Context(), s.URL("p")); !isA[*bucket.DeniedError](err) {
		t.Errorf("Open: %v, want a DeniedError", err)
	}
	s.Proxy.Set(t, nil)
	holds(t, b, "lock.json", "one", at)
}

// calls are the four methods, by the op of the request that each makes first.
func calls(t *testing.T, b bucket.Bucket, at bucket.Revision) map[string]func() error {
	return map[string]func() error{
		"get":    func() error { _, _, err := b.Get(t.Context(), "lock.json"); return err },
		"put":    func() error { _, err := b.Put(t.Context(), "lock.json", []byte("two"), at); return err },
		"delete": func() error { return b.Delete(t.Context(), "lock.json", at) },
		"list":   func() error { _, err := b.List(t.Context(), ""); return err },
	}
}

// isA reports whether an error is, or wraps, a T.
func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func stranger(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{})
	for op, call := range calls(t, b, at) {
		s.Proxy.Set(t, s.First(math.MaxInt64, op, s.stranger))
		if e, ok := errors.AsType[*bucket.CredentialsError](call()); !ok || e.Hint == "" {
			t.Errorf("%s: %v, want a CredentialsError that tells where credentials are looked for", op, call())
		}
	}
	// Credentials that expire between a try whose reply was lost and the next leave the outcome open.
	s.Proxy.Set(t, nil)
	var seen int
	var mu sync.Mutex
	s.Proxy.Set(t, func(r *http.Request) Fault {
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == 1 {
			return Fault{Mute: true}
		}
		return s.stranger
	})
	_, err := b.Put(t.Context(), "lock.json", []byte("two"), at)
	unknown(t, "Put whose reply was lost, and then its credentials", err)
	if !isA[*bucket.CredentialsError](err) {
		t.Errorf("%v does not tell that credentials are the cause", err)
	}
}

func dead(t *testing.T, s *Server) {
	s.Proxy.Set(t, func(*http.Request) Fault { return Fault{Lost: true} })
	began := time.Now()
	if _, err := (bucket.Opener{Patience: 6 * time.Second}).Open(t.Context(), s.URL("p")); !isA[*bucket.UnreachableError](err) {
		t.Errorf("Open where nobody answers: %v, want an UnreachableError", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to tell", took)
	}
}

// random has 8 writers add lines to one object while one request in three goes wrong. Who was told that it is done finds its
// line there, once; who was told that it is not, does not.
func random(t *testing.T, s *Server) {
	b, at := opened(t, s, bucket.Opener{Attempt: 5 * time.Second})
	put(t, b, "lock.json", "\n", at)
	s.Proxy.Set(t, func(*http.Request) Fault {
		switch mathrand.IntN(15) {
		case 0:
			return Fault{Lost: true}
		case 1, 2:
			return Fault{Mute: true}
		case 3:
			return Fault{Status: 503}
		case 4:
			return Fault{Half: true}
		}
		return Fault{}
	})
	var mu sync.Mutex
	outcome := map[string]error{}
	each(8, 120, func(i int) {
		line := fmt.Sprintf("line-%03d", i)
		got, at, err := b.Get(t.Context(), "lock.json")
		if err != nil {
			t.Errorf("Get: %v", err)
			return
		}
		_, err = b.Put(t.Context(), "lock.json", []byte(string(got)+line+"\n"), at)
		mu.Lock()
		defer mu.Unlock()
		outcome[line] = err
	})
	s.Proxy.Set(t, nil)
	got, _, err := b.Get(t.Context(), "lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var done, late, open int
	for line, err := range outcome {
		times := strings.Count(string(got), "\n"+line+"\n")
		switch {
		case err == nil:
			done++
			if times != 1 {
				t.Errorf("%s was told to be written and is there %d times", line, times)
			}
		case errors.Is(err, bucket.ErrChanged):
			late++
			if times != 0 {
				t.Errorf("%s was told not to be written and is there", line)
			}
		case isA[*bucket.UnknownError](err):
			open++
		default:
			t.Errorf("Put(%s): %v", line, err)
		}
	}
	t.Logf("%d done, %d too late, %d unknown", done, late, open)
	if done == 0 {
		t.Error("none was done")
	}
}
