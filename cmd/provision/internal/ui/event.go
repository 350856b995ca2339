// Package ui shows a person, or a program, what the engine does. One stream of events goes in; a live tree on a terminal,
// plain lines elsewhere, or NDJSON for programs comes out. It also lays out plans, tables and timings, and asks the one
// question that a command may ask.
package ui

import (
	"encoding/json"
	"time"
)

// Schema is the version of an Event's JSON form. It grows when a field or type changes its meaning or goes away; new
// fields and types may come without it, so a reader skips what it does not know.
const Schema = 1

// A Type is what an event says.
type Type string

// The types of events, with the fields that each uses beside Type and Time.
const (
	Plan       Type = "plan"          // Plan: what will change; Cost, Preflight
	Begin      Type = "begin"         // Steps: the addresses of all steps that will run, so that progress can be counted
	Started    Type = "step-started"  // Address, Text: what it does
	Progress   Type = "step-progress" // Address, Text: what it does or waits for now; Done and Total in bytes for a transfer
	Done       Type = "step-done"     // Address, Text: what came of it; Took
	Failed     Type = "step-failed"   // Address, Text: why, in one line; Took
	Blocked    Type = "step-blocked"  // Address, Cause: the address of the step whose failure is the root of it
	Log        Type = "log"           // Text: one line; Address if a step wrote it
	Diagnostic Type = "diagnostic"    // Text: the whole message as a person reads it; Detail: the same as data
	Summary    Type = "summary"       // Text: the outcome in a sentence; Counts; Timings
)

// An Event is one thing that happened. It is a value: renderers keep it, so its slices must not be changed afterwards.
//
// Its JSON form is one object on one line (schema 1):
//
//	{"schema":1,"type":"step-done","time":"2026-11-23T10:00:00.123Z","at":12.345,"address":"machine.workers[1]",
//	 "text":"created 10.88.0.3","took":1.2}
//
// schema, type, time (RFC 3339, UTC) and at (seconds since the command began) are always there, the others when they say
// something: address, text, cause, done and total (bytes), took (seconds), steps (addresses), plan (objects with symbol,
// address, details, cause), counts (done, failed, blocked, notStarted), timings (objects with address, phase, start and
// took in seconds, critical), detail (the diagnostic as package diag writes it), cost and preflight
// (of the plan, as package plan writes them). A transfer's progress is written at most
// twice a second for each step; everything else is written as it comes, in order, and the last line is a summary.
type Event struct {
	Type    Type
	Time    time.Time // zero: the renderer sets it to when it got the event
	Address string
	Text    string
	Cause   string
	Done    int64
	Total   int64
	Took    time.Duration
	Steps   []string
	Plan    []PlanLine
	Counts  Counts
	Timings []Span
	Detail  json.RawMessage
	Cost    json.RawMessage

	Preflight json.RawMessage
}

// Counts is how many steps ended how.
type Counts struct {
	Done       int `json:"done"`
	Failed     int `json:"failed"` // or cut off
	Blocked    int `json:"blocked"`
	NotStarted int `json:"notStarted"`
}

// A PlanLine is one change of a plan, ready to be shown.
type PlanLine struct {
	Symbol  string   `json:"symbol"` // one of the symbols below
	Address string   `json:"address"`
	Details []string `json:"details,omitempty"` // a line each: `count: 2 → 4`, the reason
	Cause   string   `json:"cause,omitempty"`   // the place that asked: cluster.hcl:31
}

// The symbols of a PlanLine.
const (
	Create  = "+"
	Update  = "~"   // in place; nothing restarts
	Restart = "!"   // in place; processes restart
	Replace = "-/+" // delete, then create
	Delete  = "-"
)

// A Span is one part of the work with its place in time, for the table of timings.
type Span struct {
	Address  string        // the step, or what else took the time
	Phase    string        // the part of the step; empty for the whole
	Start    time.Duration // since the command began
	Took     time.Duration
	Critical bool // on the chain of steps that decided how long everything took
}

// A Renderer shows events. Both methods are safe for concurrent use. Event returns at once: what is slow, a terminal or a
// pipe that nobody reads, is waited for in Close alone.
type Renderer interface {
	// Event takes the next event of the stream.
	Event(Event)
	// Close shows what is left, ends what runs for the renderer, and returns the first error of writing. Events that come
	// later are dropped; a second Close does nothing.
	Close() error
}
