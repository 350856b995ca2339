package ui

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// heartbeat is how long a step may be silent before a line says what it does.
const heartbeat = 10 * time.Second

// lines writes a line for every change of a step, for logs and for terminals that cannot do more:
//
//	12.3s  machine.workers[1]  created 10.88.0.3
//
// A step that runs for long gets a line every ten seconds, which names what is waited for.
type lines struct {
	q     *queue
	style Style
	start time.Time

	mu    sync.Mutex
	model model
	width int                 // columns of the longest address so far
	spoke map[*step]time.Time // when there was last a line about a running step
	ended bool

	stop, stopped chan struct{}
}

func newLines(out io.Writer, style Style, start time.Time) *lines {
	l := &lines{q: newQueue(out), style: style, start: start, spoke: map[*step]time.Time{}, stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.run()
	return l
}

func (l *lines) run() {
	defer close(l.stopped)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.beat(now)
		case <-l.stop:
			return
		}
	}
}

// beat writes what the steps do that were silent for long.
func (l *lines) beat(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.model.groups {
		for _, s := range g.steps {
			if !s.running() || now.Sub(l.spoke[s]) < heartbeat {
				continue
			}
			text := cmp.Or(s.text, "running")
			if s.total > 0 {
				text += fmt.Sprintf(" %d%% %s", min(s.done, s.total)*100/s.total, megabytes(s.done, s.total))
			}
			l.say(now, s, none, fmt.Sprintf("%s (for %s)", text, seconds(now.Sub(s.since))))
		}
	}
}

// Event takes the next event of the stream.
func (l *lines) Event(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	s, changed := l.model.apply(e)
	if s != nil {
		l.width = max(l.width, min(columns(s.address), 40))
	}
	switch e.Type {
	case Plan:
		l.q.put([]byte(PlanText(e.Plan, clean(e.Text), nil, l.style)))
	case Begin:
		for _, a := range e.Steps {
			l.width = max(l.width, min(columns(a), 40))
		}
	case Log:
		l.put(e.Time, pad(clean(e.Address), l.width)+"  "+clean(e.Text))
	case Diagnostic:
		l.q.put([]byte("\n" + cleanLines(e.Text) + "\n\n"))
	case Summary:
		l.q.put([]byte(clean(e.Text) + "\n"))
		l.model, l.spoke = model{}, map[*step]time.Time{}
	default:
		l.step(e, s, changed)
	}
}

// step writes the line of a step's event.
func (l *lines) step(e Event, s *step, changed bool) {
	switch {
	case e.Type == Started && s.text == "":
		l.say(e.Time, s, dim, "started")
	case e.Type == Started, e.Type == Progress && changed && s.text != "":
		l.say(e.Time, s, none, s.text)
	case e.Type == Done:
		l.say(e.Time, s, green, join(cmp.Or(s.text, "done"), tookText(e.Took), " "))
	case e.Type == Failed:
		l.say(e.Time, s, red, join(join("failed", s.text, ": "), tookText(e.Took), " "))
	case e.Type == Blocked:
		l.say(e.Time, s, yellow, "blocked by "+clean(e.Cause))
	}
	if !s.running() {
		delete(l.spoke, s)
	}
}

// say writes a line about a step.
func (l *lines) say(at time.Time, s *step, c color, text string) {
	l.spoke[s] = at
	l.put(at, pad(clean(s.address), l.width)+"  "+l.style.paint(c, text))
}

func (l *lines) put(at time.Time, text string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s\n", padLeft(seconds(at.Sub(l.start)), 7), strings.TrimRight(text, " "))
	l.q.put(b.Bytes())
}

// Close writes what is left.
func (l *lines) Close() error {
	l.mu.Lock()
	was := l.ended
	l.ended = true
	l.mu.Unlock()
	if !was {
		close(l.stop)
	}
	<-l.stopped
	return l.q.close()
}

func tookText(d time.Duration) string {
	if d < 100*time.Millisecond {
		return ""
	}
	return "(" + seconds(d) + ")"
}

// join puts sep between two texts that are there.
func join(a, b, sep string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + sep + b
}
