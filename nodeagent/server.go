package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/provisionhq/provision/templates"
)

// serve answers on the agent's socket until ctx ends. Only root can reach it.
func (a *agent) serve(ctx context.Context, exit func()) error {
	if err := os.Remove(templates.AgentSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", templates.AgentSocket)
	syscall.Umask(old)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: a.handler(exit), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler answers what commands ask. exit ends the agent, and leaves the processes alone.
func (a *agent) handler(exit func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.status()) })
	mux.HandleFunc("GET /watch", a.watch)
	mux.HandleFunc("POST /reload", a.reloadNow)
	mux.HandleFunc("POST /restart/node-agent", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		time.AfterFunc(50*time.Millisecond, exit) // whoever started it starts it again
	})
	mux.HandleFunc("POST /restart/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := a.sup.Restart(r.PathValue("name")); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
		}
	})
	mux.HandleFunc("POST /etcd/look", func(w http.ResponseWriter, r *http.Request) { a.keeper.Look(r.Context()) })
	mux.HandleFunc("POST /kill", func(w http.ResponseWriter, _ *http.Request) {
		a.kill()
		w.WriteHeader(http.StatusNoContent)
		time.AfterFunc(50*time.Millisecond, exit)
	})
	return mux
}

// kill ends all processes for good.
func (a *agent) kill() {
	a.mu.Lock()
	a.dead = true
	if a.stopOld != nil {
		a.stopOld()
	}
	a.mu.Unlock()
	a.vip.leave()
	a.services.leave()
	a.sup.Kill()
}

func writeJSON(w http.ResponseWriter, s templates.Status) {
	b, err := templates.RenderStatus(s)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(b)
}

// watch writes the status, and again whenever it changes.
func (a *agent) watch(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	for {
		a.mu.Lock()
		mine := a.changed
		a.mu.Unlock()
		theirs := a.sup.Changed()
		writeJSON(w, a.status())
		if flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-mine:
		case <-theirs:
		}
	}
}

// reloadNow makes the agent read its configuration again. It answers when the agent has begun.
func (a *agent) reloadNow(_ http.ResponseWriter, r *http.Request) {
	answer := make(chan error, 1)
	select {
	case a.reload <- answer:
		<-answer
	case <-r.Context().Done():
	}
}

// lock makes sure that there is one agent. The kernel drops the lock when the agent dies.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, errors.New("another node agent runs already")
	}
	_ = f.Truncate(0)
	fmt.Fprintln(f, os.Getpid())
	return func() { f.Close() }, nil
}

// holder returns the PID of the agent that runs, if one does.
func holder() (int, bool) {
	path := filepath.Join(runDir, "agent.lock")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return 0, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid, err == nil
}

// client returns a client of the agent's socket.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", templates.AgentSocket)
		},
	}}
}

// errNotRunning says that nobody answers on the socket.
var errNotRunning = errors.New("the node agent is not running")

// ask sends one request to the agent that runs.
func ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := client().Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, errNotRunning
		}
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		var text [512]byte
		n, _ := res.Body.Read(text[:])
		return nil, errors.New(strings.TrimSpace(string(text[:n])))
	}
	return res, nil
}

// tell sends a request whose answer says nothing.
func tell(ctx context.Context, method, path string) error {
	res, err := ask(ctx, method, path)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// watchStatus calls f with the status, and again whenever it changes, until f returns true or ctx ends. It waits for the
// agent to come up, and comes back when the agent was restarted.
func watchStatus(ctx context.Context, f func(templates.Status) bool) error {
	for {
		err := watchOnce(ctx, f)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func watchOnce(ctx context.Context, f func(templates.Status) bool) error {
	res, err := ask(ctx, http.MethodGet, "/watch")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for d := json.NewDecoder(res.Body); ; {
		var s templates.Status
		if err := d.Decode(&s); err != nil {
			return err
		}
		if f(s) {
			return nil
		}
	}
}
