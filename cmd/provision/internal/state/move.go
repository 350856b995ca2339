package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
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
	Moved      *Moved    `json:"moved,omitempty"`      // where it went that was here
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
		Records: len(s.Records()), Secrets: names, Recipients: s.Recipients(), Moved: s.moved,
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

// A Moved is word of where a state went, left in its old place. It is plain text for people: nothing follows it by itself, so
// whoever could write there could send a person elsewhere, but no command.
type Moved struct {
	To   string    `json:"to"` // the URL that Move was given; the path of a folder if it was none
	Time time.Time `json:"time"`
	By   string    `json:"by"`
	UID  string    `json:"uid"` // of the cluster
}

// Move takes a cluster's state to another place, as it is: the secrets stay encrypted to whom they are. It holds both leases.
// After an interruption it can be called again; until it succeeds, the old place holds the state. Afterwards the old place
// holds word of the new one. It returns the new place, and whether it was moved: not if it is there already.
func Move(ctx context.Context, from, to Options) (place string, moved bool, err error) {
	from.Sealed, to.Sealed, from.moving, to.moving = true, true, true, true
	if same(from, to) {
		return stays(ctx, from)
	}
	s, err := Open(ctx, from)
	if err != nil {
		return "", false, err
	}
	defer s.Close()
	d, err := Open(ctx, to)
	var locked *LockedError
	if errors.As(err, &locked) && locked.Holder.PID == s.mine.Holder.PID && locked.Holder.Host == s.mine.Holder.Host && locked.Holder.Since.Equal(s.mine.Holder.Since) {
		s.Close() // the same place by another name
		return stays(ctx, from)
	}
	if err != nil {
		return "", false, err
	}
	defer d.Close()
	switch {
	case !s.Exists() && !d.Exists() && s.moved != nil:
		return "", false, &MovedError{Place: s.place.String(), Cluster: s.o.Cluster, Moved: *s.moved}
	case !s.Exists() && !d.Exists():
		return "", false, &NothingError{s.place.String()}
	case !s.Exists():
		return d.place.String(), false, d.Close()
	case d.Exists() && d.UID() != s.UID():
		return "", false, &OccupiedError{d.place.String()}
	}
	d.unmarked = true // until it is done, the old place counts
	if err := s.copyTo(ctx, d); err != nil {
		return "", false, err
	}
	if err := s.leave(Moved{To: firstOf(to.URL, d.place.String()), Time: s.o.Now().UTC().Truncate(time.Second), By: s.mine.Holder.User + " on " + s.mine.Holder.Host, UID: s.UID()}); err != nil {
		return "", false, err
	}
	d.unmarked = false
	return d.place.String(), true, d.Close()
}

// stays is a move to where the state is.
func stays(ctx context.Context, o Options) (string, bool, error) {
	o.ReadOnly = true
	s, err := Open(ctx, o)
	if err != nil {
		return "", false, err
	}
	defer s.Close()
	if !s.Exists() {
		return "", false, &NothingError{s.place.String()}
	}
	return s.place.String(), false, nil
}

// same says whether two options name the same place, as far as their words tell.
func same(a, b Options) bool {
	if a.defaults() != nil || b.defaults() != nil || a.Bucket != nil || b.Bucket != nil {
		return false
	}
	return a.words() == b.words()
}

// words are what tells a place from others: a folder's path, or what of a URL says where it is.
func (o Options) words() string {
	if o.URL != "" {
		u, err := o.location()
		if err != nil {
			return o.URL
		}
		if u.Scheme != "file" {
			q := u.Query()
			return strings.Join([]string{u.Scheme, u.Host, u.Path, q.Get("endpoint"), q.Get("account")}, " ")
		}
		o.Folder = filepath.FromSlash(u.Path)
	}
	if real, err := filepath.EvalSymlinks(o.Folder); err == nil {
		return real
	}
	return filepath.Clean(o.Folder)
}

// leave closes a state that is elsewhere by now, and leaves word of that.
func (s *State) leave(m Moved) error {
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
	err := s.journal.leave(ctx, m)
	return errors.Join(err, s.term.release(ctx, s.mine.renewed(s.o)))
}

// Moved says where the state went that was here; nil if none did.
func (s *State) Moved() *Moved { return s.moved }

// Forget makes a place that a state was moved away from one like any other, and closes it.
func (s *State) Forget() error { return s.remove(false) }

// A MovedError says that the state is no longer here.
type MovedError struct {
	Place, Cluster string
	Moved          Moved
}

// Error tells where it went.
func (e *MovedError) Error() string {
	return fmt.Sprintf("the state of %q was in %s and was moved to %s at %s by %s", e.Cluster, e.Place, e.Moved.To, when(e.Moved.Time), e.Moved.By)
}

// DiagnosticID is the diagnostic's name.
func (e *MovedError) DiagnosticID() string { return "state-moved" }

// Advice tells what to do.
func (e *MovedError) Advice() (string, []string) {
	at := "--state " + quote(e.Moved.To)
	if strings.HasPrefix(e.Moved.To, "/") {
		at = "--state-dir " + quote(e.Moved.To)
	}
	return fmt.Sprintf("Nothing was changed. If that is right, name the new place in the file's state block (url = %q), or with a flag. If there is nothing any more, `provision state accept` makes the old place one like any other. To look at the new one:", e.Moved.To), []string{"provision state show " + at}
}

// quote makes one word of a shell's of a text.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// firstOf returns the first text that is not empty.
func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
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
		if err := k.begin(ctx, image{}, nil, 0); err != nil {
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
	h.Moved = nil
	h.Machine, h.Host, h.Serial, h.Time, h.Secrets, h.Bases = machineID(), hostname(), serial, j.time, k.secrets, nil
	entries, last, err := encodeEntries(serial, j.records)
	if err != nil {
		return err
	}
	k.header, k.used = h, true
	if err := k.begin(ctx, image{}, entries, last); err != nil {
		return err
	}
	k.serial, k.time, k.records = last, j.time, slices.Clone(j.records)
	return nil
}
