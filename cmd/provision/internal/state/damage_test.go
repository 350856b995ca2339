package state

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A damaged is a state whose journal can be replaced by any bytes.
type damaged struct {
	o       Options
	journal []byte
	records []Record
	secret  string // what is to be read
	whole   int    // records before the last write
	last    int    // where the last write begins
	replace func(t *testing.T, b []byte)
}

// damagedStates are states in a folder and in a bucket whose last write is of records, or of secrets.
func damagedStates(t *testing.T, run func(t *testing.T, d damaged)) {
	for _, kind := range []string{"folder", "bucket"} {
		for _, last := range []string{"records", "secrets"} {
			t.Run(kind+"/"+last, func(t *testing.T) {
				o := options(t)
				var m *bucket.Memory
				if kind == "bucket" {
					o, m = inBucket(t)
				}
				short, err := age.GenerateX25519Identity() // whose public key makes lines short, and this test fast
				must(t, err)
				must(t, os.MkdirAll(filepath.Dir(o.Identity), 0o700))
				must(t, os.WriteFile(o.Identity, []byte(short.String()+"\n"), 0o600))
				s := mustOpen(t, o)
				must(t, s.SetSecrets(map[string][]byte{"a": []byte("old")}))
				for _, r := range records(3) {
					must(t, s.Append(r))
				}
				if last == "secrets" {
					must(t, s.SetSecrets(map[string][]byte{"a": []byte("new")}))
				}
				d := damaged{o: o, records: s.Records(), secret: map[string]string{"records": "old", "secrets": "new"}[last], whole: map[string]int{"records": 2, "secrets": 3}[last]}
				must(t, s.Close())
				must(t, os.Rename(o.Seen, o.Seen+".away"))
				if m == nil {
					path := fileOf(t, o, "journal")
					d.journal, _ = os.ReadFile(path)
					d.replace = func(t *testing.T, b []byte) { must(t, os.WriteFile(path, b, 0o600)) }
				} else {
					d.journal, _, _ = m.Get(t.Context(), "journal")
					d.replace = func(t *testing.T, b []byte) {
						_, was, err := m.Get(t.Context(), "journal")
						must(t, err)
						_, err = m.Put(t.Context(), "journal", b, was)
						must(t, err)
					}
				}
				d.last = strings.LastIndex(strings.TrimSuffix(string(d.journal), "\n"), "\n") + 1
				d.o.ReadOnly = true
				run(t, d)
			})
		}
	}
}

// load opens the damaged state: it has to be right or to be refused with a diagnostic. It returns how many records it has; -1 if
// it is refused.
func (d damaged) load(t *testing.T, what string, at int) int {
	t.Helper()
	s, err := Open(t.Context(), d.o)
	if err != nil {
		var ours coded
		if !errors.As(err, &ours) {
			t.Errorf("%s %d: %v names no diagnostic", what, at, err)
		}
		return -1
	}
	defer s.Close()
	rs := s.Records()
	secret, ok := s.Secret("a")
	if len(rs) > len(d.records) || len(rs) > 0 && !reflect.DeepEqual(rs, d.records[:len(rs)]) || ok && string(secret) != "old" && string(secret) != "new" {
		t.Errorf("%s %d: loads %v, and the secret %q", what, at, rs, secret)
	}
	return len(rs)
}

// TestCutAnywhere: a journal that is cut at any byte loads all that is whole, or is refused: never anything else.
func TestCutAnywhere(t *testing.T) {
	damagedStates(t, func(t *testing.T, d damaged) {
		whole := 0
		for n := range len(d.journal) {
			d.replace(t, d.journal[:n])
			got := d.load(t, "cut at", n)
			text := string(d.journal[:n])
			want := strings.Count(text[:strings.LastIndex(text, "\n")+1], `"r":`)
			if strings.Count(text, "\n") < 2 || got < 0 && strings.Contains(string(d.journal[d.last:]), `"s":`) { // no header; or secrets that went with a write that is gone
				want = -1
			}
			if got != want {
				t.Errorf("cut at %d: %d records; want %d", n, got, want)
			}
			if got >= 0 {
				whole++
			}
		}
		if whole == 0 {
			t.Error("nothing was ever loaded")
		}
		t.Logf("%d offsets load the last whole write, %d are refused", whole, len(d.journal)-whole)
		d.replace(t, d.journal)
		if got := d.load(t, "whole", 0); got != len(d.records) {
			t.Errorf("whole: %d records", got)
		}
	})
}

// TestCutAfterItWasSeen: the same for whoever has seen all of it, as after a command that came to its end. In a folder every
// whole part is loaded, with the secrets that were seen last, and what comes then is written behind it; in a bucket, where
// nothing is cut short by a loss of power, only what ends in the middle of a write is.
func TestCutAfterItWasSeen(t *testing.T) {
	damagedStates(t, func(t *testing.T, d damaged) {
		must(t, os.Rename(d.o.Seen+".away", d.o.Seen))
		isFolder := d.o.Bucket == nil
		loaded, refused := 0, 0
		for n := range len(d.journal) {
			d.replace(t, d.journal[:n])
			got := d.load(t, "cut at", n)
			text := string(d.journal[:n])
			want := strings.Count(text[:strings.LastIndex(text, "\n")+1], `"r":`)
			if strings.Count(text, "\n") < 2 || !isFolder && strings.HasSuffix(text, "\n") {
				want = -1
			}
			if got != want {
				t.Errorf("cut at %d: %d records; want %d", n, got, want)
			}
			if got < 0 {
				refused++
				continue
			}
			loaded++
			s := mustOpen(t, d.o)
			if b, ok := s.Secret("a"); !ok || string(b) != d.secret || s.torn == nil || len(s.Notices()) != 1 {
				t.Errorf("cut at %d: secret %q, %v; want %q; %v", n, b, ok, d.secret, s.Notices())
			}
			must(t, s.Close())
		}
		t.Logf("%d offsets load the last whole write, %d are refused", loaded, refused)
		if loaded < len(d.journal)/3 {
			t.Errorf("%d of %d offsets load", loaded, len(d.journal))
		}
	})
}

// TestTornIsWrittenOn: a journal that has lost its end goes on behind what was seen, for others, too.
func TestTornIsWrittenOn(t *testing.T) {
	damagedStates(t, func(t *testing.T, d damaged) {
		must(t, os.Rename(d.o.Seen+".away", d.o.Seen))
		d.o.ReadOnly = false
		d.replace(t, d.journal[:d.last+20])
		for i, want := range []int{d.whole, d.whole + 1, d.whole + 2} {
			s := mustOpen(t, d.o)
			if b, _ := s.Secret("a"); len(s.Records()) != want || string(b) != d.secret || (s.torn != nil) != (i == 0) {
				t.Errorf("%d: %d records, secret %q, torn %v; want %d, %q", i, len(s.Records()), b, s.torn, want, d.secret)
			}
			must(t, s.Append(records(1)[0]))
			must(t, s.Close())
		}
	})
}

// TestOlderCopyThatIsTorn: an older copy stays one when its end is missing, too; with and without the files of its secrets.
func TestOlderCopyThatIsTorn(t *testing.T) {
	for _, secretsToo := range []bool{true, false} {
		o := options(t)
		s := mustOpen(t, o)
		must(t, s.SetSecrets(map[string][]byte{"a": []byte("old")}))
		for _, r := range records(3) {
			must(t, s.Append(r))
		}
		must(t, s.Close())
		old := o.Folder + ".old"
		copyFolder(t, o.Folder, old)
		s = mustOpen(t, o)
		must(t, s.SetSecrets(map[string][]byte{"a": []byte("new")}))
		must(t, s.Close())
		newer := fileOf(t, o, "secrets")
		b, err := os.ReadFile(newer)
		must(t, err)
		copyFolder(t, old, o.Folder)
		if !secretsToo {
			must(t, os.Remove(fileOf(t, o, "secrets")))
			must(t, os.WriteFile(newer, b, 0o600))
		}
		path := fileOf(t, o, "journal")
		whole, err := os.ReadFile(path)
		must(t, err)
		refused := 0
		for n := 0; n < len(whole); n += 3 {
			must(t, os.WriteFile(path, whole[:n], 0o600))
			p := o
			p.ReadOnly = true
			if s, err := Open(t.Context(), p); err == nil {
				s.Close()
				t.Errorf("cut at %d: it is loaded", n)
			} else if errors.As(err, new(*RolledBackError)) {
				refused++
			}
		}
		if refused < len(whole)/6 {
			t.Errorf("%d of a third of %d offsets are refused as an older copy", refused, len(whole))
		}
	}
}

// TestAnyBitOfTheLastWrite: with any bit of it turned over, the last write does not count, or the journal is refused.
func TestAnyBitOfTheLastWrite(t *testing.T) {
	damagedStates(t, func(t *testing.T, d damaged) {
		lastRecords := strings.Count(string(d.journal[d.last:]), `"r":`)
		loaded, refused := 0, 0
		for i := d.last; i < len(d.journal); i++ {
			for bit := range 8 {
				b := append([]byte(nil), d.journal...)
				b[i] ^= 1 << bit
				d.replace(t, b)
				got := d.load(t, "bit of byte", i)
				if got > len(d.records)-lastRecords {
					t.Errorf("bit %d of byte %d: %d records", bit, i, got)
				}
				if got < 0 {
					refused++
				} else {
					loaded++
				}
			}
		}
		t.Logf("%d flips load without the last write, %d are refused", loaded, refused)
	})
}
