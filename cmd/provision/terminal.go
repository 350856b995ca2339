package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"golang.org/x/term"
)

// size says whether w is one, and how wide it is.
func size(w any) (columns int, terminal bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80, true
	}
	return columns, true
}

// columns is how wide text for w may be.
func (a *app) columns(w any) int {
	if n, ok := size(w); ok {
		return n
	}
	return 100
}

// colour says whether w gets colours.
func (a *app) colour(w any) bool {
	_, ok := size(w)
	return diag.UseColour(ok, a.environ)
}

// style is how text for w is written.
func (a *app) style(w io.Writer) ui.Style {
	s := ui.StyleOf(w, a.environ)
	if _, terminal := size(w); !terminal {
		s.Width = 240 // for files and pipes nothing is cut
	}
	return s
}

// narrow is style for what is drawn, which has a natural width also in a file.
func (a *app) narrow(w io.Writer) ui.Style {
	s := a.style(w)
	s.Width = min(s.Width, 110)
	return s
}

// renderer shows events: as NDJSON on stdout, or to a person on stderr.
func (a *app) renderer() ui.Renderer {
	o := ui.Options{Out: a.err, Environ: a.environ, Start: a.start}
	if a.flags.json {
		o.JSON = a.out
	}
	return ui.New(o)
}

// A stream hands events on to a renderer, as soon as there is one.
type stream struct {
	before  func(ui.Event) // gets what comes before; may be nil
	mu      sync.Mutex
	r       ui.Renderer
	timings []ui.Span // of the last summary
	steps   []string  // in their order
	states  map[string]ui.Type
}

func (s *stream) to(r ui.Renderer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r = r
}

func (s *stream) send(e ui.Event) {
	s.mu.Lock()
	r := s.r
	switch e.Type {
	case ui.Summary:
		s.timings = e.Timings
	case ui.Begin:
		s.steps, s.states = e.Steps, map[string]ui.Type{}
	case ui.Started, ui.Done, ui.Failed, ui.Blocked:
		s.states[e.Address] = e.Type
	}
	s.mu.Unlock()
	switch {
	case r != nil:
		r.Event(e)
	case s.before != nil:
		s.before(e)
	}
}

// progress says how far the steps are.
func (s *stream) progress() (done int, running, left []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.steps {
		switch s.states[a] {
		case ui.Done:
			done++
		case ui.Started:
			running = append(running, a)
		case ui.Failed:
		default:
			left = append(left, a)
		}
	}
	return done, running, left
}

// early shows what the engine waits for before there is a plan: to a person only. It may be called by several at a time.
func (a *app) early(e ui.Event) {
	if !a.flags.json && e.Type == ui.Progress {
		a.saying.Lock()
		defer a.saying.Unlock()
		fmt.Fprintln(a.err, sentence(e.Text)+".")
	}
}
