package fake

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A journal is the file that a Fake is kept in: a header, then one record a line, only ever appended to under the lock.
// What follows the last line end is what a killed process left, and is cut off by the next who writes.
type journal struct {
	path   string
	id     string      // of the file that was read: a rewritten one has another
	offset int64       // how much of it was read
	info   os.FileInfo // of the file when it was read
	lines  int
}

// A header is the first line of the file.
type header struct {
	Version int    `json:"fake"`
	ID      string `json:"id"`
}

// lock waits until no other process changes the file, or for the end of the context.
func (j *journal) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", providers.Unavailable, err)
	}
	f, err := os.OpenFile(j.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", providers.Unavailable, err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		held, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w: %w", f.Name(), providers.Unavailable, err)
		}
		if held {
			return func() { f.Close() }, nil
		}
		if err := sleep(ctx, wait); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s, which another process holds: %w", f.Name(), err)
		}
	}
}

// read gives apply what was appended since the last read. If it is another file than then, it calls reset first and
// reads all of it. It needs no lock: whole lines do not change.
func (j *journal) read(reset func(), apply func(time.Time, change)) error {
	f, err := os.Open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		if j.info != nil {
			reset()
			*j = journal{path: j.path}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", providers.Unavailable, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", providers.Unavailable, err)
	}
	if j.info != nil && info.Size() == j.offset && os.SameFile(info, j.info) && info.ModTime().Equal(j.info.ModTime()) {
		return nil
	}
	r := bufio.NewReaderSize(f, 1<<16)
	h, n, err := readHeader(r)
	if err != nil {
		return fmt.Errorf("%s is not a file of provider fake: %w: %w", j.path, providers.Invalid, err)
	}
	if h.ID != j.id || info.Size() < j.offset {
		reset()
		*j = journal{path: j.path, id: h.ID, offset: n}
	}
	if _, err := f.Seek(j.offset, io.SeekStart); err != nil {
		return fmt.Errorf("%w: %w", providers.Unavailable, err)
	}
	r.Reset(f)
	j.info = info
	return j.readLines(r, apply)
}

func readHeader(r *bufio.Reader) (header, int64, error) {
	var h header
	line, err := r.ReadBytes('\n')
	if err != nil {
		return h, 0, fmt.Errorf("its first line: %w", err)
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, 0, fmt.Errorf("its first line: %w", err)
	}
	if h.Version != 1 || h.ID == "" {
		return h, 0, fmt.Errorf("its first line says neither version 1 nor its ID")
	}
	return h, int64(len(line)), nil
}

func (j *journal) readLines(r *bufio.Reader, apply func(time.Time, change)) error {
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", providers.Unavailable, err)
		}
		var rec record
		err = json.Unmarshal(line, &rec)
		if err == nil {
			var c change
			if c, err = rec.change(); err == nil {
				apply(time.UnixMilli(rec.UnixMilli), c)
			}
		}
		if err != nil {
			return fmt.Errorf("%s, record %d: %w: %w", j.path, j.lines+1, providers.Invalid, err)
		}
		j.offset += int64(len(line))
		j.lines++
	}
}

// append puts the changes at the end of the file and waits until they are on the disk. The caller has the lock and has
// read everything. If it fails, the file is as before.
func (j *journal) append(at time.Time, changes []change) error {
	if j.info == nil {
		if err := j.rewrite(nil); err != nil {
			return err
		}
	}
	data, err := lines(at, changes)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(j.offset); err != nil {
		return err
	}
	if _, err = f.WriteAt(data, j.offset); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(j.offset))
	}
	j.offset += int64(len(data))
	j.lines += len(changes)
	j.info, err = f.Stat()
	return err
}

// forget lets the next read begin at the start of the file.
func (j *journal) forget() { *j = journal{path: j.path} }

// compact writes the file anew if it has many more records than there are objects. The caller has the lock and has read
// everything.
func (j *journal) compact(s *state) error {
	rows := dump(s)
	if j.lines < 1000 || j.lines < 2*len(rows) {
		return nil
	}
	if err := j.rewrite(rows); err != nil {
		return fmt.Errorf("%w: %w", providers.Unavailable, err)
	}
	return nil
}

// rewrite puts a new file in the place of the old one, at once or not at all.
func (j *journal) rewrite(rows []change) error {
	h := header{1, rand.Text()}
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	more, err := lines(time.UnixMilli(0), rows)
	if err != nil {
		return err
	}
	data = append(append(data, '\n'), more...)
	tmp := j.path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	info, err := os.Stat(j.path)
	if err != nil {
		return err
	}
	*j = journal{path: j.path, id: h.ID, offset: int64(len(data)), info: info, lines: len(rows)}
	return syncFolder(filepath.Dir(j.path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lines returns the changes as the file has them.
func lines(at time.Time, changes []change) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, c := range changes {
		r, err := c.record()
		if err != nil {
			return nil, err
		}
		r.UnixMilli = at.UnixMilli()
		if err := e.Encode(r); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// dump returns the changes that make the state out of nothing, with a word for each name that is used no more, so that
// its IDs do not come back.
func dump(s *state) []change {
	all := dumpTable(providers.NetworkNoun, networkTable, s)
	all = append(all, dumpTable(providers.MachineNoun, machineTable, s)...)
	all = append(all, dumpTable(providers.BalancerNoun, balancerTable, s)...)
	all = append(all, dumpTable(providers.VolumeNoun, volumeTable, s)...)
	return append(all, dumpTable(providers.SnapshotNoun, snapshotTable, s)...)
}

func dumpTable[O providers.Identified](n providers.Noun, pick func(*state) *table[O], s *state) (all []change) {
	t := pick(s)
	for id, r := range t.rows {
		all = append(all, put[O]{pick: pick, id: id, row: &r})
	}
	for k, generation := range t.born {
		if id := makeID(n, k, generation); !t.has(id) {
			all = append(all, put[O]{pick: pick, id: id})
		}
	}
	return all
}
