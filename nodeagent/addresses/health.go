package addresses

import (
	"errors"
	"syscall"
	"time"
)

// What it takes to believe that a node is lost, or back.
//
// A node that is gone does not answer: 3 questions of 500 ms, 2 s at most. One that refuses is there, and its kernel goes on
// as kube-proxy left it: a restart of kube-proxy, as in an upgrade, moves nothing, because every move cuts connections.
//
// A node that was lost takes its addresses back a moment before the others believe that it is back and drop them, so that
// there is always one who has them.
const (
	failures   = 3
	refusals   = 3 * time.Second
	backSelf   = 2500 * time.Millisecond
	backOthers = 3 * time.Second
)

// A condition is what is believed of a node.
type condition int

const (
	unknown condition = iota
	well
	lost
)

// String returns the condition's word in the log.
func (c condition) String() string { return [...]string{"unknown", "well", "lost"}[c] }

// A health is what one node thinks of another, or of itself.
type health struct {
	self   bool
	state  condition
	failed int       // answers in a row
	since  time.Time // of the first of the answers in a row that differ from state
	why    string    // the last failure
}

// learn takes over an answer and reports whether the node's condition has changed.
func (h *health) learn(err error, now time.Time) bool {
	was := h.state
	if err == nil {
		h.succeed(now)
	} else {
		h.fail(err, now)
	}
	return h.state != was
}

// succeed makes a node well at once of which nothing is known: an agent that starts anew goes on where it was.
func (h *health) succeed(now time.Time) {
	if h.failed > 0 {
		h.failed, h.since = 0, now
	}
	back := backOthers
	if h.self {
		back = backSelf
	}
	if h.state == unknown || h.state == lost && now.Sub(h.since) >= back {
		h.state = well
	}
}

// fail makes a node lost after several failures. This one itself, of which nothing is known, is at once: it has just started,
// and kube-proxy has not.
func (h *health) fail(err error, now time.Time) {
	if h.failed == 0 {
		h.since = now
	}
	h.failed++
	h.why = err.Error()
	refused := h.state == well && errors.Is(err, syscall.ECONNREFUSED)
	enough := h.failed >= failures && (!refused || now.Sub(h.since) >= refusals)
	if enough || h.self && h.state == unknown {
		h.state = lost
	}
}
