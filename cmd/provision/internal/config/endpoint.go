package config

import (
	"net/netip"
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// An Endpoint is where the cluster's API is reached from outside, beside the control plane's own addresses. Nodes do not
// need it: each balances over all API servers itself.
type Endpoint struct {
	Address   netip.Addr // virtual address that moves between the control-plane machines; zero: none
	Interface string     // the link that it is announced on; empty: the one with the machine's address
	Balancer  bool       // a balancer of the vendor stands before the API servers
	BGP       *BGP       // routers are told which machines have the address, and several have it at once; nil: neighbours on the link, and one has it
	Names     []string   // further DNS names and addresses that the API's certificate is for; the first is in kubeconfigs
}

// endpoint reads the endpoint block of the control plane, which may be missing.
func (l *loader) endpoint(b *hclsyntax.Block) {
	if b == nil {
		return
	}
	e := &l.cluster.Endpoint
	l.cluster.Ranges["endpoint"] = l.place(b.DefRange())
	r := l.reader(b, "endpoint", "endpoint.")
	if v, ok := r.text("address"); ok {
		a, err := netip.ParseAddr(v.text)
		switch {
		case err != nil:
			l.report(l.diag(diag.BadValue, v.place, r.in, "%q is not an address, like 10.0.0.100. A DNS name goes into names.", v.text))
		case !a.Is4():
			l.report(l.diag(diag.IPv6NotYet, v.place, r.in, "%q is IPv6. This version of provision makes clusters with IPv4 only.", v.text))
		default:
			e.Address = a
			l.checkVirtual(v, a, has(b, "bgp"))
		}
	}
	if v, ok := r.text("interface"); ok {
		e.Interface = v.text
	}
	e.Balancer = r.yes("balancer")
	for _, v := range r.texts("names") {
		if _, err := netip.ParseAddr(v.text); err != nil && !regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`).MatchString(v.text) {
			l.report(l.diag(diag.BadValue, v.place, r.in, "%q is neither a DNS name nor an address.", v.text))
			continue
		}
		e.Names = append(e.Names, v.text)
	}
	if e.Interface != "" && !e.Address.IsValid() {
		l.report(l.diag(diag.BadValue, b.DefRange(), r.in, "The interface is the one to announce the virtual address on, and there is no address."))
	}
	if g := l.atMostOneIn(b, "bgp", "endpoint"); g != nil {
		e.BGP = l.bgp(g)
		l.checkRouted(e, g.DefRange())
	}
	r.finish("bgp")
}

// has says whether a block has one of that type in it.
func has(b *hclsyntax.Block, kind string) bool {
	return slices.ContainsFunc(b.Body.Blocks, func(n *hclsyntax.Block) bool { return n.Type == kind })
}

// checkVirtual refuses a virtual address that cannot be one. Neighbours look for it on the link, unless routers lead to it.
func (l *loader) checkVirtual(v item, a netip.Addr, routed bool) {
	n := l.cluster.Network
	for _, own := range []struct {
		what string
		in   netip.Prefix
	}{{"pods", n.Pods}, {"services", n.Services}} {
		if own.in.IsValid() && own.in.Contains(a) {
			l.report(l.diag(diag.BadValue, v.place, "endpoint", "%s is in the range of the %s, %s. A virtual address is a free one of the network that the machines are in.", a, own.what, own.in))
		}
	}
	for _, r := range n.Balancers {
		if !a.Less(r.First) && !r.Last.Less(a) {
			l.report(l.diag(diag.BadValue, v.place, "endpoint", "%s is one of the addresses that Services get, %s. The API's is one that nothing else has.", a, r))
		}
	}
	switch inside := n.Machines.Contains(a); {
	case !n.Machines.IsValid():
	case routed && inside:
		l.report(l.diag(diag.BadValue, v.place, "endpoint", "%s is in the range of the machines, %s: neighbours would look for it on the link, and not ask a router. With BGP it is a free one that is in no range of the cluster.", a, n.Machines))
	case !routed && !inside:
		l.report(l.diag(diag.BadValue, v.place, "endpoint", "%s is not in the range of the machines, %s: neighbours would not look for it there.", a, n.Machines))
	}
}
