package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A scripted store answers each request with the next of its answers, and then as a store that holds now.
type scripted struct {
	answers []error
	now     object
	asked   []string
	delay   time.Duration // of every answer
}

func (s *scripted) next(ctx context.Context, op string) error {
	s.asked = append(s.asked, op)
	if err := pause(ctx, s.delay); err != nil {
		return &failure{kind: busy, err: err}
	}
	if len(s.answers) == 0 {
		return nil
	}
	err := s.answers[0]
	s.answers = s.answers[1:]
	return err
}

func (s *scripted) get(ctx context.Context, _ string) (object, error) {
	return s.now, s.next(ctx, "get")
}
func (s *scripted) stat(ctx context.Context, _ string) (object, error) {
	return s.now, s.next(ctx, "stat")
}
func (s *scripted) put(ctx context.Context, _ string, o object) (Revision, error) {
	err := s.next(ctx, "put")
	if s.now.mark.write == "ours" {
		s.now.mark.write = o.mark.write
	}
	return "new", err
}
func (s *scripted) remove(ctx context.Context, _ string, _ Revision) error {
	return s.next(ctx, "remove")
}
func (s *scripted) list(ctx context.Context, _, _ string) ([]string, string, error) {
	return nil, "again", s.next(ctx, "list")
}
func (s *scripted) permission(string) string { return "everything" }
func (s *scripted) close()                   {}

func (s *scripted) client() *client {
	c := &client{store: s, url: "s3://b", attempt: 15 * time.Second, patience: time.Minute, checks: make(chan bool, 1)}
	c.checks <- true
	return c
}

func fails(k kind) error { return &failure{kind: k, err: fmt.Errorf("kind %d", k)} }

// TestPutOutcomes has a table of what the store says, request after request, and what the writer must be told.
func TestPutOutcomes(t *testing.T) {
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	unknown := func(err error) bool { return errors.As(err, new(*UnknownError)) && !errors.Is(err, ErrChanged) }
	ours, theirs := object{revision: "new", mark: mark{write: "ours", over: "1"}}, object{revision: "9", mark: mark{write: "x", over: "8"}}
	instead := object{revision: "9", mark: mark{write: "x", over: "1"}}
	strange := object{revision: "9"}
	for name, c := range map[string]struct {
		answers []error
		now     object
		want    func(error) bool
	}{
		"done at once":    {nil, ours, is(nil)},
		"refused at once": {[]error{fails(changed)}, theirs, is(ErrChanged)},
		"refused at once, but done: between us it was tried again": {[]error{fails(changed)}, ours, is(nil)},
		"no such object":                                  {[]error{fails(noObject), fails(noObject)}, theirs, is(ErrChanged)},
		"lost, then done":                                 {[]error{fails(busy)}, ours, is(nil)},
		"lost, then ours is there":                        {[]error{fails(busy), fails(changed)}, ours, is(nil)},
		"lost, then another is there instead":             {[]error{fails(busy), fails(changed)}, instead, is(ErrChanged)},
		"lost, then another is there after others":        {[]error{fails(busy), fails(changed)}, theirs, unknown},
		"lost, then one without a mark is there":          {[]error{fails(busy), fails(changed)}, strange, unknown},
		"lost, then there is none":                        {[]error{fails(busy), fails(changed), fails(noObject)}, theirs, unknown},
		"lost, then whose it is cannot be read":           {[]error{fails(busy), fails(changed), fails(denied)}, theirs, unknown},
		"lost, then what is there cannot be read at once": {[]error{fails(busy), fails(changed), fails(busy), fails(changed)}, ours, is(nil)},
		"lost, then credentials expire":                   {[]error{fails(busy), fails(stranger)}, ours, unknown},
		"lost, then the bucket is gone":                   {[]error{fails(busy), fails(noBucket)}, ours, unknown},
		"never arrived, then refused":                     {[]error{fails(unheard), fails(changed)}, theirs, is(ErrChanged)},
		"never arrived, then denied": {[]error{fails(unheard), fails(denied)}, theirs, func(err error) bool {
			return errors.As(err, new(*DeniedError)) && !unknown(err)
		}},
		"no way there": {[]error{fails(nowhere)}, theirs, func(err error) bool {
			return errors.As(err, new(*UnreachableError)) && !unknown(err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{answers: c.answers, now: c.now}
				at, err := s.client().Put(t.Context(), "k", nil, "1")
				if !c.want(err) || (err == nil) != (at == "new") {
					t.Errorf("Put = %q, %v (asked %q)", at, err, s.asked)
				}
			})
		})
	}
}

func TestPatience(t *testing.T) {
	for name, c := range map[string]struct {
		answer error
		delay  time.Duration
		sure   bool
		within time.Duration
	}{
		"busy for ever":          {fails(busy), 0, false, time.Minute},
		"unheard for ever":       {fails(unheard), 0, true, time.Minute},
		"no answer for ever":     {nil, time.Hour, false, 76 * time.Second}, // the last try may begin at the end
		"asked to wait too long": {&failure{kind: unheard, err: errors.New("slow down"), after: 2 * time.Minute}, 0, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{delay: c.delay}
				for range 1000 {
					s.answers = append(s.answers, c.answer)
				}
				began := time.Now()
				_, err := s.client().Put(t.Context(), "k", nil, "1")
				took := time.Since(began)
				if !errors.As(err, new(*UnreachableError)) || errors.As(err, new(*UnknownError)) == c.sure || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Put: %v", err)
				}
				if took > c.within || took < c.within*3/4 || len(s.asked) > 25 {
					t.Errorf("it took %v and %d requests; want about %v", took, len(s.asked), c.within)
				}
			})
		})
	}
}

// TestCallersEnd has the caller's context end before, in and between tries.
func TestCallersEnd(t *testing.T) {
	for name, c := range map[string]struct {
		answers []error
		delay   time.Duration
		sure    bool
	}{
		"in the first try":               {nil, time.Hour, false},
		"waiting, after a lost answer":   {[]error{fails(busy), fails(busy), fails(busy), fails(busy), fails(busy), fails(busy)}, 0, false},
		"waiting, with nothing received": {[]error{fails(unheard), fails(unheard), fails(unheard), fails(unheard), fails(unheard), fails(unheard)}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, fs.ErrClosed)
				defer cancel()
				began := time.Now()
				_, err := (&scripted{answers: c.answers, delay: c.delay}).client().Put(ctx, "k", nil, "1")
				if !errors.Is(err, fs.ErrClosed) || errors.As(err, new(*UnknownError)) == c.sure || time.Since(began) != 2*time.Second {
					t.Errorf("Put after %v: %v; want the cause that the context gives", time.Since(began), err)
				}
			})
		})
	}
}

func TestListOfOnePageForEver(t *testing.T) {
	if keys, err := (&scripted{}).client().List(t.Context(), ""); err == nil {
		t.Errorf("List of a store that names one page for ever = %q", keys)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "x": 0, "Mon, 23 Nov 2026 14:00:05 GMT": 5 * time.Second, "Mon, 23 Nov 2026 13:00:05 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", v, got, want)
		}
	}
}
