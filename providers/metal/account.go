package metal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// An account is the inventory, as one who has to give a number of hosts away sees it.
type account struct{ p *Provider }

// Account returns what knows whether there are hosts enough.
func (p *Provider) Account() providers.Account { return account{p} }

// Check finds a host for each machine that is needed, no host for two, and says of those that get none why, host by host. It
// changes nothing. Hosts with other machines of the same owner count as free: they may be about to be given back.
func (a account) Check(ctx context.Context, need providers.Need) (providers.Report, error) {
	if len(need.Machines) == 0 {
		return providers.Report{}, ctx.Err()
	}
	v, err := a.p.sighted(ctx)
	if err != nil {
		return providers.Report{}, err
	}
	m, why := newMatch(len(need.Machines)), make([]string, len(need.Machines))
	for i, spec := range need.Machines {
		t := slices.IndexFunc(a.p.types(), func(t Type) bool { return t.Name == spec.Type })
		if t < 0 {
			continue // whoever asks has compared the types
		}
		n, err := a.network(v, need, spec)
		if err != nil {
			return providers.Report{}, err
		}
		var reasons []string
		for h, s := range v.sights {
			if err := machines(a).unfit(v, given(s, spec.Owner), n, a.p.types()[t], spec); err != nil {
				reasons = append(reasons, fmt.Sprintf("%s: %v", s.host.Name, err))
				continue
			}
			m.fits[i] = append(m.fits[i], h)
		}
		why[i] = strings.Join(reasons, "; ")
		if !m.place(i) {
			why[i] = strings.TrimPrefix(why[i]+"; ", "; ") + "the hosts that would fit are needed for other machines"
		}
	}
	return providers.Report{Problems: m.problems(need, why)}, nil
}

// network is the network that a machine is to be in, as far as hosts are chosen by it.
func (a account) network(v *view, need providers.Need, spec providers.MachineSpec) (network, error) {
	for _, n := range v.networksOf(need.Owner) {
		if n.ID == spec.Network {
			return n, nil
		}
	}
	if len(need.Networks) == 0 {
		return network{}, fail(providers.NotFound, "network %q", spec.Network)
	}
	return networks(a).describe(v, network{}, need.Networks[0])
}

// given is a host as if the owner's machine on it was gone.
func given(s *sight, o providers.Owner) *sight {
	if s.claim == nil || s.claim.Owner != o {
		return s
	}
	free := *s
	free.claim, free.refuse = nil, nil
	return &free
}

// A match gives machines hosts, each at most one, and as many machines as can have one.
type match struct {
	fits [][]int     // hosts that each machine can be on
	on   map[int]int // the machine that a host is for
	has  []bool      // whether a machine has a host
}

func newMatch(machines int) *match {
	return &match{fits: make([][]int, machines), on: map[int]int{}, has: make([]bool, machines)}
}

// place finds a host for a machine, and moves others to other hosts for it.
func (m *match) place(machine int) bool {
	m.has[machine] = m.try(machine, map[int]bool{})
	return m.has[machine]
}

func (m *match) try(machine int, seen map[int]bool) bool {
	for _, h := range m.fits[machine] {
		if seen[h] {
			continue
		}
		seen[h] = true
		if other, taken := m.on[h]; !taken || m.try(other, seen) {
			m.on[h] = machine
			return true
		}
	}
	return false
}

// problems are the machines that got no host.
func (m *match) problems(need providers.Need, why []string) (ps []providers.Problem) {
	for i, spec := range need.Machines {
		if !m.has[i] && why[i] != "" {
			ps = append(ps, providers.Problem{Kind: providers.Capacity, Noun: providers.MachineNoun, Name: spec.Name, Field: "type",
				Text: fmt.Sprintf("no free host fits type %s%s (%s)", spec.Type, in(spec.Zone), why[i])})
		}
	}
	return ps
}
