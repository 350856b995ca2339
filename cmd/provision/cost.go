package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
)

// costNote shows what a plan costs, and how old the prices are now.
func costNote(c *plan.Cost, now time.Time) ui.Note {
	n := ui.Note{Title: "Cost", Text: fmt.Sprintf("%.2f USD a month, %s", c.Month, compared(c.Change))}
	wide := 0
	for _, i := range c.Items {
		wide = max(wide, len(fmt.Sprintf("%.2f", i.Month)))
	}
	for _, i := range c.Items {
		n.Rows = append(n.Rows, fmt.Sprintf("%*.2f  %s", wide, i.Month, i))
	}
	if len(c.Unknown) > 0 {
		n.Rows = append(n.Rows, "Not in it: "+strings.Join(c.Unknown, ", ")+".")
	}
	n.Rows = append(n.Rows, fmt.Sprintf("List prices of %s of %s%s: %s", c.Region, c.Date, howOld(c.Date, now), c.Source))
	return n
}

// compared says how much more or less it is.
func compared(change float64) string {
	switch {
	case change > 0:
		return fmt.Sprintf("%.2f more than now", change)
	case change < 0:
		return fmt.Sprintf("%.2f less than now", -change)
	}
	return "as now"
}

// howOld says how many days have passed since a date; nothing if it is none.
func howOld(date string, now time.Time) string {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return ""
	}
	if days := int(math.Floor(now.UTC().Sub(day).Hours() / 24)); days != 1 {
		return fmt.Sprintf(", %d days old", max(days, 0))
	}
	return ", 1 day old"
}

// preflightNote shows what the vendor said of a plan.
func preflightNote(f *plan.Preflight) ui.Note {
	n := ui.Note{Title: "Preflight", Text: f.Who()}
	for _, l := range f.Limits {
		n.Rows = append(n.Rows, l.String())
	}
	return n
}

// planNotes are what a plan says beside its changes.
func (a *app) planNotes(p *plan.Plan) (notes []ui.Note) {
	if p.Preflight != nil {
		notes = append(notes, preflightNote(p.Preflight))
	}
	if p.Cost != nil {
		notes = append(notes, costNote(p.Cost, a.start))
	}
	return notes
}

// planEvent is the plan as the first event of a run.
func planEvent(p *plan.Plan) ui.Event {
	e := ui.Event{Type: ui.Plan, Plan: planLines(p)}
	if p.Preflight != nil {
		e.Preflight = asJSON(p.Preflight)
	}
	if p.Cost != nil {
		e.Cost = asJSON(p.Cost)
	}
	return e
}

// asJSON writes a value as JSON; nil if it cannot be.
func asJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
