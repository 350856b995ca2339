package plan

import (
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// A Preflight is what the vendor said of a plan before anything was made.
type Preflight struct {
	Identity string            `json:"identity,omitempty"` // who asked, as the vendor names it
	Place    string            `json:"place,omitempty"`    // where things would be made
	Limits   []providers.Limit `json:"limits,omitempty"`   // quotas that the plan counts against
	Unseen   []string          `json:"unseen,omitempty"`   // what could not be looked at, and why
}

// Who is who asked, and where, in one line.
func (f *Preflight) Who() string {
	var words []string
	if f.Identity != "" {
		words = append(words, "as "+f.Identity)
	}
	if f.Place != "" {
		words = append(words, "in "+f.Place)
	}
	return strings.Join(words, " ")
}

// Need is what the vendor has to make for the plan: what it creates, and with anew also the machines that it replaces. What the
// vendor has already, and has only to complete or to start, is not in it.
func (p *Plan) Need(c *config.Cluster, id Identity, w World, anew bool) providers.Need {
	n := providers.Need{Owner: providers.Owner(c.Name)}
	members, network := byName(c), networkID(w)
	there := stockOf(c, w)
	for _, ch := range p.Changes {
		switch create := ch.Action == Create; {
		case ch.Kind == Network && create && !there.networks[ch.Name]:
			n.Networks = append(n.Networks, NetworkSpec(c, id.UID))
		case ch.Kind == Machine && (create && !there.has(ch.Name) || anew && ch.Action == Replace):
			if m, ok := members[ch.Name]; ok {
				n.Machines = append(n.Machines, m.MachineSpec(c, id, network))
			}
		case ch.Kind == Balancer && create && !there.balancers[ch.Name]:
			n.LoadBalancers = append(n.LoadBalancers, BalancerSpec(c, id.UID, network, nil))
		}
	}
	return n
}

func (s *stock) has(machine string) bool {
	_, ok := s.machines[machine]
	return ok
}

// networkID is the ID of the cluster's network; empty if it is not there.
func networkID(w World) providers.ID {
	i := slices.IndexFunc(w.Networks, func(n providers.Network) bool { return n.Name == NetworkName })
	if i < 0 {
		return ""
	}
	return w.Networks[i].ID
}
