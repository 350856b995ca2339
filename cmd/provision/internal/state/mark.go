package state

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"
)

// A mark is what this user has last seen of a cluster's state, kept apart from it: so a state that somebody put back from an
// old copy is noticed. There is one file for each cluster, named by its UID. It stays when the cluster is gone.
type mark struct {
	Cluster string    `json:"cluster"`
	UID     string    `json:"uid"`
	Serial  uint64    `json:"serial"`            // of the last write that was seen
	Time    time.Time `json:"time"`              // of that write
	Term    string    `json:"term,omitempty"`    // of who wrote the journal then
	Secrets *sealed   `json:"secrets,omitempty"` // as of that write
	Place   string    `json:"place"`
	Removed bool      `json:"removed,omitempty"`
}

func markPath(dir, uid string) string {
	if !isUID(uid) {
		uid = digest([]byte(uid))[:26]
	}
	return filepath.Join(dir, uid)
}

// readMark returns the zero mark if nothing was seen.
func readMark(dir, uid string) (m mark, err error) {
	path := markPath(dir, uid)
	sweepOld(dir, temporary)
	b, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, nil
	} else if err != nil {
		return mark{}, err
	}
	if json.Unmarshal(b, &m) != nil || m.UID != uid {
		return mark{}, &CorruptError{Path: path, Err: errors.New("it does not say what was seen of a cluster"),
			Mend: "It only remembers the newest state that you have seen, so that an older copy is noticed. If nobody put an older copy in its place, remove the file and run the same command again."}
	}
	return m, nil
}

// mark notes what is written by now. s.mu is held.
func (s *State) mark(removed bool) error {
	if s.unmarked {
		return nil
	}
	m := s.journal.mark()
	m.Place, m.Removed = s.place.String(), removed
	if reflect.DeepEqual(m, s.seen) || m.Serial < s.seen.Serial {
		return nil
	}
	path := markPath(s.o.Seen, m.UID)
	if err := os.MkdirAll(s.o.Seen, 0o700); err != nil {
		return pathError(s.o.Seen, err)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeFile(path, append(b, '\n')); err != nil {
		return err
	}
	s.seen = m
	return nil
}
