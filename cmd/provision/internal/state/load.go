package state

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"strings"
)

// load reads what is there. Unless it is only to be read, it is then put in place for this term; that is also done with
// nothing if a former writer may yet begin to write.
func (s *State) load(ctx context.Context, risky bool) error {
	for {
		err := s.loadOnce(ctx, risky)
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}

func (s *State) loadOnce(ctx context.Context, risky bool) error {
	i, err := s.place.read(ctx)
	var p parsed
	if err == nil {
		p, err = s.parse(i)
	}
	if err == nil && !p.header.Unused {
		err = s.accept(i, &p)
	}
	switch {
	case s.o.Destroy && unreadable(err):
		return s.giveUp(i, err)
	case errors.Is(err, fs.ErrNotExist), err == nil && p.header.Unused:
		return s.begin(ctx, i, p.header, risky)
	case err != nil:
		return err
	}
	return s.resume(ctx, i, p)
}

// begin begins a state that was never written, or was moved away.
func (s *State) begin(ctx context.Context, i image, was header, risky bool) error {
	if was.Moved != nil {
		seen, err := readMark(s.o.Seen, was.Moved.UID) // whether this user has destroyed the cluster since
		if err != nil {
			return err
		}
		if !seen.Removed {
			s.moved = was.Moved
		}
		if !seen.Removed && !s.o.Accept && !s.o.moving {
			return &MovedError{Place: s.place.String(), Cluster: was.Cluster, Moved: *was.Moved}
		}
	}
	if !s.o.moving && !s.o.Accept {
		s.lookElsewhere()
	}
	if s.o.ReadOnly {
		return nil
	}
	s.fresh(was)
	if !risky && !was.Unused {
		return nil
	}
	return s.journal.begin(ctx, i, nil, s.header.Serial)
}

// parse reads the journal.
func (s *State) parse(i image) (parsed, error) {
	p, err := parse(i.text)
	if err != nil {
		return p, at(err, i.path)
	}
	if p.version == 1 {
		err = s.upgrade(&p)
	}
	return p, err
}

// upgrade makes what the first format says fit for the second.
func (s *State) upgrade(p *parsed) error {
	b, err := s.place.secrets(context.Background(), "secrets.age")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	p.secrets = &sealed{File: "secrets.age", SHA256: digest(b)}
	if to, err := s.place.secrets(context.Background(), "recipients"); err == nil {
		p.secrets.To = strings.Fields(string(to))
	}
	return nil
}

// fresh is the header of a state that was never written.
func (s *State) fresh(was header) {
	s.header = header{Cluster: s.o.Cluster, UID: strings.ToLower(rand.Text()), Machine: machineID(), Host: hostname(), Serial: was.Serial, Unused: true, Moved: was.Moved}
	s.journal.header, s.journal.serial = s.header, s.header.Serial
}

// accept says whether what was read is this cluster's, and no older than what this user has seen. Of a journal that has lost
// its end since, the secrets are those that were seen.
func (s *State) accept(i image, p *parsed) error {
	if err := s.ours(p.header); err != nil {
		return err
	}
	seen, err := readMark(s.o.Seen, p.header.UID)
	if err != nil {
		return err
	}
	s.seen = seen
	switch {
	case s.o.Accept, !seen.Removed && seen.Serial <= p.serial:
		return nil
	case !seen.Removed && s.hasLostEnd(i, *p):
		s.torn = &TornError{Path: i.path, Have: p.serial, HaveTime: p.time, Seen: seen.Serial, SeenTime: seen.Time}
		if seen.Secrets != nil {
			p.secrets = seen.Secrets
		}
		return nil
	}
	return &RolledBackError{Place: s.place.String(), Cluster: p.header.Cluster, Have: p.serial, HaveTime: p.time, Seen: seen.Serial, SeenTime: seen.Time, SeenPlace: seen.Place, Removed: seen.Removed}
}

// hasLostEnd tells a journal that is missing writes that were seen, because its end was lost, from an older copy.
//
// A copy ends where the journal once ended, and everything in it is as old as that. A journal that lost its end has a
// beginning that is not: its header says that it held the writes that are missing, when it was put in place; or it is of the
// very term whose last write was seen (each command that writes puts a journal of its own in place), and then either the
// rest of a write is behind the last whole one, or it lies in a folder, where a file can lose its end. An object in a
// bucket is written whole each time: one that ends with a whole write is an older version of it.
//
// What is missing of such a journal is of no weight: which objects exist is the vendor's to say. The secrets are, so they
// are never taken from the rest of the journal: what was seen names their file, with its sum.
func (s *State) hasLostEnd(i image, p parsed) bool {
	if p.header.Held >= s.seen.Serial {
		return true
	}
	_, isFolder := s.place.(*folder)
	same := s.seen.Term != "" && s.seen.Term == p.header.Term
	return same && (isFolder || p.good < len(i.text))
}

// ours says whether the state is this cluster's and, in a folder, this machine's.
func (s *State) ours(h header) error {
	if h.Cluster != s.o.Cluster {
		return &ForeignError{Place: s.place.String(), Want: s.o.Cluster, Have: h.Cluster}
	}
	_, isFolder := s.place.(*folder)
	if m := machineID(); isFolder && !s.o.AnyMachine && h.Machine != "" && m != "" && h.Machine != m {
		return &MachineError{Place: s.place.String(), Host: h.Host}
	}
	return nil
}

// compactAbove is how many records a journal has to have before Open looks whether fewer would do.
const compactAbove = 1000

// resume goes on with what was read.
func (s *State) resume(ctx context.Context, i image, p parsed) error {
	j := s.journal
	s.header = p.header
	j.header, j.secrets, j.serial, j.time, j.records, j.used = p.header, p.secrets, p.serial, p.time, p.records, true
	if s.offset, s.dropped = int64(p.good), int64(len(i.text)-p.good); s.dropped == 0 {
		s.offset = 0
	}
	if !s.o.ReadOnly {
		entries := i.text[p.first:p.good]
		if p.version == 1 || s.seen.Removed || s.seen.Serial > p.serial {
			var err error
			if entries, err = s.renumber(p); err != nil {
				return err
			}
			i.bases = 0
		}
		if err := j.begin(ctx, i, entries, j.serial); err != nil {
			return err
		}
	}
	if !s.o.Sealed {
		if err := s.loadSecrets(ctx); err != nil {
			return err
		}
	}
	if n := len(p.records); !s.o.ReadOnly && n > compactAbove && len(Latest(p.records)) < n/2 {
		return j.compact(0, Latest)
	}
	return nil
}

// renumber makes the entries of what was read anew, with numbers above those that were seen.
func (s *State) renumber(p parsed) (entries []byte, err error) {
	j := s.journal
	j.header.Serial, j.header.Time, j.header.Secrets = 0, p.time, p.secrets
	if p.version != 1 {
		j.header.Serial = max(p.serial, s.seen.Serial) + 1 // this is a write, too
	}
	entries, j.serial, err = encodeEntries(j.header.Serial, p.records)
	return entries, err
}
