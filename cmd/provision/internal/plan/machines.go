package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// member compares one machine that the file asks for, and its node.
func (d *differ) member(m Member) {
	ch := Change{Address: m.Address(Machine), Kind: Machine, Name: m.Name, Action: Create, Cause: d.cause(m, "count")}
	have, there := d.machines[m.Name]
	known := d.w.Known[ch.Address]
	switch {
	case !there && known.ID != "":
		ch.Reason, ch.Drift = "is gone at the vendor", true
	case !there:
		ch.Reason = "not there"
	case d.want.Replace[ch.Address]: // stopped or half made or half deleted, too
		ch.Action, ch.Reason = Replace, "was asked for"
	case have.Partial && len(FixedFields(m.MachineSpec(d.c, d.want.Identity, have.Network), have)) > 0:
		// Create would complete it as it was asked to be at first.
		ch.Action, ch.Reason = Replace, "was not finished, and is to be another"
		ch.Fields = FixedFields(m.MachineSpec(d.c, d.want.Identity, have.Network), have)
		ch.Cause = d.cause(m, ch.Fields[0].Name)
	case have.State == providers.Stopped && have.Problem != "":
		ch.Reason, ch.Drift = "stopped, and cannot be started as it is: "+have.Problem, known.ID != ""
	case have.State == providers.Stopped:
		ch.Reason, ch.Drift = "stopped; it is started again", known.ID != ""
	case have.Partial:
		ch.Reason = "was not finished"
	default:
		d.machine(m, have, known)
		return
	}
	d.add(ch)
	d.remade[m.Name] = ch
}

// machine compares a machine that is whole.
func (d *differ) machine(m Member, have providers.Machine, known Known) {
	want := m.MachineSpec(d.c, d.want.Identity, have.Network)
	ch := Change{Address: m.Address(Machine), Kind: Machine, Name: m.Name, Action: Replace, Reason: "differs"}
	ch.Fields = FixedFields(want, have)
	if len(ch.Fields) == 0 {
		ch.Action = Update
		if ch.Fields = freeFields(want, have); d.readdressed(m.Name) {
			ch.Fields = append(ch.Fields, d.newAddress(have.Private))
		}
		if len(ch.Fields) == 0 {
			return
		}
	}
	if ch.Moves() {
		ch.Cause = d.at("network.machines", "network", "cluster")
		d.add(ch)
		return
	}
	if known.Machine != nil && sameMachine(want, *known.Machine) {
		ch.Drift, ch.Reason = true, "was changed at the vendor"
	}
	ch.Cause = d.cause(m, ch.Fields[0].Name)
	d.add(ch)
	if ch.Action == Replace {
		d.remade[m.Name] = ch
	}
}

// follow adds what a new machine means for its node.
func (d *differ) follow(m Member, machine Change) {
	node := Change{Address: m.Address(Node), Kind: Node, Name: m.Name, Action: Create, Reason: "follows its machine", Cause: machine.Cause}
	if machine.Action == Replace {
		node.Action = Replace
	}
	d.add(node)
}

// cause is the line of the member's pool that asked for the attribute.
func (d *differ) cause(m Member, attr string) *diag.Range {
	block := "pool." + m.PoolName()
	if m.Role == templates.ControlPlane {
		block = "control_plane"
	}
	return d.at(block+"."+attr, block, "cluster")
}

// MachineFields compares all that a machine is asked to be.
func MachineFields(want providers.MachineSpec, have providers.Machine) []Field {
	return append(FixedFields(want, have), freeFields(want, have)...)
}

// FixedFields compares what cannot change in a machine's life.
func FixedFields(want providers.MachineSpec, have providers.Machine) []Field {
	var fs []Field
	diff := func(name, from, to string) {
		if to != "" && from != to {
			fs = append(fs, Field{name, from, to})
		}
	}
	diff("machine", have.Type, want.Type)
	diff("image", have.Image, want.Image)
	diff("zones", have.Zone, want.Zone)
	if want.DiskGiB != 0 {
		diff("disk", strconv.Itoa(have.DiskGiB), strconv.Itoa(want.DiskGiB))
	}
	return fs
}

// freeFields compares what can be changed in place.
func freeFields(want providers.MachineSpec, have providers.Machine) []Field {
	var fs []Field
	if have.Owner != want.Owner {
		fs = append(fs, Field{"tag " + providers.OwnerTag, string(have.Owner), string(want.Owner)})
	}
	if have.Pool != want.Pool {
		fs = append(fs, Field{"tag " + providers.PoolTag, have.Pool, want.Pool})
	}
	return append(fs, tagFields(want.Tags, have.Tags)...)
}

// tagFields compares the tags that are wanted; others are somebody else's.
func tagFields(want, have map[string]string) []Field {
	var fs []Field
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if have[k] != want[k] {
			fs = append(fs, Field{"tag " + k, have[k], want[k]})
		}
	}
	return fs
}

// sameMachine says whether two specs ask for the same, as far as plans compare it.
func sameMachine(a, b providers.MachineSpec) bool {
	return a.Type == b.Type && a.Image == b.Image && a.Zone == b.Zone && a.DiskGiB == b.DiskGiB && a.Pool == b.Pool && maps.Equal(a.Tags, b.Tags)
}

// gone finds machines that the file no longer asks for.
func (d *differ) gone(wanted map[string]bool) {
	for _, m := range d.w.Machines {
		if wanted[m.Name] || d.c.Autoscaled(m.Pool) { // those are the cluster's to keep or to give back
			continue
		}
		cause := d.at("pool."+m.Pool+".count", "pool."+m.Pool, "cluster")
		if m.Pool == ControlPlanePool {
			cause = d.at("control_plane.count", "cluster")
		}
		d.add(Change{Address: addressOf(Machine, d.c.Name, m.Name, m.Pool), Action: Delete, Kind: Machine, Name: m.Name, Reason: "no longer in the file", Cause: cause})
		if _, joined := d.w.Nodes[m.Name]; d.want.Nodes && joined {
			d.add(Change{Address: addressOf(Node, d.c.Name, m.Name, m.Pool), Action: Delete, Kind: Node, Name: m.Name, Reason: "no longer in the file", Cause: cause})
		}
	}
}

// addressOf gives machines that are no longer in the file the address they had.
func addressOf(k Kind, cluster, name, pool string) string {
	prefix := MachineName(cluster, pool, 0)
	prefix = prefix[:len(prefix)-1]
	if i, err := strconv.Atoi(strings.TrimPrefix(name, prefix)); err == nil && strings.HasPrefix(name, prefix) {
		return fmt.Sprintf("%s.%s[%d]", k, pool, i)
	}
	return fmt.Sprintf("%s.%s[%q]", k, pool, name)
}
