package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// An Info is what can be told of a state without its secrets.
type Info struct {
	Place      string    `json:"place"`
	Exists     bool      `json:"exists"`
	Cluster    string    `json:"cluster"`
	UID        string    `json:"uid,omitempty"`
	Fence      uint64    `json:"fence,omitempty"` // number of the last term
	Write      uint64    `json:"write,omitempty"` // number of the last write
	Time       time.Time `json:"time,omitzero"`   // of the last write
	Records    int       `json:"records"`
	Secrets    []string  `json:"secrets,omitempty"`    // their names, if they could be read
	Recipients []string  `json:"recipients,omitempty"` // whom they are encrypted to
	Holder     *Holder   `json:"holder,omitempty"`     // who has the lease; nil if it is free, or this State's own
}

// Info tells of the state as it was read, and who holds it now.
func (s *State) Info(ctx context.Context) (Info, error) {
	f, err := s.place.lease(ctx)
	if err != nil {
		return Info{}, err
	}
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.secrets))
	s.mu.Unlock()
	m := s.journal.mark()
	i := Info{
		Place: s.place.String(), Exists: s.Exists(), Cluster: s.o.Cluster, UID: m.UID, Fence: f.lease.Fence, Write: m.Serial, Time: m.Time,
		Records: len(s.Records()), Secrets: names, Recipients: s.Recipients(),
	}
	if f.text != "" && !f.lease.Released && f.lease.Nonce != s.mine.Nonce && f.judge() != free {
		i.Holder = &f.lease.Holder
	}
	return i, nil
}

// An OccupiedError says that there is a state already where one is to be moved.
type OccupiedError struct{ Place string }

// Error names the place.
func (e *OccupiedError) Error() string {
	return fmt.Sprintf("there is a state of this cluster in %s already, and it is not the one that is to be moved there", e.Place)
}

// DiagnosticID is the diagnostic's name.
func (e *OccupiedError) DiagnosticID() string { return "state-foreign" }

// Move takes a cluster's state to another place, as it is: the secrets stay encrypted to whom they are. It holds both leases.
// After an interruption it can be called again; until it succeeds, the old place holds the state. It returns the new place.
func Move(ctx context.Context, from, to Options) (string, error) {
	from.Sealed, to.Sealed = true, true
	s, err := Open(ctx, from)
	if err != nil {
		return "", err
	}
	defer s.Close()
	d, err := Open(ctx, to)
	if err != nil {
		return "", err
	}
	defer d.Close()
	if s.place.String() == d.place.String() {
		return d.place.String(), nil
	}
	switch {
	case !s.Exists() && !d.Exists():
		return "", &NothingError{s.place.String()}
	case !s.Exists(): // an earlier try came as far as this
		return d.place.String(), s.remove(false)
	case d.Exists() && d.UID() != s.UID():
		return "", &OccupiedError{d.place.String()}
	}
	d.unmarked = true // until it is done, the old place counts
	if err := s.copyTo(ctx, d); err != nil {
		return "", err
	}
	if err := s.remove(false); err != nil {
		return "", err
	}
	d.unmarked = false
	return d.place.String(), d.Close()
}

// A NothingError says that there is no state to be moved.
type NothingError struct{ Place string }

// Error names the place.
func (e *NothingError) Error() string { return "there is no state in " + e.Place }

// DiagnosticID is the diagnostic's name.
func (e *NothingError) DiagnosticID() string { return "no-cluster" }

// copyTo writes all of this state to another place. What is there is of an earlier try.
func (s *State) copyTo(ctx context.Context, d *State) error {
	j := s.journal
	j.write.Lock()
	defer j.write.Unlock()
	k := d.journal
	k.write.Lock()
	defer k.write.Unlock()
	if !k.begun { // before the secrets, which without a journal would look as if it was lost
		if err := k.begin(ctx, image{}, nil); err != nil {
			return err
		}
	}
	serial := max(j.serial, k.serial) + 1
	k.secrets = nil
	if j.secrets != nil {
		b, err := s.place.secrets(ctx, j.secrets.File)
		if err == nil && j.secrets.SHA256 != "" && digest(b) != j.secrets.SHA256 {
			err = &CorruptError{Path: s.filePath(j.secrets.File), Err: errors.New("it is not what was written")}
		}
		if err != nil {
			return err
		}
		file, err := d.term.put(ctx, stem(serial), b)
		if err != nil {
			return err
		}
		k.secrets = &sealed{File: file, SHA256: digest(b), To: j.secrets.To}
	}
	h := j.header
	h.Machine, h.Host, h.Serial, h.Time, h.Secrets, h.Bases = machineID(), hostname(), serial, j.time, k.secrets, nil
	entries, last, err := encodeEntries(serial, j.records)
	if err != nil {
		return err
	}
	k.header, k.used = h, true
	if err := k.begin(ctx, image{}, entries); err != nil {
		return err
	}
	k.serial, k.time, k.records = last, j.time, slices.Clone(j.records)
	return nil
}
