package ui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// frameTime is how long a picture of the live tree stands.
const frameTime = 100 * time.Millisecond

// A terminal smaller than this gets no tree until it is done.
const leastWidth, leastHeight = 20, 4

// live paints the tree at the end of a terminal's text, again and again, and everything else above it. The terminal is left
// as it is otherwise: its cursor stays visible, nothing is read from it, no mode outlives a frame. So nothing has to be put
// back when the process dies.
//
// No line fills the terminal's width. When it gets narrower, terminals break the lines that have become too long; the
// painter reckons with that when it goes back to where the tree began. (A change between its look at the size and its write
// leaves some of the old tree above the new one.)
type live struct {
	out   io.Writer
	size  func() (width, height int)
	style Style
	start time.Time

	mu    sync.Mutex // guards what follows; is never held during a write
	model model
	above []string // to be written above the tree
	ended bool

	painting sync.Mutex // held while a frame is made and written
	old      []int      // columns of each line of the tree on the screen
	err      error

	stop, stopped chan struct{}
}

func newLive(out io.Writer, size func() (int, int), style Style, start time.Time) *live {
	l := &live{out: out, size: size, style: style, start: start, stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.run()
	return l
}

func (l *live) run() {
	defer close(l.stopped)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.paint(false)
		case <-l.stop:
			return
		}
	}
}

// Event takes the next event of the stream.
func (l *live) Event(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	switch e.Type {
	case Plan:
		style, _ := l.room()
		l.above = append(l.above, strings.TrimRight(PlanText(e.Plan, clean(e.Text), nil, style), "\n"))
	case Log:
		l.above = append(l.above, join(clean(e.Address), clean(e.Text), "  "))
	case Diagnostic:
		l.above = append(l.above, "", cleanLines(e.Text), "")
	case Summary: // the tree has come to its end; what comes later begins another one
		l.above = append(l.above, l.last(e.Time)...)
		l.above = append(l.above, clean(e.Text))
		l.model = model{}
	default:
		l.model.apply(e)
	}
}

// room returns the style for the terminal's width, and its height.
func (l *live) room() (Style, int) {
	style, height := l.style, 0
	style.Width, height = l.size()
	return style, height
}

// last is the tree as it is left on the screen: with all steps, unless there are too many to be of use, and without the
// line for all together, which the summary stands for.
func (l *live) last(at time.Time) []string {
	if len(l.model.steps) == 0 {
		return nil
	}
	for _, s := range l.model.steps {
		if s.running() { // nobody told of its end
			s.kind, s.text, s.took = Failed, "not ended", at.Sub(s.since)
		}
	}
	style, height := l.room()
	t := l.model.tree(style, max(height, 40), at, l.start)
	return t[:len(t)-1]
}

// Close paints the last frame.
func (l *live) Close() error {
	l.mu.Lock()
	was := l.ended
	l.ended = true
	l.mu.Unlock()
	if !was {
		close(l.stop)
	}
	<-l.stopped
	if !was {
		l.paint(true)
	}
	l.painting.Lock()
	defer l.painting.Unlock()
	return l.err
}

// paint writes what is to stand above the tree, and the tree; for the last time, the tree stays where it is.
func (l *live) paint(last bool) {
	l.painting.Lock()
	defer l.painting.Unlock()
	if l.err != nil {
		return
	}
	style, height := l.room()
	now := time.Now()
	l.mu.Lock()
	above := l.above
	l.above = nil
	var frame []string
	switch {
	case len(l.model.steps) == 0:
	case last:
		above = append(above, l.last(now)...)
		above = append(above, l.model.total(style, now.Sub(l.start)).in(style, style.width()-1))
	case style.Width >= leastWidth && height >= leastHeight:
		frame = l.model.tree(style, height-1, now, l.start)
	}
	l.mu.Unlock()
	if len(above) == 0 && len(frame) == 0 && len(l.old) == 0 {
		return
	}
	_, l.err = l.out.Write(l.draw(above, frame, style.width()))
}

// draw makes the bytes that take the screen from the old tree to the new. They are one write, which terminals that can do
// so (mode 2026) show at once; the others see lines replaced in place.
func (l *live) draw(above, frame []string, width int) []byte {
	var b bytes.Buffer
	b.WriteString("\x1b[?2026h\r")
	up := 0
	for _, n := range l.old {
		up += max(1, (n+width-1)/width)
	}
	if up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	if len(above) > 0 {
		b.WriteString("\x1b[J")
	}
	for _, text := range above {
		b.WriteString(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n")
	}
	for _, text := range frame {
		b.WriteString(text + "\x1b[K\r\n") // such a line never fills the width, so the cursor is behind its end
	}
	b.WriteString("\x1b[J\x1b[?2026l")
	l.old = l.old[:0]
	for _, text := range frame {
		l.old = append(l.old, columns(stripEscapes(text, false)))
	}
	return b.Bytes()
}
