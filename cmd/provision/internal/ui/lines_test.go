package ui

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// full is the stream with a plan before it and an end behind it.
func full(r Renderer, start time.Time) {
	r.Event(Event{Type: Plan, Plan: []PlanLine{{Create, "network.main", []string{"range: 10.88.0.0/24"}, "cluster.hcl:6"}}, Text: "Plan: 1 to create."})
	play(r, start)
	for i := range 4 {
		time.Sleep(100 * time.Millisecond)
		r.Event(Event{Type: Progress, Address: "node.control-plane[0] install", Text: "upload bundle", Done: 40_000_000 + int64(i)*5_000_000, Total: 75_000_000})
	}
	r.Event(Event{Type: Log, Address: "node.workers[0]", Text: "host key\x07 accepted\r\nonce"})
	time.Sleep(25 * time.Second)
	r.Event(Event{Type: Done, Address: "node.workers[0]", Text: "ready", Took: 26 * time.Second})
	r.Event(Event{Type: Failed, Address: "node.control-plane[0] install", Text: "connection lost", Took: 26 * time.Second})
	r.Event(Event{Type: Diagnostic, Text: "Error: Connection lost\n\nThe machine went away.\n", Detail: json.RawMessage(`{"id": "ssh-unreachable"}`)})
	r.Event(Event{Type: Summary, Text: "Stopped after 28.4s.", Took: 28400 * time.Millisecond, Counts: Counts{4, 2, 2, 0}, Timings: testSpans()[:2]})
}

func TestLines(t *testing.T) {
	for name, style := range map[string]Style{"lines": {Unicode: true}, "lines-color": {Unicode: true, Color: true}} {
		synctest.Test(t, func(t *testing.T) {
			var b strings.Builder
			start := time.Now()
			r := newLines(&b, style, start)
			full(r, start)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			golden(t, name+".golden", b.String())
		})
	}
}

func TestNDJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		start := time.Now()
		r := newNDJSON(&b, start)
		full(r, start)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		golden(t, "events.golden", b.String())
		dec := json.NewDecoder(strings.NewReader(b.String()))
		for n := 0; ; n++ {
			var e struct {
				Schema int
				Type   string
				Time   time.Time
				At     *float64
			}
			if err := dec.Decode(&e); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("object %d: %v", n, err)
			}
			if e.Schema != 1 || e.Type == "" || e.Time.Before(start) || e.At == nil {
				t.Errorf("object %d lacks what is always there: %+v", n, e)
			}
		}
	})
}

// TestNDJSONBadDetail: a detail that is no JSON does not cost the event.
func TestNDJSONBadDetail(t *testing.T) {
	var b strings.Builder
	r := newNDJSON(&b, time.Now())
	r.Event(Event{Type: Diagnostic, Text: "x", Detail: json.RawMessage("{")})
	if err := r.Close(); err != nil || !json.Valid([]byte(b.String())) || !strings.Contains(b.String(), `"text":"x"`) {
		t.Errorf("got %q, %v", b.String(), err)
	}
}

func TestNew(t *testing.T) {
	var b strings.Builder
	if r, ok := New(Options{Out: &b}).(*lines); !ok {
		t.Errorf("for what is no terminal: %T; want lines", r)
	} else {
		r.Close()
	}
	if r, ok := New(Options{Out: &b, JSON: &b}).(*ndjson); !ok {
		t.Errorf("with JSON: %T", r)
	} else {
		r.Close()
	}
}
