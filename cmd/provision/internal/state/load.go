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
		i, err := s.place.read(ctx)
		var p parsed
		if err == nil {
			p, err = s.parse(i)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && p.header.Unused:
			if !s.o.ReadOnly {
				s.fresh(p.header)
				if risky || p.header.Unused {
					err = s.journal.begin(ctx, i, nil)
				} else {
					err = nil
				}
			} else {
				err = nil
			}
		case err == nil:
			if err = s.accept(p); err == nil {
				err = s.resume(ctx, i, p)
			}
		}
		if !errors.Is(err, errChanged) {
			return err
		}
	}
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

// fresh begins a state that was never written.
func (s *State) fresh(was header) {
	s.header = header{Cluster: s.o.Cluster, UID: strings.ToLower(rand.Text()), Machine: machineID(), Host: hostname(), Serial: was.Serial, Unused: true}
	s.journal.header, s.journal.serial = s.header, s.header.Serial
}

// accept says whether what was read is this cluster's, and no older than what this user has seen.
func (s *State) accept(p parsed) error {
	if err := s.ours(p.header); err != nil {
		return err
	}
	seen, err := readMark(s.o.Seen, p.header.UID)
	if err != nil {
		return err
	}
	s.seen = seen
	if !s.o.Accept && (seen.Removed || seen.Serial > p.serial) {
		return &RolledBackError{Place: s.place.String(), Cluster: p.header.Cluster, Have: p.serial, HaveTime: p.time, Seen: seen.Serial, SeenTime: seen.Time, Removed: seen.Removed}
	}
	return nil
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
	s.header, s.loaded = p.header, p.serial
	j.header, j.secrets, j.serial, j.time, j.records, j.used = p.header, p.secrets, p.serial, p.time, p.records, true
	if s.offset, s.dropped = int64(p.good), int64(len(i.text)-p.good); s.dropped == 0 {
		s.offset = 0
	}
	if !s.o.ReadOnly {
		entries := i.text[p.first:p.good]
		if p.version == 1 {
			var err error
			if entries, j.serial, err = encodeEntries(0, p.records); err != nil {
				return err
			}
			j.header.Secrets = p.secrets
		}
		if err := j.begin(ctx, i, entries); err != nil {
			return err
		}
	}
	if !s.o.Sealed {
		if err := s.loadSecrets(ctx); err != nil {
			return err
		}
	}
	if s.o.ReadOnly {
		return nil
	}
	switch n := len(p.records); {
	case s.o.Accept && (s.seen.Removed || s.seen.Serial > j.serial):
		return j.compact(s.seen.Serial, func(rs []Record) []Record { return rs })
	case n > compactAbove && len(Latest(p.records)) < n/2:
		return j.compact(0, Latest)
	}
	return nil
}
