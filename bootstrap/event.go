package bootstrap

import "time"

// An EventKind is what an Event tells.
type EventKind string

// The kinds of events.
const (
	Started  EventKind = "started"
	Skipped  EventKind = "skipped" // the phase was done already
	Progress EventKind = "progress"
	Said     EventKind = "said" // a line that the machine wrote
	Finished EventKind = "finished"
	Failed   EventKind = "failed"
)

// An Event tells what happens on a machine. It never holds secrets.
type Event struct {
	Kind  EventKind
	Host  string // name of the node
	Phase string
	Took  time.Duration // of Skipped, Finished, Failed
	Line  string        // of Said
	Done  int64         // of Progress: bytes that are there
	Total int64         // of Progress
	Err   error         // of Failed
}

func (t *Target) setPhase(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase = name
}

func (t *Target) emit(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.report != nil {
		e.Host, e.Phase = t.Node.Name, t.phase
		t.report(e)
	}
}

// say reports a line of the machine.
func (t *Target) say(line string) { t.emit(Event{Kind: Said, Line: line}) }

// progress returns a function that reports bytes, not more often than ten times a second.
func (t *Target) progress() func(done, total int64) {
	var last time.Time
	return func(done, total int64) {
		if now := time.Now(); done == total || now.Sub(last) >= time.Second/10 {
			last = now
			t.emit(Event{Kind: Progress, Done: done, Total: total})
		}
	}
}
