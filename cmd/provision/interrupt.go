package main

import (
	"sync"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
)

// A cutter tells what was cut off when a person interrupts a second time and steps do not give up in time.
type cutter struct {
	mu     sync.Mutex
	r      ui.Renderer // of the run; nil if nothing runs
	events *stream
	again  string
	ended  bool // the run
	cut    bool // cutOff tells
}

// begin notes what runs, and the command that goes on with it.
func (c *cutter) begin(r ui.Renderer, events *stream, again string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r, c.events, c.again, c.ended = r, events, again, false
}

// end notes that nothing runs any more, and that who ran it tells how it ended. It does not return if that is told already.
func (c *cutter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		select {}
	}
	c.ended = true
}

// take says whether to tell that the command was cut off. Nobody else does then.
func (c *cutter) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = !c.ended
	return c.cut
}

// cutOff tells what is left, at the end of a process that does not wait for its steps.
func (a *app) cutOff() {
	c := &a.cut
	if !c.take() {
		return
	}
	if c.r == nil {
		a.show(diag.Diagnostics{diag.New(diag.Interrupted, "The command was cut off before its end. What it had done is kept.").Next("Run the same command again.")})
		return
	}
	done, running, left := c.events.progress()
	d := diag.Diagnostics{engine.Interrupted(done, running, left, c.again)}
	if a.flags.json {
		tell(c.r, d)
	}
	_ = c.r.Close()
	if !a.flags.json {
		a.show(d)
	}
}
