package state

import (
	"encoding/json"
	"time"
)

// A Record is one entry of the journal.
type Record struct {
	Type    string          `json:"type"`              // one of those below, or any other word
	Address string          `json:"address,omitempty"` // what it is about: machine.workers[2]
	Time    time.Time       `json:"time"`              // to the millisecond
	Data    json.RawMessage `json:"data,omitempty"`    // what the writer wants to know later; never a secret
}

// The types of records that the engine writes.
const (
	Intent    = "intent"    // a call that makes or removes something is about to be made
	Done      = "done"      // it is made
	Forgotten = "forgotten" // it is gone: what was written of the address before counts no more
	Note      = "note"      // of use to a person
)

// Latest returns the records that still say something: of each address the last one of each type since it was last
// forgotten, in order, and no note.
func Latest(all []Record) []Record {
	type key struct{ address, kind string }
	last := map[key]int{}
	forgotten := map[string]int{}
	for i, r := range all {
		last[key{r.Address, r.Type}] = i
		if r.Type == Forgotten {
			forgotten[r.Address] = i
		}
	}
	var kept []Record
	for i, r := range all {
		f, ok := forgotten[r.Address]
		if last[key{r.Address, r.Type}] == i && r.Type != Note && (!ok || i > f) {
			kept = append(kept, r)
		}
	}
	return kept
}
