package doctor

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/provisionhq/provision/templates"
)

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// mine says whether the machine is a node of the cluster that it is examined for.
func (j judge) mine() bool {
	n := j.f.belongs("node")
	return n != nil && j.s.UID != "" && n.UID == j.s.UID
}

func (j judge) names() {
	name := j.f.one("hostname")
	short, _, _ := strings.Cut(strings.ToLower(name), ".")
	switch {
	case !label.MatchString(short):
		j.find(BadHostname, Warning, fmt.Sprintf("The host name %q is not a DNS label: small letters, digits and hyphens.", name), "Give it another one.", "hostnamectl set-hostname "+j.s.Name)
		return
	case len(j.f["resolves"]) == 0:
		return // no way to ask
	}
	addrs := j.f.words("resolves")
	if len(addrs) == 0 {
		j.find(HostnameLost, Warning, fmt.Sprintf("The host name %s does not resolve on the host itself: sudo and some programs wait for it.", name), "Write it to /etc/hosts.", fmt.Sprintf("echo '%s %s' >>/etc/hosts", j.address(), name))
		return
	}
	for _, a := range addrs {
		ip, err := netip.ParseAddr(a)
		if err != nil || ip.IsLoopback() || ip == j.s.Address || ip.IsLinkLocalUnicast() || len(j.s.links) == 0 || j.hasAddress(ip) {
			return
		}
	}
	j.find(HostnameWrong, Warning, fmt.Sprintf("The host name %s resolves to %s, which is no address of the host.", name, strings.Join(addrs, ", ")), "Correct /etc/hosts, or the DNS.", "getent ahosts "+name+"; grep -n "+name+" /etc/hosts")
}

func (j judge) address() string {
	if j.s.Address.IsValid() {
		return j.s.Address.String()
	}
	return "127.0.1.1"
}

func (j judge) hasAddress(ip netip.Addr) bool {
	return slices.ContainsFunc(j.s.links, func(l link) bool {
		return slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Addr() == ip })
	})
}

func (j judge) nameservers() {
	all := j.s.nameservers()
	if len(all) == 0 {
		j.find(NoNameserver, Warning, "/etc/resolv.conf names no name server: pods find no name outside of the cluster.", "Name one.", "echo 'nameserver ADDRESS' >>/etc/resolv.conf")
		return
	}
	var dead, loop []string
	for _, ns := range all {
		ip, err := netip.ParseAddr(ns)
		switch {
		case err == nil && ip.IsLoopback():
			loop = append(loop, ns)
		case j.s.dns[ns] != "":
			dead = append(dead, ns)
		}
	}
	if len(loop) > 0 {
		j.here(NameserverLoop, Warning, fmt.Sprintf("The name server is %s, the host itself: in a pod that is the pod, and the cluster's DNS would ask itself.", strings.Join(loop, ", ")), "Name the server behind it in /etc/resolv.conf, or let systemd-resolved do it: it keeps the real ones in /run/systemd/resolve/resolv.conf.")
	}
	if len(dead) > 0 {
		sev := Warning
		if len(dead) == len(all) {
			sev = Note // a network without a way out; nodes fetch nothing
		}
		j.find(NameserverDead, sev, fmt.Sprintf("The name server %s does not answer (%s)%s.", strings.Join(dead, ", "), j.s.dns[dead[0]], map[bool]string{true: ", and there is no other: pods find no name outside of the cluster"}[sev == Note]),
			"Correct /etc/resolv.conf, or let the server answer.", "cat /etc/resolv.conf")
	}
}

// belonging finds what others have left on the machine.
func (j judge) belonging() {
	if j.mine() {
		return
	}
	reset := "node-agent reset"
	if n := j.f.belongs("node"); n != nil {
		j.find(OtherCluster, Error, fmt.Sprintf("The machine is node %s of another cluster, %s.", n.Name, n.Cluster), "If that cluster is not needed any more, take the machine out of it. What it holds is lost.", reset)
		return
	}
	if c := j.f.belongs("claim"); c != nil && c.Owner != j.o.Cluster {
		j.here(OtherCluster, Error, fmt.Sprintf("The host is claimed as %s by another cluster, %s.", c.Name, c.Owner), "If that cluster is not needed any more, destroy it: that gives its hosts back.")
		return
	}
	ours := slices.ContainsFunc(j.f["left"], func(p string) bool {
		return strings.Contains(p, "node-agent") || strings.HasPrefix(p, "/opt/provision/")
	})
	theirs := slices.DeleteFunc(slices.Clone(j.f["left"]), func(p string) bool {
		return strings.Contains(p, "node-agent") || strings.HasPrefix(p, "/opt/provision/")
	})
	links := slices.DeleteFunc(slices.Clone(j.f["left-link"]), func(l string) bool { return l == "docker0" })
	if len(j.f["left-mounts"]) > 0 {
		links = append(links, j.f.one("left-mounts")+" mounts of pods")
	}
	state := slices.ContainsFunc(theirs, func(p string) bool { return p == "/var/lib/etcd/member" || strings.HasSuffix(p, "/pki") })
	what := strings.Join(append(theirs, links...), ", ")
	switch {
	case ours && (len(theirs) > 0 || len(links) > 0):
		j.find(HalfWiped, Error, "A node was taken away only in part; there are still "+what+".", "Take the rest away. What it holds is lost.", "node-agent reset; rm -rf /etc/kubernetes /var/lib/etcd/member /var/lib/kubelet/pki")
	case state || len(theirs) > 0:
		run := []string{"kubeadm reset -f; rm -rf /etc/kubernetes /var/lib/etcd/member /var/lib/kubelet /etc/cni/net.d"}
		j.find(LeftOver, Error, "A cluster was here: there are "+what+".", "If it is not needed any more, take it away. What it holds is lost.", run...)
	case len(links) > 0:
		j.find(LeftOver, Warning, "A cluster was here: there are "+what+".", "Boot the machine again, or remove them.", "reboot")
	}
	j.runtimes()
}

func (j judge) runtimes() {
	runs := slices.DeleteFunc(slices.Clone(j.f["runs"]), func(p string) bool { return p == "node-agent" })
	if len(runs) > 0 {
		j.find(RuntimeRuns, Error, "There run "+strings.Join(runs, ", ")+": two of their kind on one machine disturb each other.", "Stop and disable them, if nothing needs them.", "systemctl disable --now "+strings.Join(runs, " "))
	}
}

func (j judge) ports() {
	if j.mine() {
		return
	}
	wanted := []int{kubeletPort, 7443, 10256}
	if j.s.controlPlane() {
		wanted = append(wanted, templates.APIPort, 2379, 2380, 2381, 10257, 10259)
	}
	open := j.f.listening()
	for _, p := range wanted {
		who, taken := open[p]
		if !taken {
			continue
		}
		if who == "" {
			who = "Another program"
		}
		j.find(PortTaken, Error, fmt.Sprintf("%s listens on port %d, which a node needs for itself.", who, p), "Stop it, or let it use another port.", fmt.Sprintf("ss -ltnp 'sport = :%d'", p))
	}
}

// ours are interfaces that a node of this cluster makes itself.
func ours(dev string) bool {
	return dev == "cni0" || strings.HasPrefix(dev, "flannel") || strings.HasPrefix(dev, "veth") || dev == "lo"
}

// ranges finds addresses and routes of the machine that are inside of what pods and services are to have.
func (j judge) ranges() {
	mine := j.mine()
	for _, r := range []struct {
		name   string
		prefix netip.Prefix
	}{{"pods", j.o.Pods}, {"services", j.o.Services}} {
		if !r.prefix.IsValid() {
			continue
		}
		var with []string
		for _, l := range j.s.links {
			for _, a := range l.addrs {
				if !ours(l.name) && a.Masked().Overlaps(r.prefix) {
					with = append(with, fmt.Sprintf("address %s of %s", a, l.name))
				}
			}
		}
		for _, rt := range j.f.routes() {
			if !ours(rt.dev) && !mine && rt.to.Overlaps(r.prefix) && !slices.ContainsFunc(with, func(w string) bool { return strings.HasSuffix(w, " of "+rt.dev) }) {
				with = append(with, fmt.Sprintf("route %s by %s", rt.to, rt.dev))
			}
		}
		for _, ns := range j.s.nameservers() {
			if ip, err := netip.ParseAddr(ns); err == nil && r.prefix.Contains(ip) {
				with = append(with, "name server "+ns)
			}
		}
		if len(with) > 0 {
			j.here(RangeConflict, Error, fmt.Sprintf("The range of %s, %s, holds the host's %s.", r.name, r.prefix, strings.Join(with, ", ")), fmt.Sprintf("Choose another range in the file: network { %s = … }.", r.name))
		}
	}
	j.ownAddress()
}

func (j judge) ownAddress() {
	if !j.s.Address.IsValid() || len(j.s.links) == 0 {
		return
	}
	if !j.hasAddress(j.s.Address) {
		j.find(AddressForeign, Error, fmt.Sprintf("No interface of the host has the address %s by which the others are to reach it.", j.s.Address), "Give the host's own address, not that of a gateway in front of it.", "ip -br address")
		return
	}
	if j.o.Machines.IsValid() && !j.o.Machines.Contains(j.s.Address) {
		j.here(OutsideRange, Warning, fmt.Sprintf("The address %s is not in the machines' range, %s.", j.s.Address, j.o.Machines), "Correct the range in the file: network { machines = … }.")
	}
}

// firewall finds rules that drop packets. What they drop of what is needed shows in the ports.
func (j judge) firewall() {
	active := j.f["firewall"]
	if len(active) > 0 {
		j.find(FirewallActive, Warning, strings.Join(active, ", ")+" is active: it removes a node's own rules when it is loaded again.", "Switch it off, or let it pass what nodes need (see docs/doctor.md).", stopFirewall(active[0]))
		return
	}
	drops := nftDrops(j.f["nft"])
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, r := range j.f[family] {
			drops = append(drops, drop{family + " " + r, strings.Contains(r, "FORWARD")})
		}
	}
	for _, forwards := range []bool{true, false} {
		var rules []string
		for _, d := range drops {
			if d.forwards == forwards && !slices.Contains(rules, d.rule) {
				rules = append(rules, d.rule)
			}
		}
		if len(rules) == 0 {
			continue
		}
		sev, what := Note, "packets to the host"
		if forwards {
			sev, what = Warning, "packets that the host passes on, as those of pods are"
		}
		more := ""
		if len(rules) > 3 {
			more, rules = fmt.Sprintf(" and %d more", len(rules)-3), rules[:3]
		}
		j.find(FirewallDrops, sev, fmt.Sprintf("A firewall drops %s: %s%s.", what, strings.Join(rules, "; "), more), "Let it pass what nodes and pods send (see docs/doctor.md).", "nft list ruleset")
	}
}

func stopFirewall(which string) string {
	if which == "ufw" {
		return "ufw disable"
	}
	return "systemctl disable --now " + which
}

// A drop is a rule that drops or rejects.
type drop struct {
	rule     string
	forwards bool
}

// nftDrops finds them in what nft lists: policies of base chains, and rules in chains that are, or may be jumped to from, one.
func nftDrops(lines []string) []drop {
	var ds []drop
	var table, chain, hook string
	for _, l := range lines {
		w := strings.Fields(l)
		switch {
		case len(w) >= 3 && w[0] == "table":
			table, chain, hook = w[1]+" "+w[2], "", ""
		case len(w) >= 2 && w[0] == "chain":
			chain, hook = w[1], ""
		case len(w) > 3 && w[0] == "type" && slices.Contains(w, "hook"):
			hook = w[slices.Index(w, "hook")+1]
			if strings.Contains(l, "policy drop") && filters(hook) {
				ds = append(ds, drop{fmt.Sprintf("table %s chain %s has the policy drop", table, chain), hook == "forward"})
			}
		case chain != "" && filters(hook) && slices.ContainsFunc(w, func(s string) bool { return s == "drop" || s == "reject" }):
			ds = append(ds, drop{fmt.Sprintf("table %s chain %s: %s", table, chain, strings.TrimSpace(l)), hook == "forward" || hook == "" && strings.Contains(strings.ToLower(chain), "forward")})
		}
	}
	return ds
}

func filters(hook string) bool {
	return slices.Contains([]string{"", "input", "forward", "output", "ingress", "prerouting"}, hook)
}
