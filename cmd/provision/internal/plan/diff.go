package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Diff says what has to change so that the world is as the file and the programs at hand want it.
func Diff(c *config.Cluster, want Want, w World) *Plan {
	d := differ{c: c, want: want, w: w, machines: map[string]providers.Machine{}, plan: &Plan{Schema: Schema, Cluster: c.Name, Changes: []Change{}}}
	for _, m := range w.Machines {
		d.machines[m.Name] = m
	}
	d.keys()
	d.network()
	wanted := map[string]bool{}
	for _, m := range Members(c) {
		wanted[m.Name] = true
		d.member(m)
	}
	d.gone(wanted)
	if want.Nodes {
		d.addons()
	}
	sortChanges(d.plan.Changes)
	return d.plan
}

type differ struct {
	c        *config.Cluster
	want     Want
	w        World
	machines map[string]providers.Machine
	plan     *Plan
}

func (d *differ) add(c Change) { d.plan.Changes = append(d.plan.Changes, c) }

func (d *differ) at(keys ...string) *diag.Range {
	for _, k := range keys {
		if r, ok := d.c.Ranges[k]; ok {
			return &r
		}
	}
	return nil
}

// node compares a node on a machine that is as it should be.
func (d *differ) node(m Member) {
	if !d.want.Nodes {
		return
	}
	ch := Change{Address: m.Address(Node), Kind: Node, Name: m.Name, Action: Create, Cause: d.cause(m, "count")}
	host := d.w.Hosts[m.Name]
	kube, joined := d.w.Nodes[m.Name]
	switch {
	case host.Problem != "":
		ch.Reason = "does not answer: " + host.Problem
	case host.Node == nil:
		ch.Reason = "not a node yet"
	case host.Node.UID != d.want.UID:
		ch.Reason = "not a node of this cluster yet"
	case !host.Running:
		ch.Action, ch.Reason = Restart, "its node agent does not run"
	case !host.Joined, d.w.API && !joined:
		ch.Reason = "has not joined"
	default:
		d.settled(m, ch, host, kube)
		return
	}
	d.add(ch)
}

// settled compares a node that has joined.
func (d *differ) settled(m Member, ch Change, host Host, kube KubeNode) {
	want, err := m.NodeConfig(d.c, d.want.Identity, d.machines)
	if err != nil {
		// Some control-plane machine is still to be made: what depends on its address follows in the same apply.
		return
	}
	ch.Action = Restart
	ch.Fields = nodeFields(*host.Node, want)
	if host.Agent != d.want.Agent {
		ch.Fields = append(ch.Fields, Field{"agent", short(host.Agent), short(d.want.Agent)})
	}
	for _, f := range host.Stale {
		ch.Fields = append(ch.Fields, Field{f, "another", "the cluster's"})
	}
	for _, c := range host.Due {
		ch.Fields = append(ch.Fields, Field{"certificate " + c, "ends soon", "renewed"})
	}
	if len(ch.Fields) > 0 {
		ch.Reason, ch.Cause = "differs", d.at(ch.Fields[0].Name, "cluster")
		d.add(ch)
		return
	}
	if !d.w.API {
		if m.Role == templates.ControlPlane {
			ch.Reason = "the cluster's API does not answer"
			d.add(ch)
		}
		return
	}
	ch.Action = Update
	ch.Fields = append(labelFields(m, kube), taintFields(m, kube)...)
	if len(ch.Fields) > 0 {
		attr := "labels"
		if strings.HasPrefix(ch.Fields[0].Name, "taint") {
			attr = "taints"
		}
		ch.Reason, ch.Cause = "differs", d.cause(m, attr)
		d.add(ch)
	}
}

// nodeFields compares what runs with what shall run. Labels and taints in it count only when a node registers, so they
// are compared with the API's node instead.
func nodeFields(have, want templates.Node) []Field {
	var fs []Field
	diff := func(name string, from, to any) {
		if f, t := fmt.Sprint(from), fmt.Sprint(to); f != t {
			fs = append(fs, Field{name, f, t})
		}
	}
	diff("kubernetes", have.Kubernetes, want.Kubernetes)
	diff("bundle", short(have.Bundle), short(want.Bundle))
	diff("address", have.Address, want.Address)
	diff("endpoints", have.Endpoints, want.Endpoints)
	diff("etcd", have.Etcd, want.Etcd)
	diff("api_names", have.APINames, want.APINames)
	diff("network.pods", have.Pods, want.Pods)
	diff("network.services", have.Services, want.Services)
	diff("network.domain", have.Domain, want.Domain)
	diff("network.backend", have.Backend, want.Backend)
	diff("network.node_bits", have.NodeCIDR, want.NodeCIDR)
	return fs
}

func labelFields(m Member, have KubeNode) []Field {
	var fs []Field
	want := m.Labels()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := have.Labels[k]; !ok || v != want[k] {
			fs = append(fs, Field{"label " + k, v, want[k]})
		}
	}
	for _, k := range have.Managed.Labels {
		if _, ok := want[k]; !ok {
			if v, there := have.Labels[k]; there {
				fs = append(fs, Field{"label " + k, v, ""})
			}
		}
	}
	return fs
}

func taintFields(m Member, have KubeNode) []Field {
	var fs []Field
	want := m.Taints()
	for _, t := range want {
		if !slices.Contains(have.Taints, t) {
			fs = append(fs, Field{"taint", "", t})
		}
	}
	for _, t := range have.Managed.Taints {
		if !slices.Contains(want, t) && slices.Contains(have.Taints, t) {
			fs = append(fs, Field{"taint", t, ""})
		}
	}
	return fs
}

func (d *differ) addons() {
	for _, name := range slices.Sorted(maps.Keys(d.want.Addons)) {
		ch := Change{Address: "addon." + name, Kind: Addon, Name: name, Action: Create, Reason: "not there", Cause: d.at("cluster")}
		have, ok := d.w.Addons[name]
		switch {
		case !d.w.API && d.hasControlPlane():
			ch.Action, ch.Reason = Update, "cannot be seen, as the API does not answer; applying it again does no harm"
		case ok && have == d.want.Addons[name]:
			continue
		case ok:
			ch.Action, ch.Reason = Update, "differs"
			ch.Fields = []Field{{"manifest", short(have), short(d.want.Addons[name])}}
		}
		d.add(ch)
	}
}

// hasControlPlane says that some control-plane machine is a node already.
func (d *differ) hasControlPlane() bool {
	for _, m := range Members(d.c) {
		if m.Role == templates.ControlPlane && d.w.Hosts[m.Name].Node != nil {
			return true
		}
	}
	return false
}

// short abbreviates a hash for people.
func short(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}
