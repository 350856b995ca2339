package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// BalancerName is the name of the balancer before the API, and BalancerAddress where it stands in a plan.
const (
	BalancerName    = "api"
	BalancerAddress = string(Balancer) + "." + BalancerName
)

// BalancerSpec is what balancer to ask the vendor for.
func BalancerSpec(c *config.Cluster, uid string, network providers.ID, machines map[string]providers.Machine) providers.LoadBalancerSpec {
	s := providers.LoadBalancerSpec{
		Owner: providers.Owner(c.Name), Name: BalancerName, Network: network, Sources: c.Network.APIFrom, Tags: tags(uid),
		// An API server that only listens, or whose etcd has no quorum, answers wrongly or not at all.
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: APIPort, TargetPort: APIPort, HealthPath: "/readyz"}},
	}
	for _, name := range ControlPlaneNames(c) {
		if m, ok := machines[name]; ok && m.ID != "" {
			s.Targets = append(s.Targets, m.ID)
		}
	}
	slices.Sort(s.Targets)
	return s
}

// APIBalancer returns the balancer before the API.
func (w World) APIBalancer() (providers.LoadBalancer, bool) {
	i := slices.IndexFunc(w.Balancers, func(b providers.LoadBalancer) bool { return b.Name == BalancerName })
	if i < 0 {
		return providers.LoadBalancer{}, false
	}
	return w.Balancers[i], true
}

// BalancerNames are the addresses and names that a balancer is reached by.
func BalancerNames(b providers.LoadBalancer) []string {
	var ns []string
	if b.Address.IsValid() {
		ns = append(ns, b.Address.String())
	}
	if b.Hostname != "" {
		ns = append(ns, b.Hostname)
	}
	return ns
}

// balancerMoves says whether the balancer's address is not known yet.
func (d *differ) balancerMoves() bool {
	have, there := d.w.APIBalancer()
	return d.c.Endpoint.Balancer && (!there || have.Partial || len(BalancerNames(have)) == 0 || d.astray(have.Address))
}

// balancer compares the balancer before the API.
func (d *differ) balancer() {
	have, there := d.w.APIBalancer()
	ch := Change{Address: BalancerAddress, Kind: Balancer, Name: BalancerName, Action: Create, Cause: d.at("endpoint.balancer", "endpoint", "cluster")}
	switch {
	case !d.c.Endpoint.Balancer && !there:
		return
	case !d.c.Endpoint.Balancer:
		ch.Action, ch.Reason = Delete, "no longer in the file"
	case !there:
		ch.Reason = "not there"
	case have.Partial:
		ch.Reason = "was not finished"
	default:
		ch.Action, ch.Reason = Update, "differs"
		if ch.Fields = d.balancerFields(have); len(ch.Fields) == 0 {
			return
		}
	}
	d.add(ch)
}

func (d *differ) balancerFields(have providers.LoadBalancer) []Field {
	want := BalancerSpec(d.c, d.want.UID, have.Network, d.machines)
	var fs []Field
	var moving []string
	for _, cp := range d.controlPlane() {
		if d.replaced(cp.Name) {
			moving = append(moving, cp.Address(Machine))
		}
	}
	from, to := texts(have.Targets), texts(want.Targets)
	if len(moving) > 0 {
		to = "with " + strings.Join(moving, ", ")
	}
	if from != to {
		fs = append(fs, Field{"targets", from, to})
	}
	if f, t := texts(have.Sources), texts(want.Sources); f != t {
		fs = append(fs, Field{"sources", f, t})
	}
	if !slices.EqualFunc(have.Ports, want.Ports, func(a, b providers.BalancerPort) bool {
		return a.Port == b.Port && a.TargetPort == b.TargetPort && a.Protocol == b.Protocol && a.HealthPath == b.HealthPath
	}) {
		fs = append(fs, Field{"ports", "others", "tcp 6443, healthy by /readyz"})
	}
	fs = append(fs, tagFields(want.Tags, have.Tags)...)
	if d.astray(have.Address) {
		fs = append(fs, d.newAddress(have.Address))
	}
	return fs
}

// texts writes a list in one line, sorted.
func texts[T any](list []T) string {
	var ts []string
	for _, t := range list {
		ts = append(ts, fmt.Sprint(t))
	}
	slices.Sort(ts)
	return strings.Join(ts, ", ")
}
