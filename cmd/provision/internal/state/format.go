package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// The journal is text. Its first line names the format and its version. Every further line is one write: the CRC-32C of
// the rest in eight hexadecimal digits, a space, and JSON. The first write is the header, every other an entry.
//
// A write is one line so that it is there whole or not at all, in whatever order its pages reach the disk: a line that does
// not fit its sum, with no good line behind, is a write that did not come to its end. With a good line behind, it is damage,
// as is an entry that does not bear the number after the one before it.
//
// Version 1 had no numbers and no more than records in its entries, which were arrays. It is read, and written no more.
const (
	magic   = "provision journal "
	version = 2
)

// header says whose the journal is and what holds before its first entry.
type header struct {
	Cluster string    `json:"cluster"`
	UID     string    `json:"uid"`
	Machine string    `json:"machine,omitempty"` // of the CLI that made it; see machineID
	Host    string    `json:"host,omitempty"`    // the same, for people
	Fence   uint64    `json:"fence"`             // of the writer of this header
	Term    string    `json:"term,omitempty"`    // the nonce of its lease: no other term ever has the same
	Held    uint64    `json:"held,omitempty"`    // the last write that the journal held when this header was put in place with it
	Serial  uint64    `json:"serial"`            // of the last write before the first entry; it only ever grows
	Time    time.Time `json:"time"`              // of that write
	Secrets *sealed   `json:"secrets,omitempty"` // as of that write
	Bases   []base    `json:"bases,omitempty"`   // objects with the first entries, in order; of a journal in a bucket
	Unused  bool      `json:"unused,omitempty"`  // nothing was ever written: it only keeps an old writer from beginning
	Moved   *Moved    `json:"moved,omitempty"`   // of an unused one: the state was here, and is there now
}

// A sealed names the file with the secrets, which is written once and never changed.
type sealed struct {
	File   string   `json:"file"`
	SHA256 string   `json:"sha256,omitempty"`
	To     []string `json:"to"` // whom it is encrypted to, because an age file does not tell
}

// A base is an object that holds entries.
type base struct {
	Key    string `json:"key"`
	SHA256 string `json:"sha256"`
}

// An entry is one write.
type entry struct {
	Number  uint64    `json:"n"`
	Time    time.Time `json:"t,omitzero"` // of one without records
	Records []Record  `json:"r,omitempty"`
	Secrets *sealed   `json:"s,omitempty"` // replaces those before
}

// parsed is what a journal says.
type parsed struct {
	version int
	header  header
	records []Record
	secrets *sealed   // the last ones
	serial  uint64    // of the last write
	time    time.Time // of the last write
	first   int       // where the entries begin
	good    int       // bytes up to the end of the last whole write
}

// parse reads a journal. It drops a last write that is not whole, and accepts no other damage.
func parse(b []byte) (parsed, error) {
	p, err := parseHeader(b)
	if err != nil {
		return parsed{}, err
	}
	for p.good < len(b) {
		if err := p.line(b, p.take); err != nil {
			if anyWhole(b[p.good:]) {
				return parsed{}, err
			}
			return p, nil
		}
	}
	return p, nil
}

// parseHeader reads the beginning of a journal.
func parseHeader(b []byte) (parsed, error) {
	first, _, ok := bytes.Cut(b, []byte("\n"))
	v, named := strings.CutPrefix(string(first), magic)
	n, err := strconv.Atoi(v)
	if !ok || !named || err != nil || n < 1 || v != strconv.Itoa(n) {
		return parsed{}, &CorruptError{}
	}
	if n > version {
		return parsed{}, &VersionError{Have: n, Know: version}
	}
	p := parsed{version: n, good: len(first) + 1}
	if err := p.line(b, p.takeHeader); err != nil {
		return parsed{}, err
	}
	p.first = p.good
	return p, nil
}

// line reads the next write.
func (p *parsed) line(b []byte, use func([]byte) error) error {
	line, _, ok := bytes.Cut(b[p.good:], []byte("\n"))
	if !ok || !whole(line) || use(line[9:]) != nil {
		return &CorruptError{Offset: int64(p.good)}
	}
	p.good += len(line) + 1
	return nil
}

func (p *parsed) takeHeader(text []byte) error {
	if p.version == 1 {
		text = bytes.TrimSuffix(bytes.TrimPrefix(text, []byte("[")), []byte("]"))
	}
	if err := json.Unmarshal(text, &p.header); err != nil {
		return err
	}
	if p.header.Cluster == "" || p.header.UID == "" {
		return errors.New("no header")
	}
	p.serial, p.time, p.secrets = p.header.Serial, p.header.Time, p.header.Secrets
	return nil
}

// take reads an entry.
func (p *parsed) take(text []byte) error {
	e := entry{Number: p.serial + 1}
	if p.version == 1 {
		if err := json.Unmarshal(text, &e.Records); err != nil {
			return err
		}
	} else if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	if e.Number != p.serial+1 {
		return errors.New("not the next write")
	}
	p.serial = e.Number
	p.records = append(p.records, e.Records...)
	if n := len(e.Records); n > 0 {
		e.Time = e.Records[n-1].Time
	}
	if e.Time.After(p.time) {
		p.time = e.Time
	}
	if e.Secrets != nil {
		p.secrets = e.Secrets
	}
	return nil
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
	if whole(lines[0]) {
		return len(lines) > 1 // it fits its sum and ends: then what it says is wrong
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
	return fmt.Appendf(make([]byte, 0, len(text)+10), "%s %s\n", sum(text), text), nil
}

// encodeHeader makes the beginning of a journal.
func encodeHeader(h header) ([]byte, error) {
	line, err := encodeLine(h)
	return append(fmt.Appendf(nil, "%s%d\n", magic, version), line...), err
}

// recordsPerLine is how many records share a line when many are written at once.
const recordsPerLine = 256

// encodeEntries makes the lines of all these records, numbered from after serial, and returns the last number.
func encodeEntries(serial uint64, rs []Record) (lines []byte, last uint64, err error) {
	for len(rs) > 0 {
		n := min(len(rs), recordsPerLine)
		serial++
		line, err := encodeLine(entry{Number: serial, Records: rs[:n]})
		if err != nil {
			return nil, 0, err
		}
		lines, rs = append(lines, line...), rs[n:]
	}
	return lines, serial, nil
}
