package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/templates"
)

// A block is a port of a host that some others do not reach.
type block struct {
	proto string
	port  int
	how   string
}

// blocked tells what is blocked, once for each host and way, however many others it concerns.
func (e *examination) blocked(ss []*subject, r *[]Finding) {
	byAddr := map[netip.Addr]*subject{}
	for _, s := range ss {
		byAddr[s.Address] = s
	}
	from := map[*subject]map[block][]*subject{} // of a host that is not reached: by whom
	to := map[*subject]map[block][]*subject{}   // of a host that does not reach others: whom
	for _, s := range ss {
		for _, m := range s.misses {
			if t := byAddr[m.peer]; t != nil {
				b := block{m.proto, m.port, m.how}
				put(from, t, b, s)
				put(to, s, b, t)
			}
		}
	}
	for _, t := range ss {
		for _, b := range sortBlocks(from[t]) {
			by := from[t][b]
			by = slices.DeleteFunc(slices.Clone(by), func(s *subject) bool { return e.sendsNone(ss, s, b, to) && !e.hearsNone(ss, t, b, from) })
			if len(by) > 0 {
				e.blame(judge{&e.o, t, t.facts, r}, b, by)
			}
		}
		for _, b := range sortBlocks(to[t]) {
			if whom := to[t][b]; e.sendsNone(ss, t, b, to) && slices.ContainsFunc(whom, func(p *subject) bool { return !e.hearsNone(ss, p, b, from) }) {
				j := judge{&e.o, t, t.facts, r}
				j.find(PortBlocked, blockSeverity(b.port), fmt.Sprintf("The host does not reach %s %d of any other host (%s), while others do.", strings.ToUpper(b.proto), b.port, names(whom)), "Let its firewall pass what it sends.", j.open(b, "OUTPUT"))
			}
		}
	}
}

func put(m map[*subject]map[block][]*subject, s *subject, b block, other *subject) {
	if m[s] == nil {
		m[s] = map[block][]*subject{}
	}
	m[s][b] = append(m[s][b], other)
}

func sortBlocks(m map[block][]*subject) []block {
	return slices.SortedFunc(maps.Keys(m), func(a, b block) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.port, b.port), cmp.Compare(a.how, b.how))
	})
}

// sendsNone says whether s reaches that port of no host at all, of at least two.
func (e *examination) sendsNone(ss []*subject, s *subject, b block, to map[*subject]map[block][]*subject) bool {
	return len(to[s][b]) >= max(2, e.having(ss, s, b))
}

// hearsNone says whether no host reaches that port of t, of at least two that try.
func (e *examination) hearsNone(ss []*subject, t *subject, b block, from map[*subject]map[block][]*subject) bool {
	n := 0
	for _, s := range ss {
		if s != t && s.scout != nil && (b.proto == "udp" || s.needs(b.port)) {
			n++
		}
	}
	return n >= 2 && len(from[t][b]) >= n
}

// having counts the hosts other than s that have that port.
func (e *examination) having(ss []*subject, s *subject, b block) int {
	n := 0
	for _, t := range ss {
		if t != s && t.scout != nil && t.ports[fmt.Sprint(b.proto, "/", b.port)] != "" {
			n++
		}
	}
	return n
}

func names(ss []*subject) string {
	var ns []string
	for _, s := range ss {
		ns = append(ns, s.Name)
	}
	slices.Sort(ns)
	return some(ns)
}

func blockSeverity(port int) Severity {
	if slices.Contains(nodePorts(), port) {
		return Warning
	}
	return Error
}

// blame says that a port of the host is not reached. A listener was there, so it was not that nothing listens.
func (e *examination) blame(j judge, b block, by []*subject) {
	if b.proto == "udp" && e.o.Backend != "vxlan" {
		return
	}
	name := fmt.Sprintf("%s %d", strings.ToUpper(b.proto), b.port)
	if b.how == "stranger" {
		j.here(PortStranger, Error, fmt.Sprintf("When %s connect to %s of %s, another machine or program answers.", names(by), name, j.s.Address), "See who else has the address, or what is in between.", "ip neigh; arping -D "+j.s.Address.String()+"   # on one of them")
		return
	}
	why := map[string]string{
		"silent": "packets are dropped on the way, as a firewall does", "refused": "a firewall refuses it, as a program listened there meanwhile",
		"unreachable": "a firewall or router says that the host cannot be reached", "reset": "something in between ends connections",
		"forbidden": "their own firewall forbids it",
	}[b.how]
	if why == "" {
		why = b.how
	}
	open := j.open(b, "INPUT")
	if b.proto == "udp" && b.how == "silent" {
		if slices.ContainsFunc(by, func(s *subject) bool { return j.s.heard[s.Address] }) { // it has noted whose came
			why, open = "datagrams come, and the answers are dropped on their way back", strings.Replace(j.open(b, "OUTPUT"), "dport", "sport", 1)
		} else {
			why = "datagrams do not come, as they are dropped on the way"
		}
	}
	use := map[int]string{templates.APIPort: "the API", 2379: "etcd", 2380: "etcd", kubeletPort: "the kubelet", overlayPort: "the pod network"}[b.port]
	if use == "" {
		use = "Services of type NodePort"
	}
	j.find(PortBlocked, blockSeverity(b.port), fmt.Sprintf("%s (%s) is not reached from %s: %s.", name, use, names(by), why), "Open it between the cluster's machines.", open)
}

// open is the command by which the firewall of the host lets a port pass.
func (j judge) open(b block, chain string) string {
	switch {
	case j.f.has("firewall", "firewalld"):
		return fmt.Sprintf("firewall-cmd --permanent --add-port=%d/%s && firewall-cmd --reload", b.port, b.proto)
	case j.f.has("firewall", "ufw"):
		return fmt.Sprintf("ufw allow %d/%s", b.port, b.proto)
	}
	hook := strings.ToLower(chain)
	table, name := "", ""
	for _, l := range j.f["nft"] {
		w := strings.Fields(l)
		switch {
		case name != "" && table != "" && strings.Contains(l, "hook "+hook):
			return fmt.Sprintf("nft insert rule %s %s %s dport %d accept", table, name, b.proto, b.port)
		case len(w) >= 3 && w[0] == "table":
			table, name = w[1]+" "+w[2], ""
		case len(w) >= 2 && w[0] == "chain":
			name = w[1]
		}
	}
	if len(j.f["iptables"]) > 0 {
		return fmt.Sprintf("iptables -I %s -p %s --dport %d -j ACCEPT", chain, b.proto, b.port)
	}
	return fmt.Sprintf("nft list ruleset   # none of the host's own rules does it: look at the network's firewall, and open %s %d", b.proto, b.port)
}

// sizes tells of paths that lose large packets: of the host that they do not get to, if that is so for all others, else of
// the one that sends them.
func (e *examination) sizes(ss []*subject, r *[]Finding) {
	byAddr := map[netip.Addr]*subject{}
	for _, s := range ss {
		byAddr[s.Address] = s
	}
	to := map[*subject][]*subject{}
	for _, s := range ss {
		for a, n := range s.mtus {
			if p := byAddr[a]; p != nil && n > 0 {
				to[p] = append(to[p], s)
			}
		}
	}
	for _, s := range ss {
		if by := to[s]; len(by) >= max(2, e.measured(ss, s)) {
			e.small(judge{&e.o, s, s.facts, r}, by, "%s sent by "+names(by)+" do not get here")
		}
		var lost []*subject
		for _, p := range ss {
			if slices.Contains(to[p], s) && len(to[p]) < max(2, e.measured(ss, p)) {
				lost = append(lost, p)
			}
		}
		if len(lost) > 0 {
			e.small(judge{&e.o, s, s.facts, r}, []*subject{s}, "%s sent here do not get to "+names(lost))
		}
	}
}

// measured counts the hosts that tried how large packets to s may be.
func (e *examination) measured(ss []*subject, s *subject) int {
	n := 0
	for _, p := range ss {
		if p != s && p.mtus != nil {
			n++
		}
	}
	return n
}

// small reports packets from the given hosts that are too large.
func (e *examination) small(j judge, by []*subject, format string) {
	size, least := 0, 1<<16
	for _, s := range by {
		if l, ok := s.own(); ok {
			size = max(size, l.mtu)
		}
		for a, n := range s.mtus {
			if n > 0 && (len(by) == 1 || a == j.s.Address) {
				least = min(least, n)
			}
		}
	}
	dev := "DEVICE"
	if l, ok := j.s.own(); ok {
		dev = l.name
	}
	j.find(PathMTU, Error, fmt.Sprintf(format, fmt.Sprintf("Packets of %d bytes", size))+fmt.Sprintf(": at most %d do. Connections of pods would stall.", least),
		"Let the network carry them, or make them smaller on all hosts.", fmt.Sprintf("ip link set dev %s mtu %d", dev, least))
}
