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
	last    int // where the last write begins
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
				d := damaged{o: o, records: s.Records()}
				must(t, s.Close())
				must(t, os.RemoveAll(o.Seen))
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
		d.replace(t, d.journal)
		if got := d.load(t, "whole", 0); got != len(d.records) {
			t.Errorf("whole: %d records", got)
		}
	})
}

// TestAnyBitOfTheLastWrite: with any bit of it turned over, the last write does not count, or the journal is refused.
func TestAnyBitOfTheLastWrite(t *testing.T) {
	damagedStates(t, func(t *testing.T, d damaged) {
		lastRecords := strings.Count(string(d.journal[d.last:]), `"r":`)
		for i := d.last; i < len(d.journal); i++ {
			for bit := range 8 {
				b := append([]byte(nil), d.journal...)
				b[i] ^= 1 << bit
				d.replace(t, b)
				if got := d.load(t, "bit of byte", i); got > len(d.records)-lastRecords {
					t.Errorf("bit %d of byte %d: %d records", bit, i, got)
				}
			}
		}
	})
}
