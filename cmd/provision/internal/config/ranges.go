package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// reserved are ranges that no cluster can use for itself.
var reserved = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "addresses that mean this host"},
	{netip.MustParsePrefix("127.0.0.0/8"), "each machine's own addresses"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses, where vendors answer questions about a machine"},
	{netip.MustParsePrefix("224.0.0.0/3"), "multicast and reserved addresses"},
}

// ownRange reads a range that the cluster uses for itself. The prefix is zero if the attribute is wrong, so that it is
// not compared with others.
func (r *reader) ownRange(name string, p *netip.Prefix) {
	v, ok := r.text(name)
	if !ok {
		if slices.Contains(r.bad, name) {
			*p = netip.Prefix{}
		}
		return
	}
	*p = netip.Prefix{}
	parsed, ok := r.prefix(v, "/16")
	if !ok {
		return
	}
	for _, x := range reserved {
		if x.prefix.Overlaps(parsed) {
			r.l.report(r.l.diag(diag.BadRange, v.place, r.in, "%s holds %s (%s).", parsed, x.what, x.prefix).Next("Take a private range, from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."))
			return
		}
	}
	*p = parsed
}

// sources reads a list of ranges that traffic may come from.
func (r *reader) sources(name string) []netip.Prefix {
	var ps []netip.Prefix
	for _, v := range r.texts(name) {
		if p, ok := r.prefix(v, "/32"); ok {
			ps = append(ps, p)
		}
	}
	return ps
}

// addresses reads a list of ranges of addresses, each with a prefix or from one to another: 10.0.0.224/28, 10.0.0.230-10.0.0.239.
func (r *reader) addresses(name string) []Addresses {
	var all []Addresses
	for _, v := range r.texts(name) {
		a, ok := r.span(v)
		if !ok {
			continue
		}
		if problem := r.l.spanProblem(a, all); problem != "" {
			r.l.report(r.l.diag(diag.BadRange, v.place, r.in, "%s: %s.", v.text, problem))
			continue
		}
		all = append(all, a)
	}
	return all
}

// span reads one of them.
func (r *reader) span(v item) (Addresses, bool) {
	from, to, ok := strings.Cut(v.text, "-")
	if !ok {
		p, ok := r.prefix(v, "/32")
		if !ok {
			return Addresses{}, false
		}
		return Addresses{p.Addr(), offset(p.Addr(), 1<<(32-p.Bits())-1)}, true
	}
	first, err1 := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	switch {
	case err1 != nil || err2 != nil:
		r.l.report(r.l.diag(diag.BadRange, v.place, r.in, "%q is no range of addresses. It is written as 10.0.0.230-10.0.0.239 or as 10.0.0.224/28.", v.text))
	case !first.Is4() || !last.Is4():
		r.l.report(r.l.diag(diag.IPv6NotYet, v.place, r.in, "%q is IPv6. This version of provision makes clusters with IPv4 only.", v.text))
	case last.Less(first):
		r.l.report(r.l.diag(diag.BadRange, v.place, r.in, "%q ends before it begins.", v.text))
	default:
		return Addresses{first, last}, true
	}
	return Addresses{}, false
}

// spanProblem says why Services cannot have the addresses; "" if they can.
func (l *loader) spanProblem(a Addresses, others []Addresses) string {
	n := l.cluster.Network
	for _, own := range []struct {
		what string
		in   netip.Prefix
	}{{"the pods", n.Pods}, {"Services' cluster addresses", n.Services}} {
		if own.in.IsValid() && own.in.Overlaps(netip.PrefixFrom(a.First, 32)) || own.in.IsValid() && own.in.Contains(a.Last) {
			return fmt.Sprintf("addresses of it belong to %s, %s", own.what, own.in)
		}
	}
	if m := n.Machines; m.IsValid() && (!m.Contains(a.First) || !m.Contains(a.Last)) {
		return fmt.Sprintf("it is not within the range of the machines, %s: neighbours would not look for it there", m)
	}
	for _, o := range others {
		if !o.Last.Less(a.First) && !a.Last.Less(o.First) {
			return "it overlaps " + o.String()
		}
	}
	return ""
}

// prefix reads an IPv4 range; usual is how long the prefix mostly is there.
func (r *reader) prefix(v item, usual string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(v.text)
	a, aErr := netip.ParseAddr(v.text)
	fail := func(id diag.ID, format string, args ...any) (netip.Prefix, bool) {
		r.l.report(r.l.diag(id, v.place, r.in, format, args...))
		return netip.Prefix{}, false
	}
	switch {
	case aErr == nil && a.Is4():
		return fail(diag.BadRange, "%q is one address and no range: the length of the prefix is missing, as in %s%s.", v.text, a, usual)
	case err == nil && !p.Addr().Is4(), aErr == nil:
		return fail(diag.IPv6NotYet, "%q is IPv6. This version of provision makes clusters with IPv4 only.", v.text)
	case err != nil:
		return fail(diag.BadRange, "%q is not an address range. It is written as an address and the length of its prefix, like 10.0.0.0/16.", v.text)
	case p.Masked() != p:
		return fail(diag.BadRange, "%q names an address within a range. The range that it is in begins at its first address: %s.", v.text, p.Masked())
	}
	return p, true
}

// ranged is one of the cluster's own ranges.
type ranged struct {
	key, what string
	prefix    netip.Prefix
}

// checkRanges reports ranges that overlap, or that are too small or too large.
func (l *loader) checkRanges() {
	n := l.cluster.Network
	all := []ranged{{"network.machines", "machines", n.Machines}, {"network.pods", "pods", n.Pods}, {"network.services", "services", n.Services}}
	all = slices.DeleteFunc(all, func(r ranged) bool { return !r.prefix.IsValid() })
	for i, a := range all {
		for _, b := range all[:i] {
			if a.prefix.Overlaps(b.prefix) {
				l.overlap(a, b)
			}
		}
	}
	l.checkMachines()
	l.checkPods()
	l.checkServices()
}

// overlap reports two ranges that overlap, at the one that the file names, or the later of the two.
func (l *loader) overlap(a, b ranged) {
	ra, rb := l.cluster.at(a.key), l.cluster.at(b.key)
	if ra == nil || rb != nil && rb.Start.Byte > ra.Start.Byte {
		a, b, ra, rb = b, a, rb, ra
	}
	other := "the default"
	if rb != nil {
		other = "from " + rb.String()
	}
	d := diag.New(diag.OverlappingRanges, "The range of %s, %s, overlaps the range of %s, %s (%s). An address in both would belong to two things at once.",
		a.what, a.prefix, b.what, b.prefix, other)
	if free, ok := l.free(a.prefix.Bits()); ok {
		d = d.Next(fmt.Sprintf("Choose another; %s would not overlap.", free))
	}
	l.report(d.At(ra, "network"))
}

// free finds a private range of that size that none of the cluster's own overlaps.
func (l *loader) free(bits int) (netip.Prefix, bool) {
	n := l.cluster.Network
	if bits < 9 || bits > 24 {
		return netip.Prefix{}, false
	}
	ten := netip.MustParsePrefix("10.0.0.0/8")
	for i := range min(1<<(bits-8), 1024) {
		p, err := subnet(ten, bits-8, i)
		if err == nil && !p.Overlaps(n.Pods) && !p.Overlaps(n.Services) && !p.Overlaps(n.Machines) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// kept is how many addresses of a network no machine gets: its own, the gateway's and the broadcast address. Some
// vendors keep more and say so themselves.
const kept = 3

func (l *loader) checkMachines() {
	p := l.cluster.Network.Machines
	if !p.IsValid() {
		return
	}
	if room := 1<<(32-p.Bits()) - kept; room < l.cluster.Machines() {
		l.report(diag.New(diag.RangeTooSmall, "%s has room for %d machines, and the file asks for %d.", p, max(room, 0), l.cluster.Machines()).
			At(l.cluster.at("network.machines"), "network").Next(larger(p, l.cluster.Machines()+kept, 32)))
	}
}

func (l *loader) checkPods() {
	n := l.cluster.Network
	at, in := l.cluster.at("network.pods", "network.node_bits"), "network"
	if at == nil {
		at, in = l.cluster.at("cluster"), l.cluster.in()
	}
	nodes := l.cluster.Machines()
	if !n.Pods.IsValid() || n.NodeBits == 0 {
		return
	}
	switch more := n.NodeBits - n.Pods.Bits(); {
	case more < 0 || 1<<more < nodes:
		room := 0
		if more >= 0 {
			room = 1 << more
		}
		l.report(diag.New(diag.RangeTooSmall, "Each node gets a range with a prefix of %d bits for its pods. %s has room for %d of them, and the file asks for %d machines.",
			n.NodeBits, n.Pods, room, nodes).At(at, in).Next(larger(n.Pods, nodes, n.NodeBits)))
	case more > 16:
		l.report(diag.New(diag.RangeTooLarge, "Kubernetes can split a range into at most 65536 parts for its nodes, and %s has 2^%d of the size %d.", n.Pods, more, n.NodeBits).
			At(at, in).Next(fmt.Sprintf("Write a range with a prefix of at least %d bits.", n.NodeBits-16)))
	}
}

// larger advises the smallest range around p that has so many parts with a prefix of so many bits.
func larger(p netip.Prefix, parts, bits int) string {
	for bits > 8 && parts > 1 {
		bits, parts = bits-1, (parts+1)/2
	}
	return fmt.Sprintf("A range of the size /%d is enough, for example %s.", bits, netip.PrefixFrom(p.Addr(), bits).Masked())
}

func (l *loader) checkServices() {
	p := l.cluster.Network.Services
	at := l.cluster.at("network.services")
	switch {
	case !p.IsValid():
	case p.Bits() > 28:
		l.report(diag.New(diag.RangeTooSmall, "%s has %d addresses for services, and the cluster's own already need those up to the tenth.", p, 1<<(32-p.Bits())).
			At(at, "network").Next("Write a range with a prefix of at most 28 bits; 16 is usual."))
	case p.Bits() < 12:
		l.report(diag.New(diag.RangeTooLarge, "Kubernetes takes a range of services with a prefix of at least 12 bits, and %s has %d.", p, p.Bits()).
			At(at, "network").Next("Write a range with a prefix from 12 to 28 bits; 16 is usual."))
	}
}
