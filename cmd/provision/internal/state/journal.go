package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The journal is text. Its first line names the format and its version. Every further line is one write: the CRC-32C of
// the rest in eight hexadecimal digits, a space, and a JSON array of records. The array of the first write holds the header
// alone. The file begins to exist, header and all, by a rename.
//
// A write is one line so that it is there whole or not at all, in whatever order its pages reach the disk: a line that does
// not fit its sum, with no good line behind, is a write that did not come to its end. With a good line behind, it is damage.
const (
	magic   = "provision journal "
	version = 1
)

// header says whose the journal is.
type header struct {
	Cluster string `json:"cluster"`
	UID     string `json:"uid"`
	Machine string `json:"machine,omitempty"` // of the CLI that made it; see machineID
	Host    string `json:"host,omitempty"`    // the same, for people
}

// parsed is what a journal says.
type parsed struct {
	header  header
	records []Record
	good    int64 // bytes up to the end of the last whole write
}

// parse reads a journal. It drops a last write that is not whole, and accepts no other damage.
func parse(b []byte) (parsed, error) {
	first, rest, ok := bytes.Cut(b, []byte("\n"))
	v, named := strings.CutPrefix(string(first), magic)
	n, err := strconv.Atoi(v)
	if !ok || !named || err != nil || n < 1 {
		return parsed{}, &CorruptError{}
	}
	if n > version {
		return parsed{}, &VersionError{Have: n, Know: version}
	}
	p := parsed{good: int64(len(first)) + 1}
	if rest, err = p.line(rest, p.takeHeader); err != nil {
		return parsed{}, err
	}
	for len(rest) > 0 {
		next, err := p.line(rest, p.take)
		if err != nil {
			if anyWhole(rest) {
				return parsed{}, err
			}
			return p, nil
		}
		rest = next
	}
	return p, nil
}

// line reads one write and returns what follows it.
func (p *parsed) line(b []byte, use func([]byte) error) (rest []byte, err error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || !whole(line) || use(line[9:]) != nil {
		return nil, &CorruptError{Offset: p.good}
	}
	p.good += int64(len(line)) + 1
	return rest, nil
}

func (p *parsed) takeHeader(text []byte) error {
	var hs []header
	if err := json.Unmarshal(text, &hs); err != nil {
		return err
	}
	if len(hs) != 1 || hs[0].Cluster == "" || hs[0].UID == "" {
		return errors.New("no header")
	}
	p.header = hs[0]
	return nil
}

func (p *parsed) take(text []byte) error {
	var rs []Record
	err := json.Unmarshal(text, &rs)
	p.records = append(p.records, rs...)
	return err
}

// anyWhole says whether there is a whole write in what begins with a bad line: on a line behind it, or on the same one with
// more than a lost end of line behind.
func anyWhole(b []byte) bool {
	lines := bytes.Split(b, []byte("\n"))
	if len(lines[0]) > 9 {
		d := json.NewDecoder(bytes.NewReader(lines[0][9:]))
		var first json.RawMessage
		end := 9
		if d.Decode(&first) == nil {
			end += int(d.InputOffset())
		}
		if end+1 < len(lines[0]) && whole(lines[0][:end]) {
			return true
		}
	}
	for _, l := range lines[1:] {
		if whole(l) {
			return true
		}
	}
	return false
}

// whole says whether a line fits its sum.
func whole(line []byte) bool {
	return len(line) > 9 && line[8] == ' ' && string(line[:8]) == sum(line[9:])
}

func sum(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
}

// encodeLine makes the line of one write.
func encodeLine(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s\n", sum(text), text), nil
}

// encode makes a whole journal.
func encode(h header, rs []Record) ([]byte, error) {
	b := fmt.Appendf(nil, "%s%d\n", magic, version)
	line, err := encodeLine([]header{h})
	b = append(b, line...)
	for _, r := range rs {
		if err != nil {
			return nil, err
		}
		line, err = encodeLine([]Record{r})
		b = append(b, line...)
	}
	return b, err
}

// A journal is the file, open at its end.
type journal struct {
	path string

	mu   sync.Mutex
	next *batch // gathers what comes while the disk is busy

	write   sync.Mutex // held while a batch is written; guards what follows
	file    *os.File
	size    int64
	records []Record // all that are on disk
	broken  error    // a write failed and could not be undone
}

// A batch is the records of one write.
type batch struct {
	records []Record
	written bool // guarded by journal.write
	err     error
}

// openJournal opens the journal, which has these records up to size, and cuts off what is behind.
func openJournal(path string, size int64, rs []Record) (*journal, error) {
	j := &journal{path: path}
	if err := j.open(size, rs); err != nil {
		return nil, err
	}
	return j, nil
}

func (j *journal) open(size int64, rs []Record) error {
	f, err := os.OpenFile(j.path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err == nil {
		j.file, j.size, j.records = f, size, rs
		err = j.cut()
	}
	j.broken = err
	return pathError(j.path, err)
}

// cut makes the file end at j.size.
func (j *journal) cut() error {
	if fi, err := j.file.Stat(); err != nil || fi.Size() == j.size {
		return err
	}
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	return j.file.Sync()
}

// close ends the use of the journal after the batch that is being written.
func (j *journal) close() error {
	j.write.Lock()
	defer j.write.Unlock()
	if j.broken == nil {
		j.broken = os.ErrClosed
	}
	return j.file.Close()
}

// all returns the records that are on disk.
func (j *journal) all() []Record {
	j.write.Lock()
	defer j.write.Unlock()
	return slices.Clone(j.records)
}

// append puts the record on disk, together with those that others append at the same time: whoever gets the file first
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
		b.written, b.err = true, j.flush(b)
	}
	return pathError(j.path, b.err)
}

func (j *journal) flush(b *batch) error {
	if j.broken != nil {
		return j.broken
	}
	line, err := encodeLine(b.records)
	if err != nil {
		return err
	}
	if fi, err := j.file.Stat(); err != nil {
		return err
	} else if fi.Sys().(*syscall.Stat_t).Nlink == 0 {
		return fmt.Errorf("%s was removed while it was in use: %w", j.path, os.ErrNotExist)
	}
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		j.broken = j.cut() // a half line must not stay in front of the next
		return err
	}
	if err := j.file.Sync(); err != nil {
		j.broken = err // nobody knows what is on disk now
		return err
	}
	j.size += int64(len(line))
	j.records = append(j.records, b.records...)
	return nil
}

// compact puts a journal with fewer records in the place of this one.
func (j *journal) compact(h header, keep func([]Record) []Record) error {
	j.write.Lock()
	defer j.write.Unlock()
	if j.broken != nil {
		return pathError(j.path, j.broken)
	}
	kept := slices.Clone(keep(slices.Clone(j.records)))
	b, err := encode(h, kept)
	if err != nil {
		return err
	}
	if err := writeFile(j.path, b); err != nil {
		return err
	}
	j.file.Close()
	return j.open(int64(len(b)), kept)
}
