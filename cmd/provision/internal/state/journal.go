package state

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// A journal is what was written, and the way to write more.
type journal struct {
	term  term
	nonce string // of the lease
	fence func() // called when another has taken the lease

	mu   sync.Mutex
	next *batch // gathers what comes while the disk is busy

	write   sync.Mutex // held while something is written; guards what follows and the term
	header  header
	begun   bool // the journal is in place, in this term
	used    bool // something was ever written
	secrets *sealed
	serial  uint64                      // of the last write
	time    time.Time                   // of the last write
	records []Record                    // all that are written
	aside   func(context.Context) error // puts what cannot be read aside, before the first write; nil if there is nothing
	closed  bool
}

// A batch is the records of one write.
type batch struct {
	records []Record
	written bool // guarded by journal.write
	err     error
}

// slow is how long one write may take in all before it counts as failed.
const slow = time.Minute

// begin puts the journal in place for this term, with what was read, of which last is the last write.
func (j *journal) begin(ctx context.Context, was image, entries []byte, last uint64) error {
	j.header.Term, j.header.Held = j.nonce, last
	err := j.guard(j.term.begin(ctx, &j.header, was, entries))
	if err != nil {
		return err
	}
	j.begun = true
	j.term.sweep(ctx, j.file())
	return nil
}

// file is the name of the secrets' file.
func (j *journal) file() string {
	if j.secrets == nil {
		return ""
	}
	return j.secrets.File
}

// guard tells when the lease is lost.
func (j *journal) guard(err error) error {
	var fenced *FencedError
	if errors.As(err, &fenced) {
		j.fence()
	}
	return err
}

// ready makes the journal fit for writing: with its first write the state exists.
func (j *journal) ready(ctx context.Context) error {
	if j.closed {
		return os.ErrClosed
	}
	if j.used {
		return nil
	}
	if j.aside != nil {
		if err := j.aside(ctx); err != nil {
			return err
		}
		j.aside = nil
	}
	was := j.header
	j.header.Unused, j.header.Moved = false, nil
	if err := j.begin(ctx, image{}, nil, j.serial); err != nil {
		j.header = was
		return err
	}
	j.used = true
	return nil
}

// add writes an entry.
func (j *journal) add(e entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	if err := j.ready(ctx); err != nil {
		return err
	}
	e.Number = j.serial + 1
	line, err := encodeLine(e)
	if err != nil {
		return err
	}
	if err := j.guard(j.term.append(ctx, line)); err != nil {
		return err
	}
	j.serial = e.Number
	j.records = append(j.records, e.Records...)
	if e.Secrets != nil {
		j.secrets = e.Secrets
	}
	if n := len(e.Records); n > 0 {
		e.Time = e.Records[n-1].Time
	}
	if e.Time.After(j.time) {
		j.time = e.Time
	}
	return nil
}

// append puts the record on disk, together with those that others append at the same time: whoever gets the journal first
// writes for all who wait.
func (j *journal) append(r Record) error {
	if _, err := json.Marshal(r); err != nil {
		return err // must not spoil the batch of others
	}
	j.mu.Lock()
	if j.next == nil {
		j.next = &batch{}
	}
	b := j.next
	b.records = append(b.records, r)
	j.mu.Unlock()

	j.write.Lock()
	defer j.write.Unlock()
	if !b.written {
		j.mu.Lock()
		j.next = nil
		j.mu.Unlock()
		b.written, b.err = true, j.add(entry{Records: b.records})
	}
	return b.err
}

// seal writes a new file of secrets, and that it counts.
func (j *journal) seal(b []byte, to []string, now time.Time) error {
	j.write.Lock()
	defer j.write.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	if err := j.ready(ctx); err != nil {
		return err
	}
	file, err := j.term.put(ctx, stem(j.serial+1), b)
	if err != nil {
		return j.guard(err)
	}
	if err := j.add(entry{Time: now, Secrets: &sealed{File: file, SHA256: digest(b), To: to}}); err != nil {
		return err
	}
	j.term.sweep(ctx, file)
	return nil
}

// compact puts a journal with fewer records in the place of this one. Its writes have numbers above least.
func (j *journal) compact(least uint64, keep func([]Record) []Record) error {
	j.write.Lock()
	defer j.write.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	if err := j.ready(ctx); err != nil {
		return err
	}
	kept := slices.Clone(keep(slices.Clone(j.records)))
	was := j.header
	j.header.Serial = max(j.serial, least) + 1 // this is a write, too
	j.header.Time, j.header.Secrets = j.time, j.secrets
	entries, last, err := encodeEntries(j.header.Serial, kept)
	if err == nil {
		err = j.begin(ctx, image{}, entries, last)
	}
	if err != nil {
		j.header = was
		return err
	}
	j.serial, j.records = last, kept
	return nil
}

// adopt changes the UID of a journal that was never written, and lets its writes have numbers above least.
func (j *journal) adopt(uid string, least uint64) {
	j.write.Lock()
	defer j.write.Unlock()
	j.header.UID, j.header.Serial = uid, max(j.header.Serial, least)
	j.serial = j.header.Serial
}

// exists says whether anything was ever written.
func (j *journal) exists() bool {
	j.write.Lock()
	defer j.write.Unlock()
	return j.used
}

// mark is what there is to be seen of the journal.
func (j *journal) mark() mark {
	j.write.Lock()
	defer j.write.Unlock()
	return mark{Cluster: j.header.Cluster, UID: j.header.UID, Serial: j.serial, Time: j.time, Term: j.header.Term, Secrets: j.secrets}
}

// remove removes all that was written.
func (j *journal) remove(ctx context.Context, l lease) error {
	j.write.Lock()
	defer j.write.Unlock()
	if j.closed {
		return os.ErrClosed
	}
	j.closed = true
	if j.aside != nil {
		if err := j.aside(ctx); err != nil {
			return err
		}
	}
	j.header.Unused, j.header.Secrets, j.secrets = true, nil, nil
	if j.begun { // else there is nothing
		if err := j.begin(ctx, image{}, nil, 0); err != nil {
			return err
		}
	}
	return j.guard(j.term.remove(ctx, l))
}

// leave removes all that was written but for word of where it is now.
func (j *journal) leave(ctx context.Context, m Moved) error {
	j.write.Lock()
	defer j.write.Unlock()
	if j.closed {
		return os.ErrClosed
	}
	j.closed = true
	j.header.Unused, j.header.Moved, j.header.Serial, j.header.Secrets, j.secrets = true, &m, j.serial, nil, nil
	return j.begin(ctx, image{}, nil, j.serial)
}

// close ends the use of the journal after the batch that is being written.
func (j *journal) close() {
	j.write.Lock()
	defer j.write.Unlock()
	j.closed = true
}

// all returns the records that are written.
func (j *journal) all() []Record {
	j.write.Lock()
	defer j.write.Unlock()
	return slices.Clone(j.records)
}
