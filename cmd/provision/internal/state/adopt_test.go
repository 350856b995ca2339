package state

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
)

// TestAdopt: a lost state is made again with the UID that is known, and no other state takes one.
func TestAdopt(t *testing.T) {
	o := options(t)
	uid := strings.Repeat("a2", 13)
	s := mustOpen(t, o)
	if err := s.Adopt("no UID"); err == nil {
		t.Error("what is no UID is adopted")
	}
	must(t, s.Adopt(uid))
	must(t, s.Append(records(1)[0]))
	must(t, s.Adopt(uid))
	var e *ForeignError
	if err := s.Adopt(strings.Repeat("b3", 13)); !errors.As(err, &e) || e.Have != uid {
		t.Errorf("Adopt by a state that is there = %v", err)
	}
	must(t, s.Close())
	if got := mustOpen(t, o).UID(); got != uid {
		t.Errorf("UID %q; want %q", got, uid)
	}
}

// TestDerive: the same key and label make the same bytes, any other different ones; with a new key in front the old one's
// bytes are the second.
func TestDerive(t *testing.T) {
	o := options(t)
	o.ReadOnly = true
	if all, err := mustOpen(t, o).Derive("a"); err != nil || len(all) > 0 {
		t.Errorf("read-only, without an identity: %v, %v", all, err)
	}
	if _, err := os.Stat(o.Identity); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read-only Derive made an identity: %v", err)
	}
	o.ReadOnly = false
	s := mustOpen(t, o)
	derive := func(label string) [][]byte {
		t.Helper()
		all, err := s.Derive(label)
		must(t, err)
		return all
	}
	one := derive("a")
	if len(one) != 1 || len(one[0]) != 32 || !bytes.Equal(one[0], derive("a")[0]) || bytes.Equal(one[0], derive("b")[0]) {
		t.Errorf("got %x, and %x for another label", one, derive("b"))
	}
	key, err := age.GenerateX25519Identity()
	must(t, err)
	old, err := os.ReadFile(o.Identity)
	must(t, err)
	must(t, os.WriteFile(o.Identity, append([]byte(key.String()+"\n"), old...), 0o600))
	if two := derive("a"); len(two) != 2 || bytes.Equal(two[0], one[0]) || !bytes.Equal(two[1], one[0]) {
		t.Errorf("with a new key in front: %x; want something new and %x", two, one[0])
	}
}
