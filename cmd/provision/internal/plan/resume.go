package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Done is what an interrupted execution of a saved plan has done of it, as the journal tells. The zero Done is of a plan
// that was never begun.
type Done struct {
	Begun    bool
	Touched  map[string]bool // addresses on which it has begun
	Replaced map[string]bool // addresses of what it replaces whose old object is gone: what is missing is the new one
	Made     map[string]bool // addresses that it has made, changed or replaced, to the end
	Others   []string        // addresses of the plan on which another command has worked since it was begun
}

// Compare says what keeps a saved plan from being executed, one sentence per address: what is different from the plan that
// was made now. After an interruption the new plan is to be the rest of the saved one: what is missing from it has been done,
// and what is left of a change is no harder than the change, on the same address and to the same end.
func Compare(saved, now *Plan, done Done) []string {
	was, is := byAddress(saved), byAddress(now)
	var out []string
	for _, a := range slices.Sorted(keysOf(was, is)) {
		s, planned := was[a]
		n, needed := is[a]
		switch {
		case slices.Contains(done.Others, a):
			out = append(out, fmt.Sprintf("%s: another command has worked on it", a))
		case !planned:
			out = append(out, fmt.Sprintf("%s: the plan leaves it alone, and now it needs: %s", a, describe(n)))
		case !needed && !done.Begun:
			out = append(out, fmt.Sprintf("%s: the plan says %s, and now nothing is to be done", a, describe(s)))
		case needed && s.Action == Replace && done.Made[a]:
			out = append(out, fmt.Sprintf("%s: it was replaced, as the plan says, and now it needs again: %s", a, describe(n)))
		case needed && !same(s, n) && !done.rest(s, n):
			out = append(out, fmt.Sprintf("%s: the plan says %s, and now it needs: %s", a, describe(s), describe(n)))
		}
	}
	return out
}

// rest says whether n is what is left of s, which was begun.
func (d Done) rest(s, n Change) bool {
	if !d.Begun || s.Kind != n.Kind || s.Name != n.Name || n.Danger != "" && n.Danger != s.Danger {
		return false
	}
	_, place, _ := strings.Cut(s.Address, ".")
	machine := string(Machine) + "." + place
	switch s.Kind {
	case Machine, Network:
		if s.Action == Replace {
			return n.Action == Create && d.Touched[s.Address] // what it began to remove is gone, whether that was noted or not
		}
	case Etcd:
		if s.Action == Replace || s.Action == Create {
			return (n.Action == Create || n.Action == Update) && (d.Touched[s.Address] || d.Touched[machine])
		}
	case Node:
		milder := n.Action == Create || n.Action == Update || n.Action == Restart
		switch s.Action {
		case Replace:
			return milder && d.Touched[machine]
		case Create:
			return milder
		case Restart:
			return (n.Action == Update || n.Action == Restart) && towards(s, n)
		}
	case Addon:
		if s.Action == Create {
			return n.Action == Update
		}
	}
	return s.Action == n.Action && s.ID == n.ID && towards(s, n)
}

// towards says whether all that n changes, s changes to the same. A field may wait for addresses that are known by now, and a
// node that is to restart may have been cordoned for it.
func towards(s, n Change) bool {
	for _, f := range n.Fields {
		cordoned := f.Name == CordonField && s.Action == Restart
		if !cordoned && !slices.ContainsFunc(s.Fields, func(o Field) bool {
			return o.Name == f.Name && (o.To == f.To || strings.HasPrefix(o.To, waitsFor))
		}) {
			return false
		}
	}
	return len(n.Fields) > 0
}

// Left divides the saved plan's addresses into those that are done and those that are not, in the plan's order. toReplace are
// the machines among the latter that are still to be replaced.
func (d Done) Left(saved, now *Plan) (done, left, toReplace []string) {
	is := byAddress(now)
	for _, c := range saved.Changes {
		n, needed := is[c.Address]
		if !needed {
			done = append(done, c.Address)
			continue
		}
		left = append(left, c.Address)
		if c.Kind == Machine && c.Action == Replace && n.Action != Create && !d.Replaced[c.Address] {
			toReplace = append(toReplace, c.Address)
		}
	}
	return done, left, toReplace
}
