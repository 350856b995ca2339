package addresses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/templates"
)

// A server is an API with the one ConfigMap, or without it.
type server struct {
	mu      sync.Mutex
	away    error
	data    string // "": there is none
	reads   int
	watcher *io.PipeWriter
	query   string
}

func object(data string) string {
	b, err := json.Marshal(map[string]any{"metadata": map[string]string{"resourceVersion": "7"}, "data": map[string]string{templates.AnnouncementsKey: data}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (s *server) Do(_ context.Context, _, _ string, _ []byte, out any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.away != nil {
		return s.away
	}
	items := ""
	if s.data != "" {
		items = object(s.data)
	}
	return json.Unmarshal([]byte(`{"metadata":{"resourceVersion":"9"},"items":[`+items+`]}`), out)
}

func (s *server) Stream(_ context.Context, path string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return nil, s.away
	}
	r, w := io.Pipe()
	s.watcher, s.query = w, path
	return r, nil
}

// event is what a watch says.
func (s *server) event(kind, data string) {
	s.mu.Lock()
	w := s.watcher
	s.mu.Unlock()
	fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", kind, object(data))
}

func (s *server) leave(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
	if err != nil {
		s.watcher.Close()
	}
}

const one, two, none = `{"addresses":[{"address":"10.0.9.1"}]}`, `{"addresses":[{"address":"10.0.9.1"},{"address":"10.0.9.2"}]}`, ""

// TestFollow goes through a table's life: none, made, changed, damaged, the API away and back, deleted.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		var mu sync.Mutex
		count, problem := -1, error(nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go Follow(ctx, s, func(a templates.Announcements) { mu.Lock(); defer mu.Unlock(); count = len(a.Addresses) },
			func(err error) { mu.Lock(); defer mu.Unlock(); problem = err })
		expect := func(step string, n int, words string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if count != n || (problem == nil) != (words == "") || problem != nil && !strings.Contains(problem.Error(), words) {
				t.Errorf("%s: %d addresses, problem %v; want %d, %q", step, count, problem, n, words)
			}
		}
		expect("none", 0, "")
		s.event("ADDED", one)
		expect("made", 1, "")
		s.event("MODIFIED", two)
		expect("changed", 2, "")
		s.event("MODIFIED", `{"addresses":7}`)
		expect("damaged", 2, "provision-balancers")
		s.event("MODIFIED", two)
		expect("mended", 2, "")
		s.leave(errors.New("connection refused"))
		time.Sleep(time.Hour)
		expect("away", 2, "connection refused")
		s.data = one
		s.leave(nil)
		time.Sleep(2 * again)
		expect("back", 1, "")
		s.event("DELETED", one)
		expect("deleted", 0, "")
		if want := "fieldSelector=metadata.name%3Dprovision-balancers&resourceVersion=9&timeoutSeconds=300&watch=1"; !strings.HasSuffix(s.query, want) {
			t.Errorf("it watches %s", s.query)
		}
		s.event("ERROR", none)
		time.Sleep(2 * again)
		expect("read anew", 1, "")
		s.watcher.Close()
	})
}

// TestSilent has a server that is gone and does not say so: the watch is given up in time.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		ctx, cancel := context.WithCancel(t.Context())
		f := &closing{server: s}
		go Follow(ctx, f, func(templates.Announcements) {}, func(error) {})
		time.Sleep(2 * watch)
		s.mu.Lock()
		if s.reads < 2 {
			t.Errorf("read %d times", s.reads)
		}
		s.mu.Unlock()
		cancel()
		synctest.Wait()
	})
}

// A closing server's streams end with their context, as HTTP's do.
type closing struct{ *server }

func (c *closing) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := c.server.Stream(ctx, path)
	c.mu.Lock()
	w := c.watcher
	c.mu.Unlock()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return r, err
}
