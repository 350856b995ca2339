package state

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A SecondError says that a state is about to be begun, while this user has seen one of a cluster of that name elsewhere.
type SecondError struct {
	Place, Cluster string
	Seen           string // the other place
	UID            string // of the cluster whose state that is
	Time           time.Time
}

// Error tells where it was, and when.
func (e *SecondError) Error() string {
	return fmt.Sprintf("there is no state of the cluster %q in %s, and this user has last seen one in %s, written %s, of the cluster with the UID %s. If that is the same cluster, what is begun here is a second state of it", e.Cluster, e.Place, e.Seen, when(e.Time), e.UID)
}

// DiagnosticID is the diagnostic's name.
func (e *SecondError) DiagnosticID() string { return "state-second" }

// Advice tells what to do.
func (e *SecondError) Advice() (string, []string) {
	return "Name that place, with --state-dir, --state or the state block, or take the state elsewhere with \"provision state move\". If it is another cluster of that name, or the state there is lost, go on.", nil
}

// lookElsewhere finds the mark of a living cluster of that name whose state was seen last in another place.
func (s *State) lookElsewhere() {
	all, err := os.ReadDir(s.o.Seen)
	if err != nil {
		return // nothing was seen, or nobody can tell
	}
	var last mark
	for _, f := range all {
		var m mark
		b, err := readFile(filepath.Join(s.o.Seen, f.Name()))
		if err != nil || json.Unmarshal(b, &m) != nil || m.UID != f.Name() || m.Cluster != s.o.Cluster || m.Removed {
			continue
		}
		if last.UID == "" || m.Time.After(last.Time) {
			last = m
		}
	}
	if last.UID != "" && last.Place != "" && last.Place != s.place.String() {
		s.second = &SecondError{Place: s.place.String(), Cluster: s.o.Cluster, Seen: last.Place, UID: last.UID, Time: last.Time}
	}
}
