package plan

import (
	"fmt"
	"slices"

	"github.com/provisionhq/provision/templates"
)

// EtcdAddress is where a control-plane member's part in etcd stands in a plan.
func (m Member) EtcdAddress() string { return m.Address(Etcd) }

// Founded says whether the cluster's etcd exists, as far as the control plane's hosts know: members that are missing join it.
// If it does not, the control plane's machines found it together.
func Founded(w World) bool {
	if w.Etcd != nil && w.Etcd.Quorum {
		return true
	}
	founded := false
	for _, m := range w.Machines {
		h := w.Hosts[m.Name]
		if m.Pool != ControlPlanePool || h.Node == nil {
			continue
		}
		if h.Founding {
			return false
		}
		founded = true
	}
	return founded
}

// lived says whether nodes have joined the cluster before: then it had data.
func (d *differ) lived() bool {
	for _, h := range d.w.Hosts {
		if h.Joined {
			return true
		}
	}
	return false
}

// etcd compares the control plane's members of etcd with those that there are.
func (d *differ) etcd(cps []Member) {
	founded := Founded(d.w)
	stopped := slices.ContainsFunc(cps, func(m Member) bool { _, remade := d.remade[m.Name]; return remade && !d.moves(m.Name) })
	for _, m := range cps {
		ch := Change{Address: m.EtcdAddress(), Kind: Etcd, Name: m.Name, Cause: d.cause(m, "count")}
		switch {
		case !founded && !stopped:
			d.found(m, ch)
		case founded:
			d.joined(m, ch)
		}
	}
	if d.w.Etcd != nil && founded {
		d.surplus(cps)
	}
}

// found plans a member of an etcd that is still to be.
func (d *differ) found(m Member, ch Change) {
	_, remade := d.remade[m.Name]
	h := d.w.Hosts[m.Name]
	if !remade && (h.Node != nil || h.Problem != "") {
		return // it was told to already, or nobody knows
	}
	ch.Action, ch.Reason = Create, "founds the cluster's etcd"
	if d.lived() {
		ch.Danger = "the control plane is gone with all that it knew of the cluster: a new, empty one is made in its place"
	}
	d.add(ch)
}

// joined compares one member of an etcd that there is.
func (d *differ) joined(m Member, ch Change) {
	_, remade := d.remade[m.Name]
	host := d.w.Hosts[m.Name]
	there, voter := false, true
	var i templates.EtcdMemberInfo
	if d.w.Etcd != nil {
		if i, there = d.w.Etcd.Find(m.Name); !there {
			if o, ok := d.machines[m.Name]; ok && !d.moves(m.Name) {
				i, there = d.w.Etcd.Find(o.Private.String())
			}
		}
		voter = !i.Learner
	}
	switch {
	case remade && d.moves(m.Name) && d.c.ControlPlane.Count == 1 && d.others(m) == 0:
		ch.Action, ch.Reason = Create, "founds a new etcd"
		ch.Danger = "the cluster's data is on this machine and nowhere else: it is lost with it"
	case remade && d.moves(m.Name) && there:
		ch.Action, ch.Reason = Replace, "its machine is another"
	case host.Etcd == templates.EtcdRemoved || host.Etcd == templates.EtcdForeign || host.Etcd == templates.EtcdLost:
		ch.Action, ch.Reason = Replace, fmt.Sprintf("its data is of no use: it is %s", host.Etcd)
	case d.w.Etcd == nil && !(remade && d.moves(m.Name)):
		return // nobody can tell
	case there && !remade && d.elsewhere(i, m.Name):
		ch.Action, ch.Reason = Replace, fmt.Sprintf("etcd has it on its machine of before, at %s", i.Address)
	case !there:
		ch.Action, ch.Reason = Create, "is no member yet"
	case !voter:
		ch.Action, ch.Reason = Update, "has no vote yet"
	default:
		return
	}
	d.add(ch)
}

// elsewhere says whether a member is still that of a machine of the name that is no more: the one there is now is at another
// address and has none of its data. A machine that only moved brings its data along, and its node tells etcd itself.
func (d *differ) elsewhere(i templates.EtcdMemberInfo, name string) bool {
	h := d.w.Hosts[name]
	bare := h.Etcd == templates.EtcdJoining || h.Problem == "" && h.Node == nil
	return bare && i.Address.IsValid() && i.Address != d.machines[name].Private
}

// others is how many other members of etcd vote.
func (d *differ) others(m Member) int {
	n := 0
	if d.w.Etcd == nil {
		return 0
	}
	for _, i := range d.w.Etcd.Members {
		if !i.Learner && i.Name != m.Name {
			n++
		}
	}
	return n
}

// surplus plans the end of members that the file does not ask for.
func (d *differ) surplus(cps []Member) {
	for _, i := range d.w.Etcd.Members {
		wanted := slices.ContainsFunc(cps, func(m Member) bool {
			o, ok := d.machines[m.Name]
			return i.Name == m.Name || i.Name == "" && ok && o.Private == i.Address
		})
		if wanted {
			continue
		}
		name := i.Name
		if name == "" {
			name = i.Address.String()
		}
		d.add(Change{Address: addressOf(Etcd, d.c.Name, name, ControlPlanePool), Action: Delete, Kind: Etcd, Name: name, Reason: "no longer in the file", Cause: d.at("control_plane.count", "cluster")})
	}
}
