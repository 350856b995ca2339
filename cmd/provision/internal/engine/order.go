package engine

import (
	"slices"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/templates"
)

// membersInOrder are the changes of etcd's members in the order in which they are made: first those that are dead are replaced,
// then those that are missing join, then those that serve are replaced, as then the most others do, and last some leave.
func (b *builder) membersInOrder() []plan.Change {
	ranks := map[plan.Action]int{plan.Update: 1, plan.Create: 2, plan.Replace: 3, plan.Delete: 4}
	rank := func(c plan.Change) int {
		if c.Action == plan.Replace && !b.serves(c) {
			return 0
		}
		return ranks[c.Action]
	}
	cs := slices.Clone(b.p.OfKind(plan.Etcd))
	slices.SortStableFunc(cs, func(a, c plan.Change) int { return rank(a) - rank(c) })
	return cs
}

// serves says whether a member of etcd that is replaced may be of use until then.
func (b *builder) serves(c plan.Change) bool {
	machine := b.changes[string(plan.Machine)+c.Address[len(plan.Etcd):]]
	return machine.Action == plan.Replace && !b.missing(machine) && b.e.world.Hosts[c.Name].Problem == ""
}

// drainsAfter orders nodes that are replaced: one of a pool at a time, and the first when those that are missing are back. The
// control plane's wait for one another with their members of etcd.
func (b *builder) drainsAfter(c plan.Change, m plan.Member) []string {
	if m.Role == templates.ControlPlane {
		return b.chainBefore(m.EtcdAddress())
	}
	return b.oneByOne(c, m)
}

// replacedBefore orders machines that are replaced and are no nodes: one of a pool at a time, as with nodes, which wait for one
// another before they are drained. A machine that was never finished serves nobody, and waits for nobody.
func (b *builder) replacedBefore(c plan.Change) []string {
	m, ok := b.e.member(c.Address)
	if b.e.want.Nodes || !ok || b.missing(c) {
		return nil
	}
	return b.oneByOne(c, m)
}

// oneByOne is what a change waits for that takes a machine or node out of its pool and puts another in its place: the one
// before it, or else all that the pool lacks. So an interrupted replacement is finished before the next is begun.
func (b *builder) oneByOne(c plan.Change, m plan.Member) []string {
	last := b.drained[m.PoolName()]
	b.drained[m.PoolName()] = c.Address
	if last != "" {
		return []string{last}
	}
	var lacking []string
	for _, o := range b.p.OfKind(c.Kind) {
		if om, ok := b.e.member(o.Address); ok && om.PoolName() == m.PoolName() && b.missing(o) {
			lacking = append(lacking, o.Address)
		}
	}
	return lacking
}

// missing says whether nobody is served yet by what the change makes, so that the change takes nothing away.
func (b *builder) missing(c plan.Change) bool {
	have, there := b.e.machine(c.Name)
	return c.Action == plan.Create || c.Action == plan.Replace && there && have.Partial
}
