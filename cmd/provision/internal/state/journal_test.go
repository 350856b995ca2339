package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
)

// journalOf returns the bytes of a journal of n records, and where its first and its last record begin.
func journalOf(t testing.TB, n int) (b []byte, first, last int) {
	t.Helper()
	b, err := encodeHeader(header{Cluster: "demo", UID: "u"})
	first = len(b)
	for i, r := range records(n) {
		last = len(b)
		line, e := encodeLine(entry{Number: uint64(i + 1), Records: []Record{r}})
		b, err = append(b, line...), errors.Join(err, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b, first, last
}

// TestTornAnywhere: a journal that is cut at any byte gives the records that are whole, and says where it was cut.
func TestTornAnywhere(t *testing.T) {
	b, first, _ := journalOf(t, 4)
	for n := range len(b) {
		p, err := parse(b[:n])
		if n < first { // never seen: the file begins to exist by a rename
			if err == nil {
				t.Errorf("cut at %d, in the header: no error", n)
			}
			continue
		}
		if err != nil {
			t.Errorf("cut at %d: %v", n, err)
			continue
		}
		want := strings.Count(string(b[first:n]), "\n")
		if len(p.records) != want || (want > 0 && !reflect.DeepEqual(p.records, records(want))) {
			t.Errorf("cut at %d: %d records; want %d", n, len(p.records), want)
		}
		if good := first + strings.LastIndexByte(string(b[first:n]), '\n') + 1; p.good != good {
			t.Errorf("cut at %d: good up to %d; want %d", n, p.good, good)
		}
	}
}

// TestTornOnDisk: the same through Open, which then goes on behind what is whole.
func TestTornOnDisk(t *testing.T) {
	o := filled(t, 3)
	path := fileOf(t, o, "journal")
	b, err := os.ReadFile(path)
	must(t, err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")
	good := len(b) - len(lines[len(lines)-1]) - 1
	for n := good + 1; n < len(b); n += 7 {
		path := fileOf(t, o, "journal")
		must(t, os.WriteFile(path, b[:n], 0o600))
		must(t, os.RemoveAll(o.Seen)) // else it is noticed that a write is missing that was seen
		reader := o
		reader.ReadOnly = true
		r := mustOpen(t, reader)
		if off, dropped := r.Dropped(); off != int64(good) || dropped != int64(n-good) || len(r.Records()) != 2 {
			t.Errorf("cut at %d, read only: dropped %d at %d, %d records; want %d at %d, 2", n, dropped, off, len(r.Records()), n-good, good)
		}
		s := mustOpen(t, o)
		if off, dropped := s.Dropped(); off != int64(good) || dropped != int64(n-good) {
			t.Errorf("cut at %d: dropped %d at %d; want %d at %d", n, dropped, off, n-good, good)
		}
		must(t, s.Append(records(3)[2]))
		must(t, s.Close())
		if now, _ := os.ReadFile(fileOf(t, o, "journal")); string(now[strings.LastIndex(string(now), "\n{")+1:]) == "" || strings.SplitN(string(now), "\n", 3)[2] != strings.SplitN(string(b), "\n", 3)[2] {
			t.Errorf("cut at %d, the last record written again:\n%s\nwant\n%s", n, now, b)
		}
	}
}

// TestAnyFlippedBitOfTheLast: a record with any bit turned over is dropped, never believed.
func TestAnyFlippedBitOfTheLast(t *testing.T) {
	b, _, last := journalOf(t, 3)
	for i := last; i < len(b); i++ {
		for bit := range 8 {
			bad := append([]byte(nil), b...)
			bad[i] ^= 1 << bit
			p, err := parse(bad)
			if err != nil || p.good != last || !reflect.DeepEqual(p.records, records(2)) {
				t.Errorf("bit %d of byte %d: %v, good up to %d, %d records; want none, %d, 2", bit, i, err, p.good, len(p.records), last)
			}
		}
	}
}

// TestAnyFlippedBitBefore: with whole records behind it, such a record is damage, and nothing is dropped for it.
func TestAnyFlippedBitBefore(t *testing.T) {
	b, first, last := journalOf(t, 3)
	for i := range last {
		for bit := range 8 {
			bad := append([]byte(nil), b...)
			bad[i] ^= 1 << bit
			_, err := parse(bad)
			var c *CorruptError
			var v *VersionError
			switch {
			case errors.As(err, &v) && i < first: // the version in the first line may become another
			case !errors.As(err, &c):
				t.Errorf("bit %d of byte %d: %v; want a CorruptError", bit, i, err)
			case i >= first && (c.Offset > int64(i) || c.Offset < int64(first)):
				t.Errorf("bit %d of byte %d: damage is said to begin at %d", bit, i, c.Offset)
			}
		}
	}
}

func TestDamageStops(t *testing.T) {
	o := filled(t, 3)
	path := fileOf(t, o, "journal")
	b, err := os.ReadFile(path)
	must(t, err)
	at := strings.Index(string(b), "workers[1]")
	b[at] = 'W'
	must(t, os.WriteFile(path, b, 0o600))
	e := openError[*CorruptError](t, o)
	if e.Path != path || e.Offset <= 0 || e.Offset > int64(at) {
		t.Errorf("damage at byte %d is reported as %v", at, e)
	}
	if now, _ := os.ReadFile(path); string(now) != string(b) {
		t.Error("a damaged journal was changed")
	}
}

func TestVersionOfTheFuture(t *testing.T) {
	o := filled(t, 1)
	path := fileOf(t, o, "journal")
	must(t, os.WriteFile(path, []byte("provision journal 3\n\x00\x01 something else"), 0o600))
	if e := openError[*VersionError](t, o); e.Have != 3 || e.Know != 2 || e.Path != path {
		t.Errorf("got %+v", e)
	}
	for _, junk := range []string{"", "\n", "provision journal \n", "provision journal 0\n", "provision journal 1", "provision journal 1\n", "provision journal 2", "provision journal 2\n", "provision journal 02\n", "{}\n"} {
		must(t, os.WriteFile(path, []byte(junk), 0o600))
		openError[*CorruptError](t, o)
	}
}

func TestLatest(t *testing.T) {
	in := []string{"intent a", "note a", "intent b", "done a", "intent a", "done b", "forgotten b", "intent c", "done a", "forgotten c", "intent c"}
	var rs []Record
	for i, x := range in {
		kind, a, _ := strings.Cut(x, " ")
		rs = append(rs, Record{Type: kind, Address: a, Data: json.RawMessage(fmt.Sprint(i))})
	}
	var got []string
	for _, r := range Latest(rs) {
		got = append(got, r.Type+" "+r.Address+" "+string(r.Data))
	}
	if want := "intent a 4, done a 8, intent c 10"; strings.Join(got, ", ") != want {
		t.Errorf("Latest of %q = %q; want %s", in, got, want)
	}
}

func TestCompact(t *testing.T) {
	o := filled(t, 20)
	s := mustOpen(t, o)
	before, err := os.Stat(fileOf(t, o, "journal"))
	must(t, err)
	must(t, s.Compact(func(rs []Record) []Record { return rs[18:] }))
	must(t, s.Append(records(21)[20]))
	want := records(21)[18:]
	if got := s.Records(); !reflect.DeepEqual(got, want) {
		t.Errorf("after Compact: %v; want %v", got, want)
	}
	uid := s.UID()
	must(t, s.Close())
	s = mustOpen(t, o)
	if got := s.Records(); !reflect.DeepEqual(got, want) || s.UID() != uid {
		t.Errorf("after Compact and Open: %v of %s; want %v of %s", got, s.UID(), want, uid)
	}
	if after, err := os.Stat(fileOf(t, o, "journal")); err != nil || after.Size() >= before.Size() {
		t.Errorf("the journal has %d bytes, and had %d: %v", after.Size(), before.Size(), err)
	}
}

// TestOpenCompacts: a long journal of little use becomes a short one, and what a dead process left beside it goes.
func TestOpenCompacts(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.Append(records(1)[0]))
	must(t, s.Compact(func(rs []Record) []Record {
		for range compactAbove {
			rs = append(rs, Record{Type: Done, Address: "machine.workers[0]", Time: noon})
		}
		return rs
	}))
	must(t, s.Close())
	left := filepath.Join(o.Folder, ".tmp-123")
	must(t, os.WriteFile(left, []byte("half a journal"), 0o600))
	s = mustOpen(t, o)
	if n := len(s.Records()); n != 2 {
		t.Errorf("%d records; want 2", n)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", left, err)
	}
}

// TestAppendBadData: data that is no JSON is refused, and spoils nothing.
func TestAppendBadData(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.Append(records(1)[0]))
	if err := s.Append(Record{Type: Note, Data: json.RawMessage("{\n")}); err == nil {
		t.Error("half an object is appended")
	}
	must(t, s.Append(Record{Type: Note, Time: noon, Data: json.RawMessage("{\n\"a\": 1}\n")}))
	must(t, s.Close())
	got := mustOpen(t, o).Records()
	if len(got) != 2 || string(got[1].Data) != `{"a":1}` {
		t.Errorf("got %v", got)
	}
}

func FuzzParse(f *testing.F) {
	b, _, _ := journalOf(f, 2)
	f.Add(b)
	f.Add([]byte(journal1))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		if p.good > len(b) || p.header.UID == "" {
			t.Errorf("good up to %d of %d, header %+v", p.good, len(b), p.header)
		}
		if q, err := parse(b[:p.good]); err != nil || !reflect.DeepEqual(p, q) {
			t.Errorf("what is good parses as %+v, %v; want %+v", q, err, p)
		}
	})
}

// BenchmarkAppend is 20,000 records that 64 goroutines append to a folder, each with what a call's intent has.
func BenchmarkAppend(b *testing.B) {
	for b.Loop() {
		s, err := Open(b.Context(), benchmarkOptions(b.TempDir()))
		if err != nil {
			b.Fatal(err)
		}
		rs := records(20_000)
		next := make(chan Record, len(rs))
		for _, r := range rs {
			next <- r
		}
		close(next)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for r := range next {
					if err := s.Append(r); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		s.Close()
	}
}

// BenchmarkOpen is a journal of 50,000 records, each in a write of its own, read only and for writing.
func BenchmarkOpen(b *testing.B) {
	o := benchmarkOptions(b.TempDir())
	text, err := encodeHeader(header{Cluster: "demo", UID: strings.Repeat("a", 26)})
	for i, r := range records(50_000) {
		line, e := encodeLine(entry{Number: uint64(i + 1), Records: []Record{r}})
		text, err = append(text, line...), errors.Join(err, e)
	}
	err = errors.Join(err, os.MkdirAll(o.Folder, 0o700), os.WriteFile(filepath.Join(o.Folder, "journal.1"), text, 0o600))
	if err != nil {
		b.Fatal(err)
	}
	for _, o.ReadOnly = range []bool{true, false} {
		b.Run(fmt.Sprintf("read-only=%v", o.ReadOnly), func(b *testing.B) {
			for b.Loop() {
				s, err := Open(b.Context(), o)
				if err != nil || len(s.Records()) != 50_000 {
					b.Fatalf("%v, %d records", err, len(s.Records()))
				}
				s.Close()
			}
		})
	}
}

func benchmarkOptions(dir string) Options {
	return Options{Cluster: "demo", Folder: filepath.Join(dir, "s"), Identity: filepath.Join(dir, "i"), Seen: filepath.Join(dir, "seen")}
}

// journal1 is a journal as the first format was written.
const journal1 = `provision journal 1
718ca8d6 [{"cluster":"demo","uid":"aaaaaaaaaaaaaaaaaaaaaaaaaa"}]
d8cee8a1 [{"type":"intent","address":"network.main","time":"2026-11-23T12:00:00Z","data":{"verb":"create"}},{"type":"done","address":"network.main","time":"2026-11-23T12:00:00Z"}]
971edb54 [{"type":"note","time":"2026-11-23T12:00:01Z"}]
`

// TestFirstFormat: a state of the first format is read, and written in the second from then on.
func TestFirstFormat(t *testing.T) {
	o := options(t)
	must(t, o.defaults())
	id, err := makeIdentity(o)
	must(t, err)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, id.identities[0].(*age.HybridIdentity).Recipient())
	must(t, err)
	fmt.Fprint(w, `{"uid":"aaaaaaaaaaaaaaaaaaaaaaaaaa","secrets":{"a":"Yg=="}}`)
	must(t, w.Close())
	must(t, os.MkdirAll(o.Folder, 0o700))
	for name, text := range map[string]string{"journal": journal1, "secrets.age": b.String(), "recipients": id.first() + "\n", "lock": ""} {
		must(t, os.WriteFile(filepath.Join(o.Folder, name), []byte(text), 0o600))
	}
	for i, readOnly := range []bool{true, false, false} {
		o.ReadOnly = readOnly
		s := mustOpen(t, o)
		if b, ok := s.Secret("a"); !ok || string(b) != "b" || s.UID() != strings.Repeat("a", 26) || len(s.Records()) != 3+max(0, i-1) || s.Recipients()[0] != id.first() {
			t.Errorf("%d: secret %q, UID %s, %d records, to %v", i, b, s.UID(), len(s.Records()), s.Recipients())
		}
		if i == 1 {
			must(t, s.Append(records(1)[0]))
			must(t, s.SetSecrets(map[string][]byte{"c": nil}))
		}
		must(t, s.Close())
	}
	for _, kind := range []string{"journal", "secrets", "lease"} {
		fileOf(t, o, kind)
	}
	if in, _ := os.ReadDir(o.Folder); len(in) != 3 {
		t.Errorf("the folder holds %v; want three files", in)
	}
}
