package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

// Destroy is the plan that removes all that the owner has.
func Destroy(cluster string, networks []providers.Network, machines []providers.Machine) *Plan {
	p := &Plan{Schema: Schema, Cluster: cluster, Changes: []Change{}}
	for _, m := range machines {
		p.Changes = append(p.Changes, Change{Address: addressOf(Machine, cluster, m.Name, m.Pool), Action: Delete, Kind: Machine, Name: m.Name, Reason: "destroy"})
	}
	for _, n := range networks {
		p.Changes = append(p.Changes, Change{Address: "network." + n.Name, Action: Delete, Kind: Network, Name: n.Name, Reason: "destroy"})
	}
	sortChanges(p.Changes)
	return p
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

func (d *differ) network() {
	ch := Change{Address: "network." + NetworkName, Kind: Network, Name: NetworkName, Action: Create, Cause: d.at("network", "cluster")}
	i := slices.IndexFunc(d.w.Networks, func(n providers.Network) bool { return n.Name == NetworkName })
	if i < 0 {
		ch.Reason = "not there"
		d.add(ch)
		return
	}
	have, want := d.w.Networks[i], NetworkSpec(d.c)
	switch {
	case have.Partial:
		ch.Reason = "was not finished"
		d.add(ch)
	case want.CIDR.IsValid() && have.CIDR != want.CIDR:
		ch.Action, ch.Reason = Replace, "its range is another"
		ch.Fields = []Field{{"machines", have.CIDR.String(), want.CIDR.String()}}
		ch.Cause = d.at("network.machines", "network", "cluster")
		d.add(ch)
	}
}

// member compares one machine that the file asks for, and its node.
func (d *differ) member(m Member) {
	ch := Change{Address: m.Address(Machine), Kind: Machine, Name: m.Name, Action: Create, Cause: d.cause(m, "count")}
	have, ok := d.machines[m.Name]
	switch {
	case !ok:
		ch.Reason = "not there"
	case have.State == providers.Stopped:
		ch.Reason = "stopped; it is started again"
	case have.Partial:
		ch.Reason = "was not finished"
	default:
		if ch.Fields = machineFields(m.MachineSpec(d.c, have.Network), have); len(ch.Fields) == 0 {
			d.node(m)
			return
		}
		ch.Action, ch.Reason, ch.Cause = Replace, "differs", d.cause(m, ch.Fields[0].Name)
	}
	d.add(ch)
	if !d.want.Nodes {
		return
	}
	node := Change{Address: m.Address(Node), Kind: Node, Name: m.Name, Action: Create, Reason: "follows its machine", Cause: ch.Cause}
	if ch.Action == Replace {
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

func machineFields(want providers.MachineSpec, have providers.Machine) []Field {
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

// gone finds machines that the file no longer asks for.
func (d *differ) gone(wanted map[string]bool) {
	for _, m := range d.w.Machines {
		if wanted[m.Name] {
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

// addressOf gives machines that are no longer in the file the address they had.
func addressOf(k Kind, cluster, name, pool string) string {
	prefix := MachineName(cluster, pool, 0)
	prefix = prefix[:len(prefix)-1]
	if i, err := strconv.Atoi(strings.TrimPrefix(name, prefix)); err == nil && strings.HasPrefix(name, prefix) {
		return fmt.Sprintf("%s.%s[%d]", k, pool, i)
	}
	return fmt.Sprintf("%s.%s[%q]", k, pool, name)
}

// short abbreviates a hash for people.
func short(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}

var kindOrder = map[Kind]int{Network: 0, Machine: 1, Node: 2, Addon: 3}

// sortChanges orders by kind, then control plane before pools, then pool, then index.
func sortChanges(cs []Change) {
	slices.SortStableFunc(cs, func(a, b Change) int {
		if c := cmp.Compare(kindOrder[a.Kind], kindOrder[b.Kind]); c != 0 {
			return c
		}
		pa, ia := splitAddress(a.Address)
		pb, ib := splitAddress(b.Address)
		if cpa, cpb := pa == ControlPlanePool, pb == ControlPlanePool; cpa != cpb {
			if cpa {
				return -1
			}
			return 1
		}
		if c := cmp.Compare(pa, pb); c != 0 {
			return c
		}
		return cmp.Compare(ia, ib)
	})
}

// splitAddress takes machine.workers[2] apart.
func splitAddress(a string) (pool string, index int) {
	_, rest, _ := strings.Cut(a, ".")
	pool, tail, _ := strings.Cut(rest, "[")
	index, _ = strconv.Atoi(strings.TrimSuffix(tail, "]"))
	return pool, index
}
