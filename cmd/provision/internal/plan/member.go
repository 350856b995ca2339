package plan

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// NetworkName is the name of a cluster's one network.
const NetworkName = "main"

// ControlPlanePool is the control plane's name among the pools, in addresses and in tags.
const ControlPlanePool = "control-plane"

// APIPort is where API servers listen.
const APIPort = 6443

// A Member is one machine that a file asks for, and the node on it.
type Member struct {
	Role  templates.Role
	Pool  *config.Pool
	Index int
	Name  string // of the machine, its host and the node
}

// Members returns the machines that the cluster wants: control plane first, then pools by name, each by index.
func Members(c *config.Cluster) []Member {
	var ms []Member
	for i := range c.ControlPlane.Count {
		ms = append(ms, Member{templates.ControlPlane, &c.ControlPlane, i, MachineName(c.Name, ControlPlanePool, i)})
	}
	for p := range c.Pools {
		for i := range c.Pools[p].Count {
			ms = append(ms, Member{templates.Worker, &c.Pools[p], i, MachineName(c.Name, c.Pools[p].Name, i)})
		}
	}
	return ms
}

// MachineName is the name of the i-th machine of a pool.
func MachineName(cluster, pool string, i int) string {
	if pool == ControlPlanePool {
		pool = "cp"
	}
	return fmt.Sprintf("%s-%s-%d", cluster, pool, i)
}

// PoolName is the pool's name in addresses and tags.
func (m Member) PoolName() string {
	if m.Role == templates.ControlPlane {
		return ControlPlanePool
	}
	return m.Pool.Name
}

// NetworkAddress is where a network stands in a plan.
func NetworkAddress(name string) string { return string(Network) + "." + name }

// MachineAddress is where a machine stands in a plan: machine.workers[2], also if the file no longer asks for it.
func MachineAddress(cluster, name, pool string) string {
	return addressOf(Machine, cluster, name, pool)
}

// Address is where the member stands in a plan: machine.workers[2].
func (m Member) Address(k Kind) string { return string(k) + "." + m.Place() }

// Place is the member's address without a kind: workers[2].
func (m Member) Place() string { return m.PoolName() + "[" + strconv.Itoa(m.Index) + "]" }

// ControlPlaneNames are the names of the control plane's machines.
func ControlPlaneNames(c *config.Cluster) []string {
	var ns []string
	for i := range c.ControlPlane.Count {
		ns = append(ns, MachineName(c.Name, ControlPlanePool, i))
	}
	return ns
}

// MachineSpec is what to ask the vendor for. Keys and user are the caller's to add.
func (m Member) MachineSpec(c *config.Cluster, id Identity, network providers.ID) providers.MachineSpec {
	s := providers.MachineSpec{
		Owner: providers.Owner(c.Name), Name: m.Name, Pool: m.PoolName(), Network: network,
		Type: m.Pool.Machine, Image: m.Pool.Image, DiskGiB: m.Pool.DiskGiB, Spot: m.Pool.Spot, Tags: tags(id.UID),
		CloudAgent: m.Role == templates.ControlPlane && id.Cloud != nil && id.Cloud.External, // one that asks the vendor
	}
	if n := len(m.Pool.Zones); n > 0 {
		s.Zone = m.Pool.Zones[m.Index%n]
	}
	return s
}

// CloudPools are the pools whose number of machines the cluster itself decides on, as its cloud agent is told of them.
func CloudPools(c *config.Cluster) []templates.CloudPool {
	var ps []templates.CloudPool
	for i := range c.Pools {
		p := &c.Pools[i]
		if !p.Autoscaled() {
			continue
		}
		m := Member{Role: templates.Worker, Pool: p}
		ps = append(ps, templates.CloudPool{
			Name: p.Name, Min: p.Min, Max: p.Max, Types: p.Types(), Image: p.Image, Zones: p.Zones, DiskGiB: p.DiskGiB, Spot: p.Spot,
			Labels: m.Labels(), Taints: m.taints(), DrainSeconds: int(p.Drain.Seconds()),
		})
	}
	return ps
}

// UIDTag is the tag that holds the cluster's UID, so that two clusters of one name are told apart.
const UIDTag = templates.UIDTag

func tags(uid string) map[string]string {
	if uid == "" {
		return nil
	}
	return map[string]string{UIDTag: uid}
}

// NetworkSpec is what network to ask the vendor for.
func NetworkSpec(c *config.Cluster, uid string) providers.NetworkSpec {
	zones := slices.Clone(c.ControlPlane.Zones)
	for _, p := range c.Pools {
		zones = append(zones, p.Zones...)
	}
	slices.Sort(zones)
	s := providers.NetworkSpec{Owner: providers.Owner(c.Name), Name: NetworkName, CIDR: c.Network.Machines, Zones: slices.Compact(zones), Tags: tags(uid)}
	for _, r := range []providers.Rule{
		{Name: "api", Protocol: "tcp", Port: APIPort, Sources: c.Network.APIFrom},
		{Name: "ssh", Protocol: "tcp", Port: 22, Sources: c.Network.SSHFrom},
	} {
		if len(r.Sources) > 0 {
			s.Allow = append(s.Allow, r)
		}
	}
	return s
}

// Identity is what all nodes of a cluster share beyond the file.
type Identity struct {
	UID      string   // of the cluster
	Bundle   string   // ID of the bundle to run
	Balancer []string // addresses and names of the balancer before the API; none if there is none

	Cloud *templates.NodeCloud // what nodes know of the cloud agent; nil if there is none
}

// NodeConfig is what the member's node agent shall run. The machines must hold its own and the control plane's, with
// addresses.
func (m Member) NodeConfig(c *config.Cluster, id Identity, machines map[string]providers.Machine) (templates.Node, error) {
	self, ok := machines[m.Name]
	if !ok || !self.Private.IsValid() {
		return templates.Node{}, fmt.Errorf("machine %s has no address yet", m.Name)
	}
	n := m.nodeConfig(c, id, self)
	for _, name := range ControlPlaneNames(c) {
		if !n.join(name, machines[name]) {
			return templates.Node{}, fmt.Errorf("machine %s has no address yet", name)
		}
	}
	return n.done(), nil
}

// A nodeConfig is a node's configuration that is being put together.
type nodeConfig struct{ templates.Node }

// nodeConfig is the node's configuration without the control plane's addresses.
func (m Member) nodeConfig(c *config.Cluster, id Identity, self providers.Machine) *nodeConfig {
	n := &nodeConfig{templates.Node{
		Schema: templates.NodeSchema, Cluster: c.Name, UID: id.UID, Name: m.Name, Role: m.Role, Address: self.Private,
		ProviderID: self.NodeID, Kubernetes: c.Kubernetes, Bundle: id.Bundle,
		Pods: c.Network.Pods, Services: c.Network.Services, DNS: DNS(c), Domain: c.Network.Domain,
		Backend: c.Network.Backend, NodeCIDR: c.Network.NodeBits, Labels: m.registered(), Taints: m.taints(), Cloud: id.Cloud,
	}}
	if m.Role != templates.ControlPlane {
		return n
	}
	n.Welcome = c.Autoscales()
	n.APINames = append(n.APINames, c.Endpoint.Names...)
	n.APINames = append(n.APINames, id.Balancer...)
	if c.Endpoint.Address.IsValid() {
		n.APINames = append(n.APINames, c.Endpoint.Address.String())
		n.VIP, n.VIPInterface, n.BGP = c.Endpoint.Address, c.Endpoint.Interface, routers(c.Endpoint.BGP)
	}
	return n
}

// routers are those that are told of the virtual address; nil if none are.
func routers(c *config.BGP) *templates.BGP {
	if c == nil {
		return nil
	}
	b := &templates.BGP{ASN: c.ASN, Hold: int(c.Hold.Seconds())}
	for _, p := range c.Peers {
		b.Peers = append(b.Peers, templates.BGPPeer{Address: p.Address, ASN: p.ASN, Port: p.Port, Hops: p.Hops})
	}
	return b
}

// routersText is what a plan shows of them.
func routersText(b *templates.BGP) string {
	if b == nil {
		return ""
	}
	var all []string
	for _, p := range b.Peers {
		s := fmt.Sprintf("AS %d at %s", p.ASN, p.Address)
		if p.Port != 0 {
			s += fmt.Sprintf(", port %d", p.Port)
		}
		if p.Hops != 0 {
			s += fmt.Sprintf(", %d hops", p.Hops)
		}
		all = append(all, s)
	}
	return fmt.Sprintf("AS %d, hold %ds, to %s", b.ASN, b.Hold, strings.Join(all, "; "))
}

// join adds a machine of the control plane; false if it has no address.
func (n *nodeConfig) join(name string, o providers.Machine) bool {
	if !o.Private.IsValid() {
		return false
	}
	n.Etcd = append(n.Etcd, templates.EtcdMember{Name: name, Address: o.Private})
	n.Endpoints = append(n.Endpoints, net.JoinHostPort(o.Private.String(), strconv.Itoa(APIPort)))
	if n.Role == templates.ControlPlane && o.Public.IsValid() {
		n.APINames = append(n.APINames, o.Public.String())
	}
	return true
}

// done returns the configuration in canonical order.
func (n *nodeConfig) done() templates.Node {
	slices.Sort(n.Endpoints)
	slices.Sort(n.APINames)
	n.APINames = slices.Compact(n.APINames)
	slices.SortFunc(n.Etcd, func(a, b templates.EtcdMember) int { return strings.Compare(a.Name, b.Name) })
	return n.Node
}

func (m Member) taints() []templates.Taint {
	var ts []templates.Taint
	for _, t := range m.Pool.Taints {
		ts = append(ts, templates.Taint{Key: t.Key, Value: t.Value, Effect: t.Effect})
	}
	if m.Role == templates.ControlPlane {
		ts = append(ts, templates.Taint{Key: "node-role.kubernetes.io/control-plane", Effect: "NoSchedule"})
	}
	return ts
}

// Labels are the labels that the member's node shall have.
func (m Member) Labels() map[string]string {
	ls := map[string]string{"provision.sh/pool": m.PoolName()}
	for k, v := range m.Pool.Labels {
		ls[k] = v
	}
	if m.Role == templates.ControlPlane {
		ls["node-role.kubernetes.io/control-plane"] = ""
	} else {
		ls["node-role.kubernetes.io/"+m.PoolName()] = ""
	}
	return ls
}

// registered are the labels that the kubelet may set itself; the others are set for it after it has joined.
func (m Member) registered() map[string]string {
	ls := m.Labels()
	maps.DeleteFunc(ls, func(k, _ string) bool {
		domain, _, _ := strings.Cut(k, "/")
		return strings.HasSuffix(domain, "kubernetes.io") || strings.HasSuffix(domain, "k8s.io")
	})
	return ls
}

// Taints are the taints that the member's node shall have, as key=value:effect, sorted.
func (m Member) Taints() []string {
	var ts []string
	for _, t := range m.taints() {
		ts = append(ts, TaintString(t.Key, t.Value, t.Effect))
	}
	slices.Sort(ts)
	return ts
}

// TaintString writes a taint as kubectl does.
func TaintString(key, value, effect string) string {
	if value != "" {
		key += "=" + value
	}
	return key + ":" + effect
}

// DNS is the service address of the cluster's DNS: the tenth of the range, by convention.
func DNS(c *config.Cluster) netip.Addr { return nth(c.Network.Services, 10) }

// nth returns the n-th address of an IPv4 range.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}
