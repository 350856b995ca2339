package plan

import (
	"strings"
	"testing"
)

// TestCompare compares saved plans with what has to be done now, before and after they were begun.
func TestCompare(t *testing.T) {
	machine := func(a Action, id string) Change {
		return Change{Address: "machine.workers[0]", Kind: Machine, Action: a, Name: "demo-workers-0", ID: id}
	}
	node := func(a Action, fs ...Field) Change {
		return Change{Address: "node.workers[0]", Kind: Node, Action: a, Name: "demo-workers-0", Fields: fs}
	}
	etcd := func(a Action, danger string) Change {
		return Change{Address: "etcd.control-plane[0]", Kind: Etcd, Action: a, Name: "demo-cp-0", Danger: danger}
	}
	begun := Done{Begun: true}
	set := func(as ...string) map[string]bool {
		m := map[string]bool{}
		for _, a := range as {
			m[a] = true
		}
		return m
	}
	gone := Done{Begun: true, Touched: set("machine.workers[0]"), Replaced: set("machine.workers[0]")}
	made := Done{Begun: true, Touched: set("machine.workers[0]"), Replaced: set("machine.workers[0]"), Made: set("machine.workers[0]")}
	waiting := Field{"endpoints", "[a]", waitsFor + "machine.control-plane[1]"}
	for name, c := range map[string]struct {
		saved, now []Change
		done       Done
		want       string // part of the one sentence; empty: it goes on
	}{
		"the same":                        {[]Change{machine(Replace, "m-1")}, []Change{machine(Replace, "m-1")}, Done{}, ""},
		"another machine of the name":     {[]Change{machine(Replace, "m-1")}, []Change{machine(Replace, "m-2")}, Done{}, "now it needs: replace of m-2"},
		"nothing to be done":              {[]Change{machine(Replace, "m-1")}, nil, Done{}, "now nothing is to be done"},
		"done before":                     {[]Change{machine(Replace, "m-1")}, nil, begun, ""},
		"more is to be done":              {nil, []Change{machine(Create, "")}, begun, "the plan leaves it alone"},
		"deleted by a stranger":           {[]Change{machine(Replace, "m-1")}, []Change{machine(Create, "")}, begun, "now it needs: create"},
		"deleted before it was begun":     {[]Change{machine(Replace, "m-1")}, []Change{machine(Create, "")}, Done{}, "now it needs: create"},
		"deleted by the plan":             {[]Change{machine(Replace, "m-1")}, []Change{machine(Create, "")}, gone, ""},
		"deleted by the plan, not noted":  {[]Change{machine(Replace, "m-1")}, []Change{machine(Create, "")}, Done{Begun: true, Touched: set("machine.workers[0]")}, ""},
		"replaced, and gone again":        {[]Change{machine(Replace, "m-1")}, []Change{machine(Create, "")}, made, "it was replaced"},
		"update became create":            {[]Change{machine(Update, "m-1")}, []Change{machine(Create, "")}, begun, "now it needs: create"},
		"update became delete":            {[]Change{machine(Update, "m-1")}, []Change{machine(Delete, "m-1")}, begun, "now it needs: delete"},
		"node of the new machine":         {[]Change{node(Replace)}, []Change{node(Create)}, gone, ""},
		"node of the old machine":         {[]Change{node(Replace)}, []Change{node(Create)}, begun, "now it needs: create"},
		"node has its labels to get":      {[]Change{node(Create)}, []Change{node(Update, Field{"label a", "", "b"})}, begun, ""},
		"the same, never begun":           {[]Change{node(Create)}, []Change{node(Update, Field{"label a", "", "b"})}, Done{}, "now it needs: update"},
		"update became restart":           {[]Change{node(Update, Field{"a", "1", "2"})}, []Change{node(Restart, Field{"a", "1", "2"})}, begun, "now it needs: restart"},
		"half of an update":               {[]Change{node(Update, Field{"a", "1", "2"}, Field{"b", "1", "2"})}, []Change{node(Update, Field{"b", "1", "2"})}, begun, ""},
		"to another end":                  {[]Change{node(Update, Field{"a", "1", "2"})}, []Change{node(Update, Field{"a", "1", "3"})}, begun, "now it needs: update"},
		"an address that is known by now": {[]Change{node(Update, waiting)}, []Change{node(Update, Field{"endpoints", "[a]", "[a b]"})}, begun, ""},
		"cordoned to be restarted":        {[]Change{node(Restart, Field{"kubernetes", "1", "2"})}, []Change{node(Update, Field{CordonField, "x", ""})}, begun, ""},
		"another command":                 {[]Change{machine(Replace, "m-1")}, []Change{machine(Replace, "m-1")}, Done{Begun: true, Others: []string{"machine.workers[0]"}}, "another command has worked on it"},
		"member without a vote":           {[]Change{etcd(Create, "")}, []Change{etcd(Update, "")}, Done{Begun: true, Touched: set("etcd.control-plane[0]")}, ""},
		"data would be lost":              {[]Change{etcd(Replace, "")}, []Change{etcd(Create, "all is lost")}, Done{Begun: true, Touched: set("etcd.control-plane[0]")}, "now it needs: create"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Compare(&Plan{Changes: c.saved}, &Plan{Changes: c.now}, c.done)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("Compare says %q, want %q", got, c.want)
			}
		})
	}
}
