package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// together finds what is wrong between hosts.
func (e *examination) together(r *[]Finding) {
	var ss []*subject
	for _, s := range e.subjects {
		if s.failure == nil && s.facts.one("uid") == "0" {
			ss = append(ss, s)
		}
	}
	e.duplicates(ss, r)
	e.clocks(ss, r)
	e.differ(ss, r)
	e.blocked(ss, r)
	e.sizes(ss, r)
}

// groups puts subjects together that share something.
func groups(ss []*subject, key func(*subject) []string) map[string][]*subject {
	all := map[string][]*subject{}
	for _, s := range ss {
		for _, k := range key(s) {
			if k != "" && !slices.Contains(all[k], s) {
				all[k] = append(all[k], s)
			}
		}
	}
	maps.DeleteFunc(all, func(_ string, g []*subject) bool { return len(g) < 2 })
	return all
}

// shared reports each member of each group, with the others.
func (e *examination) shared(r *[]Finding, g map[string][]*subject, find func(j judge, what string, others string)) {
	for _, k := range slices.Sorted(maps.Keys(g)) {
		for _, s := range g[k] {
			var others []string
			for _, o := range g[k] {
				if o != s {
					others = append(others, o.Name)
				}
			}
			find(judge{&e.o, s, s.facts, r}, k, some(others))
		}
	}
}

// some names at most five.
func some(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:4], ", ") + fmt.Sprintf(" and %d more", len(names)-4)
	}
	return strings.Join(names, ", ")
}

// physical are interfaces that may have an address of hardware that the network sees.
func (s *subject) macs() []string {
	if l, ok := s.own(); ok && l.mac != "-" {
		return []string{l.mac}
	}
	return nil
}

func (e *examination) duplicates(ss []*subject, r *[]Finding) {
	same := groups(ss, func(s *subject) []string {
		if len(s.macs()) == 0 || s.facts.one("boot") == "" {
			return nil
		}
		return []string{s.facts.one("boot") + " " + s.macs()[0]}
	})
	twice := map[*subject]bool{}
	for _, g := range same {
		for _, s := range g {
			twice[s] = true
		}
	}
	e.shared(r, same, func(j judge, _, others string) {
		j.here(SameHost, Error, "This is the same machine as "+others+", under another address.", "Take all but one of them out of the file or the inventory.")
	})
	rest := slices.DeleteFunc(slices.Clone(ss), func(s *subject) bool { return twice[s] })
	e.shared(r, groups(ss, func(s *subject) []string {
		if !s.Address.IsValid() {
			return nil
		}
		return []string{s.Address.String()}
	}), func(j judge, addr, others string) {
		j.here(SameAddress, Error, "The address "+addr+" is also that of "+others+".", "Give each host its own.")
	})
	e.shared(r, groups(rest, func(s *subject) []string { return s.facts["hostkey"] }), func(j judge, _, others string) {
		j.find(SameHostKey, Warning, "The SSH host key is also that of "+others+": each can pass for the other.", "The disk was copied. Make new keys, then tell them to the inventory.", "rm /etc/ssh/ssh_host_*; ssh-keygen -A && systemctl restart ssh sshd")
	})
	e.shared(r, groups(rest, func(s *subject) []string { return []string{s.facts.one("machine")} }), func(j judge, id, others string) {
		j.find(SameMachineID, Warning, "The machine ID "+id+" is also that of "+others+": they get the same address by DHCP, and logs mix them up.", "The disk was copied. Make a new one and boot.", "rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup && reboot")
	})
	e.shared(r, groups(rest, (*subject).macs), func(j judge, mac, others string) {
		j.here(SameMAC, Error, "The hardware address "+mac+" is also that of "+others+": their network cannot tell them apart.", "Give the virtual machine a new one where it is defined.")
	})
	e.shared(r, groups(rest, func(s *subject) []string { return []string{s.facts.one("hostname")} }), func(j judge, name, others string) {
		j.find(SameHostname, Warning, "The host name "+name+" is also that of "+others+".", "Give each its own.", "hostnamectl set-hostname "+j.s.Name)
	})
}

const (
	wrongClock = time.Minute            // against here: certificates are not valid yet, or no longer
	skewed     = 500 * time.Millisecond // between hosts: etcd complains from a second on
)

// clocks compares clocks with each other and with ours. What may be due to the way there does not count.
func (e *examination) clocks(ss []*subject, r *[]Finding) {
	var offs []time.Duration
	for _, s := range ss {
		if s.offset.known {
			offs = append(offs, s.offset.by)
		}
	}
	if len(offs) == 0 {
		return
	}
	slices.Sort(offs)
	middle := offs[(len(offs)-1)/2]
	here := len(offs) > 1 && middle.Abs() > wrongClock && offs[len(offs)-1]-offs[0] < wrongClock
	if here {
		*r = append(*r, Finding{ID: ClockHere, Severity: Error, Host: "(here)", What: fmt.Sprintf("All hosts agree that the clock of this computer is %s: certificates that are made here would not be valid there.", ahead(-middle)),
			Mend: "Set it.", Run: []string{"timedatectl set-ntp true; date"}})
	}
	for _, s := range ss {
		j := judge{&e.o, s, s.facts, r}
		if !s.offset.known {
			continue
		}
		fromHere, fromOthers := s.offset.by.Abs()-s.offset.error, (s.offset.by-middle).Abs()-s.offset.error
		switch {
		case !here && fromHere > wrongClock:
			j.find(ClockWrong, Error, fmt.Sprintf("The clock is %s: certificates are not valid there.", ahead(s.offset.by)), "Set it, and keep it right.", j.install("chrony", "chrony")+" && chronyc makestep; date")
		case len(offs) > 1 && fromOthers > skewed:
			j.find(ClockSkew, Warning, fmt.Sprintf("The clock is %s, compared with the other hosts (measured to ±%v).", ahead(s.offset.by-middle), s.offset.error.Round(time.Millisecond)), "Keep all clocks right.", j.install("chrony", "chrony")+" && chronyc makestep; date")
		case s.timekeeper == "free" && len(s.facts["timekeeper"]) == 0:
			j.find(ClockFree, Note, "The clock is right now, and nothing keeps it so.", "Install something that does.", j.install("chrony", "chrony"))
		}
	}
}

func ahead(d time.Duration) string {
	word := "ahead"
	if d < 0 {
		word = "behind"
	}
	to := time.Millisecond
	if d.Abs() > 10*time.Second {
		to = time.Second
	}
	return d.Abs().Round(to).String() + " " + word
}

// differ finds what should be alike.
func (e *examination) differ(ss []*subject, r *[]Finding) {
	e.odd(ss, r, func(s *subject) string { return s.facts.one("zone") }, func(j judge, mine, most string) {
		j.find(ZonesDiffer, Note, fmt.Sprintf("The time zone is UTC%s; most hosts have UTC%s: logs are harder to compare.", mine, most), "Give all hosts the same.", "timedatectl set-timezone UTC")
	})
	if e.o.Arch == "" {
		e.odd(ss, r, func(s *subject) string { return goArch(s.facts.one("arch")) }, func(j judge, mine, most string) {
			j.here(MixedArch, Warning, fmt.Sprintf("The machine is %s, most are %s: each needs a bundle of its own, and images for both.", mine, most), "Use machines of one architecture, or see that all images exist for both.")
		})
	}
	e.odd(ss, r, func(s *subject) string {
		if l, ok := s.own(); ok {
			return fmt.Sprint(l.mtu)
		}
		return ""
	}, func(j judge, mine, most string) {
		l, _ := j.s.own()
		j.find(MTUsDiffer, Warning, fmt.Sprintf("%s carries packets of %s bytes, those of most hosts %s.", l.name, mine, most), "Give all the same.", fmt.Sprintf("ip link set dev %s mtu %s", l.name, most))
	})
	if e.o.Backend == "host-gw" {
		e.segment(ss, r)
	}
}

// odd reports those that are not as most are.
func (e *examination) odd(ss []*subject, r *[]Finding, of func(*subject) string, find func(j judge, mine, most string)) {
	count := map[string]int{}
	for _, s := range ss {
		if v := of(s); v != "" {
			count[v]++
		}
	}
	if len(count) < 2 {
		return
	}
	most := slices.MaxFunc(slices.Sorted(maps.Keys(count)), func(a, b string) int { return cmp.Compare(count[a], count[b]) })
	for _, s := range ss {
		if v := of(s); v != "" && v != most {
			find(judge{&e.o, s, s.facts, r}, v, most)
		}
	}
}

// segment finds hosts that do not see the others without a router, which routes to pods need.
func (e *examination) segment(ss []*subject, r *[]Finding) {
	for _, s := range ss {
		l, ok := s.own()
		if !ok {
			continue
		}
		var far []string
		for _, o := range ss {
			near := slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Masked().Contains(o.Address) })
			if o != s && o.Address.IsValid() && !near {
				far = append(far, o.Name)
			}
		}
		if len(far) > 0 {
			judge{&e.o, s, s.facts, r}.here(NotOneSegment, Error, "There is a router between the host and "+some(far)+"; the backend host-gw needs one network segment.", `Write backend = "vxlan" in the file's network block.`)
		}
	}
}
