package config

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// A BGP is how routers learn which machines of the control plane have the virtual address.
type BGP struct {
	ASN   uint32        // of the machines
	Hold  time.Duration // after so long without a word a router takes a machine for dead; whole seconds
	Peers []BGPPeer     // sorted by address
}

// A BGPPeer is a router.
type BGPPeer struct {
	Address  netip.Addr
	ASN      uint32
	Port     int    // 0: BGP's own
	Hops     int    // 0: a neighbour
	Password string `json:"-"` // secret: in no plan and no digest
}

// The least and the most that a router may wait, and how long a password of TCP MD5 is at most.
const (
	defaultHold    = 3 * time.Second
	mostHold       = 180 * time.Second
	maxMD5Password = 80
)

// bgp reads the bgp block of an endpoint; nil if there is none.
func (l *loader) bgp(b *hclsyntax.Block) *BGP {
	if b == nil {
		return nil
	}
	l.cluster.Ranges["endpoint.bgp"] = l.place(b.DefRange())
	r := l.reader(b, "bgp", "endpoint.bgp.")
	g := &BGP{ASN: r.asn(), Hold: defaultHold}
	if v, ok := r.text("hold"); ok {
		g.Hold = r.hold(v)
	}
	first := map[netip.Addr]*hclsyntax.Block{}
	for _, n := range b.Body.Blocks {
		if n.Type != "peer" {
			continue
		}
		p, ok := l.bgpPeer(n)
		if !ok {
			continue
		}
		if first[p.Address] != nil {
			l.again(n, first[p.Address], "There is another peer %q.", p.Address)
			continue
		}
		first[p.Address] = n
		g.Peers = append(g.Peers, p)
	}
	if !slices.ContainsFunc(b.Body.Blocks, func(n *hclsyntax.Block) bool { return n.Type == "peer" }) {
		l.report(l.diag(diag.MissingBlock, b.DefRange(), r.in, "There is no router to tell. It is written like this: peer \"10.0.0.1\" { asn = 64512 }."))
	}
	slices.SortFunc(g.Peers, func(a, b BGPPeer) int { return a.Address.Compare(b.Address) })
	r.finish("peer")
	return g
}

// bgpPeer reads a router; not ok if it has no address that can be used.
func (l *loader) bgpPeer(b *hclsyntax.Block) (BGPPeer, bool) {
	label, ok := l.labels(b, 1)
	if !ok {
		return BGPPeer{}, false
	}
	r := l.reader(b, fmt.Sprintf("peer %q", label), "")
	p := BGPPeer{ASN: r.asn()}
	a, err := netip.ParseAddr(label)
	switch {
	case err != nil || a.IsUnspecified() || a.IsMulticast():
		l.report(l.diag(diag.BadValue, b.LabelRanges[0], "bgp", "%q is not a router's address, like 10.0.0.1.", label))
	case !a.Is4():
		l.report(l.diag(diag.IPv6NotYet, b.LabelRanges[0], "bgp", "%q is IPv6. This version of provision makes clusters with IPv4 only.", label))
	case a == l.cluster.Endpoint.Address:
		l.report(l.diag(diag.BadValue, b.LabelRanges[0], "bgp", "%s is the virtual address itself, and not a router's.", a))
	}
	p.Address = a
	p.Port = r.among("port", 1, 65535, "A port is from 1 to 65535; without the attribute it is BGP's own, 179.")
	p.Hops = r.among("hops", 1, 255, "A router is from 1 to 255 hops away; without the attribute it is a neighbour, 1.")
	p.Password = r.secret("password")
	if len(p.Password) > maxMD5Password {
		l.report(l.diag(diag.BadValue, b.DefRange(), r.in, "The password has %d bytes; TCP MD5 takes %d at most.", len(p.Password), maxMD5Password))
	}
	r.finish()
	return p, err == nil && a.Is4()
}

// asn reads the number of an autonomous system, which is needed.
func (r *reader) asn() uint32 {
	r.need("asn", "asn = 64512")
	v, e, ok := r.value("asn", cty.Number, "a number")
	if !ok {
		return 0
	}
	n, exact := v.AsBigFloat().Int64() // Uint64 takes 1.5 for exact
	reserved := []int64{0, 23456, 65535, 1<<32 - 1}
	if exact != big.Exact || n < 0 || n >= 1<<32 || slices.Contains(reserved, n) {
		r.l.report(r.l.diag(diag.BadValue, e.Range(), r.in, "The number of an autonomous system is from 1 to 4294967294, and not 23456 or 65535. For use within a site there are 64512 to 65534 and 4200000000 to 4294967294."))
		return 0
	}
	return uint32(n)
}

// hold reads how long a router waits.
func (r *reader) hold(v item) time.Duration {
	d, err := time.ParseDuration(v.text)
	if err == nil && d >= defaultHold && d <= mostHold && d%time.Second == 0 {
		return d
	}
	r.l.report(r.l.diag(diag.BadValue, v.place, r.in, "%q is not a hold time: whole seconds from \"3s\" to \"180s\". A machine that dies without a word is left out after that.", v.text))
	return defaultHold
}

// among reads a whole number within bounds; 0 if it is not there.
func (r *reader) among(name string, least, most int, words string) int {
	n, place, ok := r.whole(name)
	if ok && (n < least || n > most) {
		r.l.report(r.l.diag(diag.BadValue, place, r.in, "%s", words))
		return 0
	}
	return n
}

// secret returns an attribute that is a text and may be made of a variable that is sensitive. What is wrong with it is said
// without its value, and without the line, which may have it.
func (r *reader) secret(name string) string {
	a := r.attr(name)
	if a == nil {
		return ""
	}
	v, _ := r.l.eval(a.Expr, r.in).UnmarkDeep()
	switch {
	case !v.IsKnown() || v.IsNull():
		return ""
	case v.Type() != cty.String:
		r.bad = append(r.bad, name)
		r.l.report(r.l.diag(diag.WrongType, r.b.DefRange(), r.in, "The attribute %q has to be a text.", name))
		return ""
	}
	return v.AsString()
}

// checkRouted refuses a virtual address that routers would not be asked for, and what only goes with the other way.
func (l *loader) checkRouted(e *Endpoint, at hcl.Range) {
	bad := func(format string, args ...any) { l.report(l.diag(diag.BadValue, at, "endpoint", format, args...)) }
	if !e.Address.IsValid() {
		bad("Routers are told of the virtual address by BGP, and there is none: write address, with one that is in no range of the cluster.")
	}
	if e.Interface != "" {
		bad("With BGP the virtual address is on no link, so leave out the interface.")
	}
}
