package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/templates"
)

// ask asks the scouts: first all put up their listeners, then all try each other's ports, and then look who came by.
func (e *examination) ask(ctx context.Context) {
	part := func(do func(context.Context, *subject)) {
		e.each(ctx, len(e.subjects)+1, e.o.Patience, func(ctx context.Context, s *subject) {
			if s.scout != nil {
				do(ctx, s)
			}
		})
	}
	part(e.listen)
	part(func(ctx context.Context, s *subject) {
		var all sync.WaitGroup
		for _, do := range []func(context.Context, *subject){e.reach, e.timeDisk, e.askNames, e.paths} {
			all.Go(func() { do(ctx, s) })
		}
		all.Wait()
		e.readClock(ctx, s)
	})
	part(func(ctx context.Context, s *subject) {
		s.heard = map[netip.Addr]bool{}
		s.try(ctx, "who came by", func(w string) {
			if a, err := netip.ParseAddr(w); err == nil {
				s.heard[a.Unmap()] = true
			}
		}, "heard")
	})
}

// everything is what needs the scout.
const everything = "ports, paths, disk and clock"

func (s *subject) skip(part, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped = append(s.skipped, part+": "+why)
}

// try asks the scout; a failure is a part that was not examined.
func (s *subject) try(ctx context.Context, part string, each func(string), verb string, args ...string) (string, bool) {
	words, err := s.scout.Ask(ctx, each, verb, args...)
	if err != nil {
		s.skip(part, strings.TrimPrefix(err.Error(), s.Name+": "))
		return "", false
	}
	return words, true
}

// clockReadings is how often a clock is read: that with the shortest way tells most.
const clockReadings = 5

func (e *examination) readClock(ctx context.Context, s *subject) {
	for range clockReadings {
		sent := time.Now()
		words, err := s.scout.Ask(ctx, nil, "clock")
		come := time.Now()
		ns, state, _ := strings.Cut(words, " ")
		n, perr := strconv.ParseInt(ns, 10, 64)
		if err != nil || perr != nil {
			return // the survey's reading stays
		}
		s.timekeeper = state
		if o := between(sent, come, time.Unix(0, n)); !s.offset.known || o.error < s.offset.error {
			s.offset = o
		}
	}
}

// Ports that nodes need open to each other, by the role of the one that has them. Role "" stands for both.
func (s *subject) controlPlane() bool { return s.Role != templates.Worker }

const (
	overlayPort = 8472
	kubeletPort = 10250
)

// nodePorts are a sample of the ports that Services of type NodePort get.
func nodePorts() []int { return []int{30080, 31500, 32767} }

func (s *subject) tcpPorts() []int {
	ports := append([]int{kubeletPort}, nodePorts()...)
	if s.controlPlane() {
		ports = append(ports, templates.APIPort, 2379, 2380)
	}
	return ports
}

// needs says whether s has to reach that port of another.
func (s *subject) needs(port int) bool {
	switch port {
	case 2379, 2380, kubeletPort:
		return s.controlPlane()
	}
	return true
}

func (e *examination) listen(ctx context.Context, s *subject) {
	s.ports = map[string]string{}
	if !s.Address.IsValid() {
		return
	}
	s.try(ctx, "network interfaces", func(w string) { s.links = append(s.links, parseLink(w)) }, "links")
	args := []string{s.Address.String(), e.token, fmt.Sprint("udp/", overlayPort)}
	for _, p := range s.tcpPorts() {
		args = append(args, fmt.Sprint("tcp/", p))
	}
	s.try(ctx, "listeners", func(w string) {
		port, how, _ := strings.Cut(w, " ")
		s.ports[port] = how
	}, "listen", args...)
}

func parseLink(words string) link {
	w := strings.Fields(words)
	if len(w) < 3 {
		return link{}
	}
	l := link{name: w[0], mac: w[2]}
	l.mtu, _ = strconv.Atoi(w[1])
	for _, a := range w[3:] {
		if p, err := netip.ParsePrefix(a); err == nil {
			l.addrs = append(l.addrs, p)
		}
	}
	return l
}

// own returns the interface that has the host's address.
func (s *subject) own() (link, bool) {
	for _, l := range s.links {
		if slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Addr() == s.Address }) {
			return l, true
		}
	}
	return link{}, false
}

// reach tries the ports of all others, then the sizes of packets to those that answer datagrams.
func (e *examination) reach(ctx context.Context, s *subject) {
	args, peers := []string{e.token}, map[netip.Addr]bool{}
	for _, p := range e.subjects {
		if p == s || p.scout == nil || p.Address == s.Address {
			continue
		}
		for _, port := range p.tcpPorts() {
			state := p.ports[fmt.Sprint("tcp/", port)]
			if !s.needs(port) || state != "ok" && state != "busy" {
				continue
			}
			t := fmt.Sprint(p.Address, "/tcp/", port)
			if state == "busy" {
				t += "/any"
			}
			args = append(args, t)
		}
		if p.ports[fmt.Sprint("udp/", overlayPort)] == "ok" {
			args, peers[p.Address] = append(args, fmt.Sprint(p.Address, "/udp/", overlayPort)), true
		}
	}
	if len(args) == 1 {
		return
	}
	_, ok := s.try(ctx, "ports of other hosts", func(w string) {
		t, how, _ := strings.Cut(w, " ")
		if m, ok := parseMiss(t, how); ok {
			s.misses = append(s.misses, m)
			if m.proto == "udp" {
				delete(peers, m.peer)
			}
		}
	}, "reach", args...)
	if l, own := s.own(); ok && own && len(peers) > 0 {
		e.measure(ctx, s, l.mtu, peers)
	}
}

// pathTries is how often a packet is sent again before it is taken for too large.
const pathTries = 3

func (e *examination) measure(ctx context.Context, s *subject, size int, peers map[netip.Addr]bool) {
	args := []string{e.token, fmt.Sprint(overlayPort), fmt.Sprint(size), fmt.Sprint(pathTries)}
	for p := range peers {
		args = append(args, p.String())
	}
	s.mtus = map[netip.Addr]int{}
	s.try(ctx, "packet sizes", func(w string) {
		peer, n, _ := strings.Cut(w, " ")
		a, err := netip.ParseAddr(peer)
		if size, err2 := strconv.Atoi(n); err == nil && err2 == nil {
			s.mtus[a] = size
		}
	}, "mtu", args...)
}

func parseMiss(target, how string) (miss, bool) {
	p := strings.Split(target, "/")
	if len(p) != 3 {
		return miss{}, false
	}
	addr, err := netip.ParseAddr(p[0])
	port, err2 := strconv.Atoi(p[2])
	return miss{addr, p[1], port, how}, err == nil && err2 == nil
}

// paths sees which folders can be written to.
func (e *examination) paths(ctx context.Context, s *subject) {
	s.unwritable = map[string]string{}
	s.try(ctx, "folders", func(w string) {
		dir, why, _ := strings.Cut(w, " ")
		s.unwritable[dir] = why
	}, "write", "/etc", "/opt/provision", "/usr/local/bin", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", "/var/log")
}

func (e *examination) timeDisk(ctx context.Context, s *subject) {
	if !s.controlPlane() {
		return
	}
	words, ok := s.try(ctx, "disk", nil, "disk", "/var/lib/etcd", e.o.DiskTime.String())
	w := strings.Fields(words)
	if !ok || len(w) != 4 {
		return
	}
	us := func(s string) time.Duration {
		n, _ := strconv.ParseInt(s, 10, 64)
		return time.Duration(n) * time.Microsecond
	}
	s.disk = &diskTime{us(w[1]), us(w[2]), us(w[3])}
}

// nameservers are those that pods will ask: the real ones behind a local stub.
func (s *subject) nameservers() []string {
	if up := s.facts["upstream"]; len(up) > 0 {
		return up
	}
	return s.facts["nameserver"]
}

func (e *examination) askNames(ctx context.Context, s *subject) {
	var mu sync.Mutex
	s.dns = map[string]string{}
	var all sync.WaitGroup
	for _, ns := range s.nameservers() {
		if net.ParseIP(ns) == nil {
			continue
		}
		all.Go(func() {
			_, err := s.scout.Ask(ctx, nil, "dns", ns, "kubernetes.io")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.dns[ns] = strings.TrimPrefix(err.Error(), s.Name+": dns: ")
			} else {
				s.dns[ns] = ""
			}
		})
	}
	all.Wait()
}
