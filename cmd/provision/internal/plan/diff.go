package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Diff says what has to change so that the world is as the file and the programs at hand want it.
func Diff(c *config.Cluster, want Want, w World) *Plan {
	d := differ{c: c, want: want, w: w, machines: map[string]providers.Machine{}, remade: map[string]Change{}, plan: &Plan{Schema: Schema, Cluster: c.Name, Changes: []Change{}}}
	for _, m := range w.Machines {
		d.machines[m.Name] = m
	}
	members := Members(c)
	d.keys()
	d.network()
	wanted := map[string]bool{}
	for _, m := range members {
		wanted[m.Name] = true
		d.member(m)
	}
	d.gone(wanted)
	if want.Nodes {
		d.etcd(members[:c.ControlPlane.Count])
		for _, m := range members {
			d.node(m)
		}
		d.balancer()
		d.addons()
	}
	d.identify()
	sortChanges(d.plan.Changes)
	return d.plan
}

// identify says of each change which object of the vendor it is about.
func (d *differ) identify() {
	ids := map[string]providers.ID{}
	for _, n := range d.w.Networks {
		ids[string(Network)+" "+n.Name] = n.ID
	}
	for _, m := range d.w.Machines {
		ids[string(Machine)+" "+m.Name] = m.ID
	}
	for i, c := range d.plan.Changes {
		if c.Action != Create {
			d.plan.Changes[i].ID = string(ids[string(c.Kind)+" "+c.Name])
		}
	}
}

type differ struct {
	c        *config.Cluster
	want     Want
	w        World
	machines map[string]providers.Machine
	remade   map[string]Change // of machines that are made, started or replaced, by name
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

// node compares a node with what it is to be.
func (d *differ) node(m Member) {
	if machine, ok := d.remade[m.Name]; ok {
		d.follow(m, machine)
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
	ch.Action = Update
	ch.Fields = d.nodeFields(m, *host.Node)
	if slices.ContainsFunc(ch.Fields, func(f Field) bool { return !live(m, *host.Node, len(d.controlPlane()), f) }) {
		ch.Action = Restart
	}
	for _, f := range host.Stale {
		if name, ok := taken(f); ok {
			ch.Fields = append(ch.Fields, Field{name, "another", "the file's"})
		}
	}
	n := len(ch.Fields)
	if host.Agent != d.want.Agent {
		ch.Fields = append(ch.Fields, Field{"agent", short(host.Agent), short(d.want.Agent)})
	}
	for _, f := range host.Stale {
		if _, ok := taken(f); !ok {
			ch.Fields = append(ch.Fields, Field{f, "another", "the cluster's"})
		}
	}
	for _, c := range host.Due {
		ch.Fields = append(ch.Fields, Field{"certificate " + c, "ends soon", "renewed"})
	}
	if len(ch.Fields) > n {
		ch.Action = Restart
	}
	if len(ch.Fields) > 0 {
		ch.Reason, ch.Cause = "differs", d.at(ch.Fields[0].Name, "endpoint."+ch.Fields[0].Name, "control_plane.count", "cluster")
		if d.w.API {
			ch.Fields = append(ch.Fields, dressFields(m, kube)...)
		}
		d.add(ch)
		return
	}
	if !d.w.API {
		if m.Role == templates.ControlPlane {
			ch.Action, ch.Reason = Restart, "the cluster's API does not answer"
			d.add(ch)
		}
		return
	}
	ch.Action = Update
	ch.Fields = dressFields(m, kube)
	if len(ch.Fields) > 0 {
		attr := "labels"
		if strings.HasPrefix(ch.Fields[0].Name, "taint") {
			attr = "taints"
		}
		ch.Reason, ch.Cause = "differs", d.cause(m, attr)
		d.add(ch)
	}
}

// taken says whether a running node takes a file without a restart, and what a plan calls it; what it says is secret.
func taken(path string) (name string, ok bool) {
	switch {
	case path == templates.BGPPath:
		return "bgp.password", true
	case path == templates.CloudPath:
		return "cloud_agent.settings", true
	case strings.HasPrefix(path, templates.PluginDir+"/"):
		return "cloud_agent.plugin", true
	}
	return "", false
}

// cloudText is what a plan shows of what a node knows of the cloud agent.
func cloudText(c *templates.NodeCloud) string {
	if c == nil {
		return "none"
	}
	s := c.Vendor
	for _, w := range []struct {
		yes  bool
		word string
	}{{c.External, "nodes"}, {c.Volumes, "volumes"}, {c.Announced, "announced addresses"}} {
		if w.yes {
			s += ", " + w.word
		}
	}
	return s
}

// nodeFields compares what runs with what shall run. Labels and taints in it count only when a node registers, so they
// are compared with the API's node instead. Where machines of the control plane are still to be made, their addresses are not
// known yet, and the fields that hold them say so.
func (d *differ) nodeFields(m Member, have templates.Node) []Field {
	var fs []Field
	diff := func(name string, from, to any) {
		if f, t := fmt.Sprint(from), fmt.Sprint(to); f != t {
			fs = append(fs, Field{name, f, t})
		}
	}
	want := m.nodeConfig(d.c, d.want.Identity, d.machines[m.Name])
	diff("kubernetes", have.Kubernetes, want.Kubernetes)
	diff("bundle", short(have.Bundle), short(want.Bundle))
	if d.readdressed(m.Name) {
		fs = append(fs, d.newAddress(have.Address))
	} else {
		diff(AddressField, have.Address, want.Address)
	}
	diff("network.pods", have.Pods, want.Pods)
	diff("network.services", have.Services, want.Services)
	diff("network.domain", have.Domain, want.Domain)
	diff("network.backend", have.Backend, want.Backend)
	diff("network.node_bits", have.NodeCIDR, want.NodeCIDR)
	diff("vip", addrText(have.VIP), addrText(want.VIP))
	diff("vip_interface", have.VIPInterface, want.VIPInterface)
	diff("bgp", routersText(have.BGP), routersText(want.BGP))
	diff("cloud_agent", cloudText(have.Cloud), cloudText(want.Cloud))
	diff("welcome", have.Welcome, want.Welcome)
	var waits []string
	for _, cp := range d.controlPlane() {
		if o, ok := d.machines[cp.Name]; d.moves(cp.Name) || !ok || !want.join(cp.Name, o) {
			waits = append(waits, cp.Address(Machine))
		}
	}
	if m.Role == templates.ControlPlane && d.balancerMoves() {
		waits = append(waits, BalancerAddress)
	}
	if len(waits) > 0 {
		return append(fs, Field{"endpoints", fmt.Sprint(have.Endpoints), waitsFor + strings.Join(waits, ", ")})
	}
	w := want.done()
	diff("endpoints", have.Endpoints, w.Endpoints)
	diff("etcd", have.Etcd, w.Etcd)
	diff("api_names", have.APINames, w.APINames)
	return fs
}

// waitsFor begins the value of a field that holds addresses which are not known yet.
const waitsFor = "with the address of "

// live says whether a running node takes the field without a restart of anything.
func live(m Member, have templates.Node, controlPlane int, f Field) bool {
	switch f.Name {
	case "api_names", "vip", "vip_interface", "bgp", "welcome":
		return true
	case "endpoints", "etcd":
		alone := len(have.Etcd) == 1
		return m.Role == templates.Worker || alone == (controlPlane == 1)
	}
	return false
}

// controlPlane are the members that run the control plane.
func (d *differ) controlPlane() []Member { return Members(d.c)[:d.c.ControlPlane.Count] }

// moves says whether a machine gets an address that is not known yet.
func (d *differ) moves(name string) bool {
	return d.readdressed(name) || d.replaced(name)
}

// replaced says whether a machine is made that gets an address that is not known yet.
func (d *differ) replaced(name string) bool {
	ch, remade := d.remade[name]
	if !remade {
		return false
	}
	have, there := d.machines[name]
	return ch.Action == Replace || !there || !have.Private.IsValid()
}

// OfAPI says whether the field is one that the API has of a node, and not its configuration.
func (f Field) OfAPI() bool {
	return strings.HasPrefix(f.Name, "label ") || f.Name == "taint" || f.Name == CordonField
}

// dressFields compares what the API has of a node.
func dressFields(m Member, have KubeNode) []Field {
	fs := append(labelFields(m, have), taintFields(m, have)...)
	if have.Draining {
		fs = append(fs, Field{CordonField, "to move its pods away", ""})
	}
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

// addrText writes an address; none is the empty text.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// short abbreviates a hash for people.
func short(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}
