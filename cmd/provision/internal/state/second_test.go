package state

import (
	"strings"
	"testing"
)

// TestSecond: who begins a state hears where one of that name was seen last; who goes back to the first hears where the later
// write was seen.
func TestSecond(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	uid := s.UID()
	must(t, s.Append(records(1)[0]))
	if len(s.Notices()) != 0 {
		t.Errorf("of the first: %v", s.Notices())
	}
	must(t, s.Close())
	other := o
	other.Folder += ".other"
	for _, readOnly := range []bool{true, false} {
		other.ReadOnly = readOnly
		s = mustOpen(t, other)
		n := s.Notices()
		if len(n) != 1 || !strings.Contains(n[0].Error(), "last seen one in "+o.Folder+", written 20") || !strings.Contains(n[0].Error(), uid) {
			t.Errorf("read-only %v: %v", readOnly, n)
		}
		if readOnly {
			must(t, s.Close())
		}
	}
	must(t, s.Adopt(uid))
	must(t, s.Append(records(1)[0]))
	must(t, s.Close())
	if s = mustOpen(t, other); len(s.Notices()) != 0 {
		t.Errorf("once it was begun: %v", s.Notices())
	}
	must(t, s.Close())
	e := openError[*RolledBackError](t, o)
	if !strings.Contains(e.Error(), "in "+other.Folder+": that is the newer state") {
		t.Errorf("the first: %v", e)
	}
	must(t, mustOpen(t, other).Remove())
	third := o
	third.Folder += ".third"
	if s = mustOpen(t, third); len(s.Notices()) != 0 {
		t.Errorf("after it was destroyed: %v", s.Notices())
	}
	must(t, s.Close())
	another := third
	another.Cluster = "another"
	s = mustOpen(t, another)
	defer s.Close()
	if len(s.Notices()) != 0 {
		t.Errorf("of another name: %v", s.Notices())
	}
}
