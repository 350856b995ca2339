package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A position is where a change stands in a plan: by kind, the control plane before pools, by pool, by index.
type position struct {
	kind    int
	pool    string
	index   int
	address string
}

func positionOf(c Change) position {
	p := position{kind: slices.Index(kinds(), c.Kind), address: c.Address}
	p.pool, p.index = splitAddress(c.Address)
	if p.pool == ControlPlanePool {
		p.pool = ""
	}
	return p
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.kind, o.kind), cmp.Compare(p.pool, o.pool), cmp.Compare(p.index, o.index), cmp.Compare(p.address, o.address))
}

// kinds are all kinds, in the order of plans.
func kinds() []Kind {
	return []Kind{Network, Certificate, Machine, Etcd, Node, Addon, Balancer, Volume, Snapshot}
}

func sortChanges(cs []Change) {
	type placed struct {
		at position
		c  Change
	}
	ps := make([]placed, len(cs))
	for i, c := range cs {
		ps[i] = placed{positionOf(c), c}
	}
	slices.SortFunc(ps, func(a, b placed) int { return a.at.compare(b.at) })
	for i := range ps {
		cs[i] = ps[i].c
	}
}

// splitAddress takes machine.workers[2] apart.
func splitAddress(a string) (pool string, index int) {
	_, rest, _ := strings.Cut(a, ".")
	pool, tail, _ := strings.Cut(rest, "[")
	index, _ = strconv.Atoi(strings.TrimSuffix(tail, "]"))
	return pool, index
}
