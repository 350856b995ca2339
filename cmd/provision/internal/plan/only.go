package plan

import (
	"path"
	"slices"
	"strings"
)

// Only returns the plan with just the changes whose addresses match one of the patterns, and those that they cannot do
// without: a node needs its machine, a machine its network, what is deleted is drained first. A pattern is an address,
// machine.workers[2], an address without its kind, workers[2], or either with * for any characters: machine.workers[*].
// unmatched are the patterns that no change has.
func (p *Plan) Only(patterns []string) (only *Plan, unmatched []string) {
	index := map[string]int{}
	for i, c := range p.Changes {
		index[c.Address] = i
	}
	in := make([]bool, len(p.Changes))
	for _, pattern := range patterns {
		found := false
		for i, c := range p.Changes {
			if Match(pattern, c.Address) {
				in[i], found = true, true
			}
		}
		if !found {
			unmatched = append(unmatched, pattern)
		}
	}
	p.close(in, index)
	kept := *p
	kept.Changes = []Change{}
	for i, c := range p.Changes {
		if in[i] {
			kept.Changes = append(kept.Changes, c)
		}
	}
	kept.LeftOut = p.LeftOut + len(p.Changes) - len(kept.Changes)
	return &kept, unmatched
}

// close takes in what the changes that are in cannot do without.
func (p *Plan) close(in []bool, index map[string]int) {
	todo := []int{}
	for i, yes := range in {
		if yes {
			todo = append(todo, i)
		}
	}
	for len(todo) > 0 {
		c := p.Changes[todo[0]]
		todo = todo[1:]
		for _, a := range p.needs(c) {
			if i, ok := index[a]; ok && !in[i] {
				in[i] = true
				todo = append(todo, i)
			}
		}
	}
}

// needs are the addresses whose changes have to be made with the change's, if the plan has any for them.
func (p *Plan) needs(c Change) []string {
	_, place, _ := strings.Cut(c.Address, ".")
	switch c.Kind {
	case Machine:
		if c.Action == Delete || c.Action == Replace {
			return []string{string(Node) + "." + place, string(Etcd) + "." + place, string(Network) + "." + NetworkName, KeysAddress}
		}
		return []string{string(Network) + "." + NetworkName, KeysAddress}
	case Etcd:
		return []string{string(Machine) + "." + place, string(Node) + "." + place}
	case Node, Addon:
		as := p.controlPlane()
		if c.Kind == Node && c.Action != Delete {
			as = append(as, string(Machine)+"."+place, string(Etcd)+"."+place)
		}
		return as
	case Network:
		if c.Action == Delete || c.Action == Replace {
			return p.addresses(Machine, Balancer)
		}
	}
	return nil
}

// controlPlane are the control plane's machines and nodes that are to be made: nobody joins without them.
func (p *Plan) controlPlane() []string {
	var as []string
	for _, c := range p.Changes {
		if pool, _ := splitAddress(c.Address); pool == ControlPlanePool && c.Action == Create && (c.Kind == Machine || c.Kind == Node || c.Kind == Etcd) {
			as = append(as, c.Address)
		}
	}
	return as
}

func (p *Plan) addresses(ks ...Kind) []string {
	var as []string
	for _, c := range p.Changes {
		if slices.Contains(ks, c.Kind) {
			as = append(as, c.Address)
		}
	}
	return as
}

// Match says whether the address is one that the pattern means.
func Match(pattern, address string) bool {
	_, short, _ := strings.Cut(address, ".")
	if pattern == address || pattern == short {
		return true
	}
	if !strings.Contains(pattern, "*") {
		return false
	}
	// Brackets are part of addresses here, not classes of characters; an address has no slash.
	glob := strings.NewReplacer("[", "\\[", "]", "\\]").Replace(pattern)
	for _, a := range []string{address, short} {
		if ok, err := path.Match(glob, a); err == nil && ok {
			return true
		}
	}
	return false
}
