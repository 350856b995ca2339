package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/graph"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers/fake"
)

// TestFenced: a writer whose lease another has taken begins no step more, and does not say that a person interrupted it.
func TestFenced(t *testing.T) {
	st, c := replaceSite(t)
	var mu sync.Mutex
	var began []string
	var last ui.Event
	e := New(Options{Provider: fake.New(fake.Options{}), State: st, Cluster: c, Width: 1, Events: func(ev ui.Event) {
		mu.Lock()
		defer mu.Unlock()
		last = ev
		if ev.Type == ui.Started && strings.HasPrefix(ev.Address, "machine.") {
			if began = append(began, ev.Address); len(began) == 1 {
				takeLease(t, st.Folder())
			}
		}
	}})
	defer e.Close()
	p, err := e.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = e.Apply(t.Context(), p, nil)
	ds := diag.AsDiagnostics(err)
	if len(ds) == 0 || ds[0].ID != diag.StateFenced || !strings.Contains(ds[0].Detail, "Not begun:") || !strings.Contains(ds[0].Detail, "machine.b[1]") {
		t.Errorf("Apply = %v; want it fenced, and what was not begun", err)
	}
	for _, d := range ds {
		if d.ID == diag.Interrupted {
			t.Errorf("nobody interrupted, and it says: %v", d)
		}
	}
	if len(began) != 1 || last.Counts.Failed != 1 || last.Counts.NotStarted != 8 {
		t.Errorf("%v began, counts %+v; want 1 failed and 8 not begun", began, last.Counts)
	}
}

// takeLease makes the file that says that another has the lease.
func takeLease(t *testing.T, folder string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(folder, "lease.*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("leases: %v, %v", all, err)
	}
	var n int
	if _, err := fmt.Sscanf(filepath.Base(all[0]), "lease.%d", &n); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("lease.%d", n+1)), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCutOffCounts: what the second interrupt cut off was tried.
func TestCutOffCounts(t *testing.T) {
	st, c := replaceSite(t)
	var last ui.Event
	e := New(Options{State: st, Cluster: c, Events: func(ev ui.Event) { last = ev }})
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var g graph.Graph
	for _, s := range []graph.Step{
		{Address: "a", Run: func(context.Context) error { time.Sleep(time.Millisecond); cancel(); return ctx.Err() }},
		{Address: "b", Run: func(context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{Address: "c", After: []string{"a"}}, {Address: "d", After: []string{"b"}}, {Address: "e", After: []string{"d"}},
	} {
		if err := g.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	err := e.run(ctx, &g, nil)
	if last.Counts != (ui.Counts{Failed: 2, NotStarted: 3}) || !strings.Contains(last.Text, "0 failed, 2 cut off, 3 not tried") {
		t.Errorf("%q, %+v, %v; want 2 cut off and 3 not tried", last.Text, last.Counts, err)
	}
}
