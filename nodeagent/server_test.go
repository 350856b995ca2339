package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/nodeagent/balancer"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// testAgent returns an agent that runs one process, and a server of its socket's requests.
func testAgent(t *testing.T, ready func(context.Context) error) (*agent, *httptest.Server, *atomic.Bool) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	sup, err := supervisor.New(supervisor.Options{Records: filepath.Join(dir, "processes.json"), Logs: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sup.Kill)
	if err := sup.Set([]controlplane.Process{{Name: "sleep", Path: sleep, Args: []string{"3600"}, Ready: ready}}); err != nil {
		t.Fatal(err)
	}
	a := &agent{
		log: log, sup: sup, balancer: balancer.New(balancer.Options{}), reload: make(chan chan error), changed: make(chan struct{}),
		problems: map[string]string{}, hash: "h", node: testNode(templates.Worker, 0), images: imageState{done: true},
	}
	var exited atomic.Bool
	s := httptest.NewServer(a.handler(func() { exited.Store(true) }))
	t.Cleanup(s.CloseClientConnections)
	return a, s, &exited
}

func TestWatchStreamsChanges(t *testing.T) {
	var well atomic.Bool
	a, s, _ := testAgent(t, func(context.Context) error {
		if !well.Load() {
			return errors.New("not yet")
		}
		return nil
	})
	res, err := http.Get(s.URL + "/watch")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	d := json.NewDecoder(res.Body)
	until := func(what string, ok func(templates.Status) bool) {
		t.Helper()
		for {
			var st templates.Status
			if err := d.Decode(&st); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if ok(st) {
				return
			}
		}
	}
	until("not ready at first", func(st templates.Status) bool {
		return !st.Ready && len(st.Processes) == 4 && st.Processes[0].LastProbe == "not yet"
	})
	well.Store(true)
	until("ready then", func(st templates.Status) bool { return st.Ready && st.Node == "demo-cp-0" })
	a.problem("disk", errors.New("disk is full"))
	until("not ready with a problem", func(st templates.Status) bool {
		return !st.Ready && strings.Join(st.Problems, "") == "disk is full"
	})
	a.problem("disk", nil)
	until("ready again", func(st templates.Status) bool { return st.Ready })
	a.reportCNI(os.ErrNotExist)
	until("not ready without a network", func(st templates.Status) bool { return !st.Ready })
}

func post(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func (a *agent) pidOf(t *testing.T, name string) int {
	t.Helper()
	for range 500 {
		for _, p := range a.sup.Status() {
			if p.Name == name && p.Ready {
				return p.PID
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not become ready", name)
	return 0
}

func TestRestartKillAndReload(t *testing.T) {
	a, s, exited := testAgent(t, nil)
	first := a.pidOf(t, "sleep")
	if code := post(t, s.URL+"/restart/nothing"); code != http.StatusNotFound {
		t.Errorf("restart of nothing answers %d", code)
	}
	if code := post(t, s.URL+"/restart/sleep"); code != http.StatusOK {
		t.Errorf("restart answers %d", code)
	}
	for a.pidOf(t, "sleep") == first {
		time.Sleep(10 * time.Millisecond)
	}
	reloaded := make(chan struct{})
	go func() { answer := <-a.reload; answer <- nil; close(reloaded) }()
	if code := post(t, s.URL+"/reload"); code != http.StatusOK {
		t.Errorf("reload answers %d", code)
	}
	<-reloaded
	post(t, s.URL+"/restart/node-agent")
	for range 200 {
		if exited.Load() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !exited.Load() {
		t.Error("restart of the agent itself does not make it exit")
	}
	pid := a.pidOf(t, "sleep")
	if code := post(t, s.URL+"/kill"); code != http.StatusNoContent {
		t.Errorf("kill answers %d", code)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the process runs after kill")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || !strings.Contains(err.Error(), "another node agent") {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	again, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestNotReadyWhileStale sees that a node with another configuration is not called ready for what it ran before.
func TestNotReadyWhileStale(t *testing.T) {
	a, _, _ := testAgent(t, func(context.Context) error { return nil })
	for deadline := time.Now().Add(10 * time.Second); !a.status().Ready; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not become ready: %+v", a.status())
		}
	}
	changed := a.changed
	a.begin(true)
	if a.status().Ready {
		t.Error("it is ready before it runs what it was told to")
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	if a.begin(false); !a.status().Ready {
		t.Error("it is not ready again")
	}
}
