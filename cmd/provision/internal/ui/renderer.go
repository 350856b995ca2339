package ui

import (
	"io"
	"time"
)

// Options says where events are shown.
type Options struct {
	Out     io.Writer // where people look, usually standard error: the live tree if it is a terminal, else plain lines
	JSON    io.Writer // if not nil, events are written there as JSON, and nothing to Out
	Environ []string  // as from os.Environ
	Start   time.Time // when the command began; zero means now
}

// New returns the renderer that fits. Close it at the end.
func New(o Options) Renderer {
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	if o.JSON != nil {
		return newNDJSON(o.JSON, o.Start)
	}
	style := StyleOf(o.Out, o.Environ)
	if _, _, ok := terminalSize(o.Out); ok && getenv(o.Environ, "TERM") != "dumb" {
		size := func() (int, int) {
			w, h, _ := terminalSize(o.Out)
			return w, h
		}
		return newLive(o.Out, size, style, o.Start)
	}
	return newLines(o.Out, style, o.Start)
}
