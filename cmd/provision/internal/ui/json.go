package ui

import (
	"encoding/json"
	"io"
	"math"
	"sync"
	"time"
)

// transferEvery is how often the progress of one transfer is written as JSON.
const transferEvery = 500 * time.Millisecond

// ndjson writes events as JSON, one on a line.
type ndjson struct {
	q     *queue
	start time.Time

	mu    sync.Mutex
	last  map[string]Event // the last Progress of each step that was written
	ended bool
}

func newNDJSON(out io.Writer, start time.Time) *ndjson {
	return &ndjson{q: newQueue(out), start: start, last: map[string]Event{}}
}

// Event takes the next event of the stream.
func (n *ndjson) Event(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended || n.tooSoon(e) {
		return
	}
	b, err := json.Marshal(eventJSON(e, n.start))
	if err != nil { // only a Detail that is no JSON can do that
		e.Detail = nil
		b, _ = json.Marshal(eventJSON(e, n.start))
	}
	n.q.put(append(b, '\n'))
}

// tooSoon says whether the event is of a transfer about which there was a line just now.
func (n *ndjson) tooSoon(e Event) bool {
	switch e.Type {
	case Progress:
		was, ok := n.last[e.Address]
		if ok && e.Total > 0 && e.Done < e.Total && was.Text == e.Text && e.Time.Sub(was.Time) < transferEvery {
			return true
		}
		n.last[e.Address] = e
	case Done, Failed, Blocked:
		delete(n.last, e.Address)
	}
	return false
}

// Close writes what is left.
func (n *ndjson) Close() error {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	return n.q.close()
}

// wire is an Event as it is written: see Event.
type wire struct {
	Schema  int             `json:"schema"`
	Type    Type            `json:"type"`
	Time    string          `json:"time"`
	At      float64         `json:"at"`
	Address string          `json:"address,omitempty"`
	Text    string          `json:"text,omitempty"`
	Cause   string          `json:"cause,omitempty"`
	Done    *int64          `json:"done,omitempty"`
	Total   int64           `json:"total,omitempty"`
	Took    *float64        `json:"took,omitempty"`
	Steps   []string        `json:"steps,omitempty"`
	Plan    []PlanLine      `json:"plan,omitempty"`
	Counts  *Counts         `json:"counts,omitempty"`
	Timings []wireSpan      `json:"timings,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"`
	Cost    json.RawMessage `json:"cost,omitempty"`

	Preflight json.RawMessage `json:"preflight,omitempty"`
}

type wireSpan struct {
	Address  string  `json:"address"`
	Phase    string  `json:"phase,omitempty"`
	Start    float64 `json:"start"`
	Took     float64 `json:"took"`
	Critical bool    `json:"critical,omitempty"`
}

func eventJSON(e Event, start time.Time) wire {
	w := wire{
		Schema: Schema, Type: e.Type, Time: e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), At: millis(e.Time.Sub(start)),
		Address: e.Address, Text: e.Text, Cause: e.Cause, Total: e.Total, Steps: e.Steps, Plan: e.Plan, Detail: e.Detail, Cost: e.Cost, Preflight: e.Preflight,
	}
	if e.Total > 0 {
		w.Done = &e.Done
	}
	if e.Type == Done || e.Type == Failed || e.Took > 0 {
		took := millis(e.Took)
		w.Took = &took
	}
	if e.Type == Summary {
		w.Counts = &e.Counts
	}
	for _, s := range e.Timings {
		w.Timings = append(w.Timings, wireSpan{s.Address, s.Phase, millis(s.Start), millis(s.Took), s.Critical})
	}
	return w
}

// millis is a duration in seconds, to the millisecond.
func millis(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
