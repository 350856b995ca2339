package ui

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// play sends the stream of a failed apply, each event at its time.
func play(r Renderer, start time.Time) {
	for _, e := range stream(start) {
		time.Sleep(time.Until(e.Time))
		r.Event(e)
	}
}

func open(s *screen, start time.Time) *live {
	w, _ := s.size()
	return newLive(s, s.size, Style{Width: w, Unicode: true}, start)
}

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := newScreen(t, 80, 24)
		s.Write([]byte("$ provision apply cluster.hcl\r\n"))
		r := open(s, start)
		r.Event(Event{Type: Plan, Plan: []PlanLine{{Create, "network.main", nil, "cluster.hcl:6"}}, Text: "Plan: 1 to create."})
		play(r, start)
		time.Sleep(950 * time.Millisecond)
		golden(t, "live-during.golden", s.text())

		r.Event(Event{Type: Log, Address: "node.workers[0]", Text: "sshd: hello"})
		r.Event(Event{Type: Diagnostic, Text: "\x1b[31mError\x1b[0m: Out of capacity\n\nAWS has no more.\x1b[2J\n"})
		time.Sleep(200 * time.Millisecond)
		r.Event(Event{Type: Done, Address: "node.workers[0]", Text: "ready", Took: 2 * time.Second})
		r.Event(Event{Type: Done, Address: "node.control-plane[0] install", Took: 2 * time.Second})
		r.Event(Event{Type: Summary, Text: "Stopped after 4.2s."})
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		golden(t, "live-end.golden", s.text())
		s.Write([]byte("$ "))
		if !strings.HasSuffix(s.text(), "\nStopped after 4.2s.\n$\n") {
			t.Errorf("the next prompt is not on a line of its own below:\n%s", s.text())
		}
	})
}

// TestLiveResize: at whatever width and whenever the terminal changes, each line that stands above the tree is there once
// and the tree is there once.
func TestLiveResize(t *testing.T) {
	for _, sizes := range [][][2]int{
		{{80, 24}, {40, 24}, {120, 24}},
		{{120, 40}, {119, 40}, {41, 40}, {200, 40}, {43, 40}},
		{{40, 24}, {60, 24}, {50, 24}},
	} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				s := newScreen(t, sizes[0][0], sizes[0][1])
				s.Write([]byte("$ provision apply\r\n"))
				r := open(s, start)
				play(r, start)
				time.Sleep(frameTime / 3) // a change in the very moment of a frame is no painter's to get right
				for i, size := range sizes {
					s.resize(size[0], size[1])
					r.Event(Event{Type: Log, Text: fmt.Sprintf("line %d", i)})
					time.Sleep(2 * frameTime)
				}
				got := s.text()
				if !strings.HasPrefix(got, "$ provision apply\nline 0\nline 1\nline 2\n") {
					t.Errorf("what stands above the tree is not whole:\n%s", got)
				}
				for _, once := range []string{"$ provision", "line 1", "network.main", "control-plane  ", "workers  ", " 3/8"} {
					if n := strings.Count(got, once); n != 1 {
						t.Errorf("%q is there %d times:\n%s", once, n, got)
					}
				}
				r.Close()
			})
		})
	}
}

// TestLiveSmall: a terminal gets a tree that it has room for, or none.
func TestLiveSmall(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {2, 2}, {10, 3}, {20, 5}, {40, 4}, {80, 1}} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			s := newScreen(t, size[0], size[1])
			r := open(s, start)
			play(r, start)
			time.Sleep(time.Second)
			if rows := strings.Count(s.text(), "\n"); rows >= max(2, size[1]) || rows > 1 && size[1] < leastHeight {
				t.Errorf("%v: %d rows:\n%s", size, rows, s.text())
			}
			r.Close()
			if strings.TrimSpace(s.text()) == "" {
				t.Errorf("%v: nothing is left on the screen", size)
			}
		})
	}
}

// TestLiveWithoutSteps: a command that runs no step paints no tree.
func TestLiveWithoutSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(t, 80, 24)
		r := open(s, time.Now())
		time.Sleep(time.Second)
		if s.writes != 0 {
			t.Errorf("%d writes about nothing", s.writes)
		}
		r.Event(Event{Type: Summary, Text: "No changes."})
		r.Close()
		r.Event(Event{Type: Log, Text: "too late"})
		if err := r.Close(); err != nil || s.text() != "No changes.\n" {
			t.Errorf("got %q, %v", s.text(), err)
		}
	})
}

// TestLiveCutOff: without a summary, the tree stays as it was, and says which steps did not end.
func TestLiveCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := newScreen(t, 80, 24)
		r := open(s, start)
		play(r, start)
		r.Close()
		golden(t, "live-cut-off.golden", s.text())
	})
}

// TestEventsDoNotWait: a terminal or a pipe that takes nothing does not hold the engine up, and gets all in the end.
func TestEventsDoNotWait(t *testing.T) {
	for name, open := range map[string]func(w *screen) Renderer{
		"live":  func(s *screen) Renderer { return newLive(s, func() (int, int) { return 80, 24 }, Style{}, time.Now()) },
		"lines": func(s *screen) Renderer { return newLines(s, Style{}, time.Now()) },
		"json":  func(s *screen) Renderer { return newNDJSON(s, time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScreen(t, 80, 24)
				s.gate = make(chan struct{})
				r := open(s)
				start := time.Now()
				for i := range 1000 {
					r.Event(Event{Type: Started, Address: fmt.Sprint("step", i)})
					time.Sleep(time.Millisecond)
					r.Event(Event{Type: Done, Address: fmt.Sprint("step", i)})
				}
				if d := time.Since(start); d != time.Second {
					t.Errorf("1000 events with 1 ms between them took %v", d)
				}
				r.Event(Event{Type: Summary, Text: "the end"})
				close(s.gate)
				if err := r.Close(); err != nil || !strings.Contains(s.text(), "the end") {
					t.Errorf("after the gate is open: %v, text:\n%s", err, s.text())
				}
			})
		})
	}
}

type broken struct{ n int }

func (b *broken) Write([]byte) (int, error) { b.n++; return 0, io.ErrClosedPipe }

// TestBrokenOutput: the first error of writing comes back from Close, and nothing is written after it.
func TestBrokenOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := make([]broken, 3)
		rs := []Renderer{newLive(&b[0], func() (int, int) { return 80, 24 }, Style{}, time.Now()), newLines(&b[1], Style{}, time.Now()), newNDJSON(&b[2], time.Now())}
		for i, r := range rs {
			for range 5 {
				r.Event(Event{Type: Log, Text: "x"})
				time.Sleep(time.Second)
			}
			if err := r.Close(); !errors.Is(err, io.ErrClosedPipe) || b[i].n != 1 {
				t.Errorf("%T: Close = %v after %d writes; want %v after 1", r, err, b[i].n, io.ErrClosedPipe)
			}
		}
	})
}

// TestConcurrentEvents is for the race detector; every step's end has to be told.
func TestConcurrentEvents(t *testing.T) {
	s := newScreen(t, 80, 24)
	var text, js strings.Builder
	rs := []Renderer{open(s, time.Now()), newLines(&text, Style{}, time.Now()), newNDJSON(&js, time.Now())}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for k := range 50 {
				a := fmt.Sprintf("machine.p%d[%d]", i, k)
				for _, r := range rs {
					r.Event(Event{Type: Started, Address: a})
					r.Event(Event{Type: Progress, Address: a, Text: "x", Done: int64(k), Total: 50})
					r.Event(Event{Type: Done, Address: a, Text: "ready"})
				}
			}
		})
	}
	wg.Wait()
	for _, r := range rs {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(text.String(), "  ready\n"); n != 1000 {
		t.Errorf("%d lines tell of an end; want 1000", n)
	}
	if n := strings.Count(js.String(), `"type":"step-done"`); n != 1000 {
		t.Errorf("%d objects tell of an end; want 1000", n)
	}
	if !strings.Contains(s.text(), "1000/1000 steps done") {
		t.Errorf("the last frame:\n%s", s.text())
	}
}
