package state

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// asidePrefix begins the names of what a state that could not be read was put into.
const asidePrefix = "aside."

// unreadable says whether an error is of those that Options.Destroy goes on in spite of.
func unreadable(err error) bool {
	var corrupt *CorruptError
	var newer *VersionError
	var old *RolledBackError
	return errors.As(err, &corrupt) || errors.As(err, &newer) || errors.As(err, &old)
}

// giveUp goes on as if there was no state, for why it cannot be used. Only the UID, if it can be read, goes on counting: it
// keeps a destroy from another cluster of the same name.
func (s *State) giveUp(i image, why error) error {
	s.fresh(header{})
	s.unread = &UnreadError{Place: s.place.String(), Why: why}
	if p, err := parseHeader(i.text); err == nil {
		if err := s.ours(p.header); err != nil {
			return err
		}
		s.header.UID, s.header.Serial = p.header.UID, max(p.header.Serial, s.seen.Serial)
		s.journal.header, s.journal.serial = s.header, s.header.Serial
		s.unread.UID = p.header.UID
	}
	if s.o.ReadOnly {
		return nil
	}
	name := asidePrefix + s.o.Now().UTC().Format("20060102T150405.000Z")
	s.unread.Aside = s.filePath(name)
	s.journal.aside = func(ctx context.Context) error { return s.journal.guard(s.term.aside(ctx, name)) }
	return nil
}

// KnowsUID says whether UID is that of a cluster that exists, or did, and not one made for a state that is yet to be written.
func (s *State) KnowsUID() bool { return s.Exists() || s.unread != nil && s.unread.UID != "" }

// Notices are what a person should know of a state although it was opened. Each names its diagnostic.
func (s *State) Notices() []error {
	var all []error
	if s.unread != nil {
		all = append(all, s.unread)
	}
	if s.torn != nil {
		all = append(all, s.torn)
	}
	if s.second != nil {
		all = append(all, s.second)
	}
	if err := s.compare(); err != nil {
		all = append(all, err)
	}
	return all
}

// An UnreadError says that a state could not be used, and that the command does without.
type UnreadError struct {
	Place string
	Why   error
	UID   string // of the cluster, if that could be read
	Aside string // where its files are put before the first write; empty if nothing is to be written
}

// Error says why, and what is not known therefore.
func (e *UnreadError) Error() string {
	text := fmt.Sprintf("%v. It is not needed for this: what the cluster has is found by its owner's tags at the vendor. What is not known therefore: what a command that was cut off has begun, and what was made or removed so lately that the vendor's lists do not show it yet, so the end is waited for longer", e.Why)
	if e.UID == "" {
		text += "; and the cluster's own ID, so look at the plan: another cluster of the same name would be in it"
	}
	return text
}

// Unwrap returns why.
func (e *UnreadError) Unwrap() error { return e.Why }

// DiagnosticID is the name of the diagnostic of why.
func (e *UnreadError) DiagnosticID() string {
	var why coded
	if errors.As(e.Why, &why) {
		return why.DiagnosticID()
	}
	return "state-corrupt"
}

// Advice tells what becomes of its files.
func (e *UnreadError) Advice() (string, []string) {
	if e.Aside == "" {
		return "", nil
	}
	return fmt.Sprintf("Nothing of the state is deleted: before the first change its files are put aside, into %s. Remove that when nobody needs it any more.", e.Aside), nil
}

// A TornError says that a journal has lost writes at its end that were seen, and that it was opened with the others.
type TornError struct {
	Path               string
	Have, Seen         uint64 // numbers of the last writes
	HaveTime, SeenTime time.Time
}

// Error tells what is missing.
func (e *TornError) Error() string {
	return fmt.Sprintf("%s has lost its end: it ends with write %d, of %s, and this user has seen write %d, of %s. It is the same journal, cut short, and no older copy, so it is gone on with; the secrets are those that were seen last", e.Path, e.Have, when(e.HaveTime), e.Seen, when(e.SeenTime))
}

// DiagnosticID is the diagnostic's name.
func (e *TornError) DiagnosticID() string { return "state-torn" }

// Advice tells what it means.
func (e *TornError) Advice() (string, []string) {
	return "Nothing has to be done: what exists is found by its tags at the vendor. Only what somebody else has changed since is not marked as such. A disk that loses what it said was written may lose more: look at it.", nil
}
