package ccm

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"github.com/provisionhq/provision/templates"
)

// candidates is how many nodes may have an address at most: enough that one is left when a rack is lost, few enough
// that they can watch each other.
const candidates = 3

// table says which nodes may have which addresses. It depends on nothing but its arguments, so every leader says the same.
//
// The order of the nodes for an address is by a hash of both (rendezvous): addresses are spread over the nodes, and one
// moves only if its own node goes, or a new one comes that is the first in its order.
func table(services []*v1.Service, nodes []*v1.Node, slicesOf func(*v1.Service) []*discovery.EndpointSlice, ranges []templates.Addresses) templates.Announcements {
	holders := map[netip.Addr]*v1.Service{}
	for _, s := range services {
		for _, a := range addressesOf(s) {
			if h := holders[a]; contains(ranges, a) && (h == nil || older(s, h)) {
				holders[a] = s
			}
		}
	}
	t := templates.Announcements{Addresses: []templates.Announcement{}}
	for a, s := range holders {
		fit := nodes
		if s.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal {
			fit = withEndpoints(nodes, slicesOf(s))
		}
		t.Addresses = append(t.Addresses, templates.Announcement{Address: a, Nodes: announcers(a, fit)})
	}
	slices.SortFunc(t.Addresses, func(x, y templates.Announcement) int { return x.Address.Compare(y.Address) })
	return t
}

// announcers are the first nodes in the address's order. Those that say they are well go first: if none does, as when
// the API server hears of none, the others may still be better than nothing.
func announcers(a netip.Addr, nodes []*v1.Node) []templates.Announcer {
	well := slices.DeleteFunc(slices.Clone(nodes), func(n *v1.Node) bool { return !ready(n) })
	if len(well) == 0 {
		well = slices.Clone(nodes)
	}
	all := []templates.Announcer{}
	slices.SortFunc(well, func(x, y *v1.Node) int {
		return cmp.Or(cmp.Compare(score(y.Name, a), score(x.Name, a)), cmp.Compare(x.Name, y.Name))
	})
	for _, n := range well {
		if own := addressOf(n, a.Is6()); own.IsValid() && len(all) < candidates {
			all = append(all, templates.Announcer{Name: n.Name, Address: own})
		}
	}
	return all
}

// score is the node's place in the address's order: the highest is first.
func score(node string, a netip.Addr) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(node))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(a.AsSlice())
	return mix(h.Sum64())
}

// mix spreads every bit over all (the end of MurmurHash3): the last byte alone changes few high bits of FNV.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// addressOf is the node's own address in the cluster's network.
func addressOf(n *v1.Node, six bool) netip.Addr {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == v1.NodeInternalIP && ip.Is6() == six {
			return ip
		}
	}
	return netip.Addr{}
}

// withEndpoints are the nodes that have pods for the Service: ready ones; if none has, those whose pods still serve while
// they end, as kube-proxy does it.
func withEndpoints(nodes []*v1.Node, all []*discovery.EndpointSlice) []*v1.Node {
	ready, serving := map[string]bool{}, map[string]bool{}
	for _, s := range all {
		for _, e := range s.Endpoints {
			if e.NodeName == nil {
				continue
			}
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready[*e.NodeName] = true
			} else if e.Conditions.Serving != nil && *e.Conditions.Serving {
				serving[*e.NodeName] = true
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n *v1.Node) bool { return !ready[n.Name] })
}

// same says whether two nodes are the same as far as the table goes.
func same(x, y *v1.Node) bool {
	return ready(x) == ready(y) && staying(x) == staying(y) && x.Spec.ProviderID == y.Spec.ProviderID &&
		addressOf(x, false) == addressOf(y, false) && addressOf(x, true) == addressOf(y, true)
}
