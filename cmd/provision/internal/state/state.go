// Package state keeps what the CLI must remember of one cluster between two commands: its secrets, which exist nowhere
// else, and a journal of what was begun and done. What exists is the vendor's to say; the journal is only a help.
//
// It lies in a folder that its owner alone can read, or in a bucket. One command at a time may write: it holds a lease, which
// ends with it, and every write fails once another has taken the lease over. See place for how.
package state

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A State is the open state of one cluster. Its methods are safe for concurrent use. Close it at the end.
type State struct {
	o     Options
	place place

	term term // nil if read-only
	mine lease
	stop chan struct{} // ends the renewal of the lease
	kept chan struct{} // closed when it has ended
	lost chan struct{}
	lose func() // closes lost

	endRenewal func() // closes stop, and waits

	journal *journal // of a read-only state it is only read
	seen    mark     // what this user has seen of the cluster

	mu      sync.Mutex // guards what follows
	header  header
	offset  int64 // where the journal was cut at load, if dropped is not 0
	dropped int64
	torn    *TornError   // the journal has lost its end, which was seen
	unread  *UnreadError // it could not be read, and is not needed
	moved   *Moved       // it was moved away
	second  *SecondError // there is none here, and one was seen elsewhere
	secrets map[string][]byte
	phrase  string // the passphrase, once it was asked for
	closed  bool

	unmarked bool // what is written is not noted as seen
}

// Open opens the state of a cluster, and makes it at the first write if there is none. Unless it is ReadOnly, it holds the
// lease until Close; the lease also ends with the process, or when it is not renewed in time.
//
// Errors, beside those of the system and of package bucket, are the types of this package whose names end in Error. Each
// names its diagnostic and the way out.
func Open(ctx context.Context, o Options) (*State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := o.defaults(); err != nil {
		return nil, err
	}
	p, err := o.at(ctx)
	if err != nil {
		return nil, err
	}
	s := &State{o: o, place: p, secrets: map[string][]byte{}, lost: make(chan struct{})}
	s.lose = sync.OnceFunc(func() { close(s.lost) })
	s.journal = &journal{fence: s.lose}
	risky := false
	if !o.ReadOnly {
		if s.term, s.mine, risky, err = acquire(ctx, p, o); err != nil {
			p.close()
			return nil, err
		}
		s.journal.term, s.journal.nonce = s.term, s.mine.Nonce
		s.stop, s.kept = make(chan struct{}), make(chan struct{})
		s.endRenewal = sync.OnceFunc(func() { close(s.stop); <-s.kept })
		go s.keep(s.mine)
	}
	if err := s.load(ctx, risky); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Folder returns the path of the state's folder; empty if it is in a bucket.
func (s *State) Folder() string {
	if f, ok := s.place.(*folder); ok {
		return f.path
	}
	return ""
}

// Place returns where the state is: the path of a folder, or a bucket's URL.
func (s *State) Place() string { return s.place.String() }

// UID returns the cluster's own ID, made with its state: 26 lower-case letters and digits. It tells apart two clusters of
// one name. It is empty if the state is read-only and not there.
func (s *State) UID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header.UID
}

// Adopt gives a state that was never written the UID that the cluster's objects bear at their vendor, so that a state that
// was lost can be made again. It is an error if the state exists.
func (s *State) Adopt(uid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.o.ReadOnly:
		return s.notForWriting()
	case uid == s.header.UID:
		return nil
	case s.journal.exists():
		return &ForeignError{Place: s.place.String(), Want: uid, Have: s.header.UID, UID: true}
	case !isUID(uid):
		return &UIDError{uid}
	}
	seen, err := readMark(s.o.Seen, uid)
	if err != nil {
		return err
	}
	s.header.UID, s.seen = uid, seen
	s.journal.adopt(uid, seen.Serial)
	return nil
}

// isUID says whether it may be the UID of a cluster.
func isUID(s string) bool {
	return len(s) == 26 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

func (s *State) notForWriting() error {
	return &AccessError{Path: s.place.String(), Err: errors.New("it is not open for writing")}
}

// Lost is closed when the state's lease is lost: every write fails from then on, and another may have begun. So no step
// should be started after it. It stays open for a state that is read-only.
func (s *State) Lost() <-chan struct{} { return s.lost }

// Exists says whether the cluster has a state.
func (s *State) Exists() bool { return s.journal.exists() }

// CheckUID compares the UID that an object of this cluster's name bears at its vendor with the state's. The error is a
// *ForeignError. An empty UID, on either side, is no other cluster's.
func (s *State) CheckUID(uid string) error {
	have := s.UID()
	if uid == "" || have == "" || uid == have {
		return nil
	}
	return &ForeignError{Place: s.place.String(), Want: uid, Have: have, UID: true}
}

// Dropped returns where the journal was cut when it was opened, and how many bytes came behind: the rest of a record that
// was being written when a process or the machine died. It returns zeros if nothing was.
func (s *State) Dropped() (offset, bytes int64) { return s.offset, s.dropped }

// Records returns all records, the oldest first.
func (s *State) Records() []Record { return s.journal.all() }

// Append writes a record. When it returns, the record is written and survives a loss of power, and nobody else had taken the
// lease. A zero Time becomes now. Records that many goroutines append at once share one write.
func (s *State) Append(r Record) error {
	if r.Time.IsZero() {
		r.Time = s.o.Now()
	}
	r.Time = r.Time.UTC().Truncate(time.Millisecond)
	r.Data = slices.Clone(r.Data)
	if err := s.writable(); err != nil {
		return err
	}
	return s.journal.append(r)
}

func (s *State) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly {
		return s.notForWriting()
	}
	return nil
}

// Compact rewrites the journal with the records that keep returns of all records, beside the old one and then in its
// place. Latest is what keep usually is, and what Open does by itself to a long journal. Appends meanwhile wait.
func (s *State) Compact(keep func([]Record) []Record) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.journal.compact(0, keep); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark(false)
}

// Secret returns a copy of the named secret.
func (s *State) Secret(name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.secrets[name]
	return slices.Clone(b), ok
}

// SetSecrets adds the secrets, or replaces those of the same names; nil removes one. When it returns, all are written,
// encrypted; after an error, or a loss of power, all are as they were.
func (s *State) SetSecrets(set map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly || s.o.Sealed {
		return s.notForWriting()
	}
	all := maps.Clone(s.secrets)
	for name, b := range set {
		if b == nil {
			delete(all, name)
		} else {
			all[name] = slices.Clone(b)
		}
	}
	if err := s.saveSecrets(all, false); err != nil {
		return err
	}
	s.secrets = all
	return nil
}

// Close gives the lease back. A state that was never written leaves nothing behind. A second Close does nothing.
func (s *State) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.journal.close()
	defer s.place.close()
	if s.term == nil {
		return nil
	}
	s.endRenewal()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l := s.mine.renewed(s.o)
	if !s.journal.begun {
		s.term.leave(ctx, l)
		return nil
	}
	err := s.mark(false)
	if e := s.term.release(ctx, l); !isFenced(e) && !isGone(e) {
		err = errors.Join(err, e)
	}
	return err
}

// Remove removes all that is in the folder or the bucket, and closes the state. It is for after the cluster is gone: nothing
// brings its secrets back.
func (s *State) Remove() error { return s.remove(true) }

// remove notes, if for good, that the cluster is gone.
func (s *State) remove(forGood bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly {
		return s.notForWriting()
	}
	s.closed = true
	defer s.place.close()
	s.endRenewal()
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	used := s.journal.exists()
	l := s.mine.renewed(s.o)
	if err := s.journal.remove(ctx, l); err != nil {
		s.term.release(ctx, l)
		return err
	}
	if !used || !forGood {
		return nil
	}
	return s.mark(true)
}

// stem is the part of a file's name that says which write it belongs to.
func stem(serial uint64) string { return strconv.FormatUint(serial, 10) }
