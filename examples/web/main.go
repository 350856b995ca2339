// Command web is a small web server to try a cluster with: it says which pod on which node answered.
//
//	GET /           a page
//	GET /healthz    ok, or 503 while it shuts down
//	GET /work?ms=N  keeps one processor busy for N milliseconds, to make an autoscaler work
//
// Pod and node come from POD_NAME and NODE_NAME, which a manifest fills from the downward API.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	s := newServer()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx, cmp.Or(os.Getenv("LISTEN"), ":8080")); err != nil {
		slog.Error("web server failed", "err", err)
		os.Exit(1)
	}
}

// drain is how long a pod goes on answering after it was told to end: kube-proxy on every node needs a moment to stop
// sending to it.
const drain = 3 * time.Second

// maxWork is the longest that one request may keep a processor busy.
const maxWork = 10 * time.Second

type server struct {
	pod, node, namespace string
	started              time.Time
	count                atomic.Int64
	ending               atomic.Bool
}

func newServer() *server {
	host, _ := os.Hostname()
	return &server{
		pod:       cmp.Or(os.Getenv("POD_NAME"), host),
		node:      cmp.Or(os.Getenv("NODE_NAME"), "unknown"),
		namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), "default"),
		started:   time.Now(),
	}
}

func (s *server) run(ctx context.Context, addr string) error {
	h := &http.Server{Addr: addr, Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- h.ListenAndServe() }()
	slog.Info("listening", "addr", addr, "pod", s.pod, "node", s.node)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.ending.Store(true)
	time.Sleep(drain)
	end, cancel := context.WithTimeout(context.Background(), maxWork+time.Second)
	defer cancel()
	if err := h.Shutdown(end); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /work", s.work)
	return mux
}

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	data := map[string]any{
		"Pod": s.pod, "Node": s.node, "Namespace": s.namespace, "Remote": r.RemoteAddr,
		"Time": now.UTC().Format(time.RFC3339), "Up": now.Sub(s.started).Round(time.Second), "Count": s.count.Add(1),
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := page.Execute(w, data); err != nil {
		slog.Warn("page not written", "err", err)
	}
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	if s.ending.Load() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *server) work(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(cmp.Or(r.FormValue("ms"), "200"))
	length := time.Duration(ms) * time.Millisecond
	if err != nil || length < 0 || length > maxWork {
		http.Error(w, fmt.Sprintf("ms must be a number from 0 to %d", maxWork.Milliseconds()), http.StatusBadRequest)
		return
	}
	rounds := burn(r.Context(), length)
	fmt.Fprintf(w, "%s worked for %s: %d rounds\n", s.pod, length, rounds)
}

// burn keeps a processor busy until the time is over or the client has gone, and returns how much it did.
func burn(ctx context.Context, length time.Duration) (rounds int) {
	x := uint64(1)
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; rounds++ {
		for range 10_000 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
	}
	if x == 0 {
		return 0 // never so, but the compiler cannot know and must do the work
	}
	return rounds
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Pod}}</title>
<style>
  :root { color-scheme: light dark; --ink: #16202c; --quiet: #647183; --line: #dfe5ec; --paper: #fff; --back: #f3f6f9; --mark: #1463d8 }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8edf3; --quiet: #93a1b3; --line: #2b3644; --paper: #18212c; --back: #0f161e; --mark: #6aa7ff } }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
  main { background: var(--paper); border: 1px solid var(--line); border-radius: 14px; padding: 2rem 2.4rem; width: min(30rem, 82vw) }
  h1 { font-size: 1.05rem; font-weight: 600; margin: 0; color: var(--mark) }
  .pod { font: 600 1.35rem/1.3 ui-monospace, monospace; overflow-wrap: anywhere; margin: .3rem 0 1.4rem }
  dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1.4rem; margin: 0 }
  dt { color: var(--quiet) }
  dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
  footer { border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: 1rem; color: var(--quiet); font-size: .875rem }
  a { color: var(--mark) }
</style>
<main>
  <h1>The cluster answers</h1>
  <p class="pod">{{.Pod}}</p>
  <dl>
    <dt>Node</dt><dd>{{.Node}}</dd>
    <dt>Namespace</dt><dd>{{.Namespace}}</dd>
    <dt>You are</dt><dd>{{.Remote}}</dd>
    <dt>Time</dt><dd>{{.Time}}</dd>
    <dt>Up for</dt><dd>{{.Up}}</dd>
    <dt>Pages from this pod</dt><dd>{{.Count}}</dd>
  </dl>
  <footer>Reload to meet another pod. <a href="/work?ms=500">Make it work</a> to see it scale.</footer>
</main>
</html>
`))
