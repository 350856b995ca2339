package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/provisionhq/provision/providers"
)

// networks are made in one step.
func networks(r *Rack) objects[providers.NetworkSpec, providers.Network] {
	return objects[providers.NetworkSpec, providers.Network]{
		rack: r, noun: "network",
		meta:  func(n *providers.Network) *providers.Meta { return &n.Meta },
		tags:  func(s providers.NetworkSpec) map[string]string { return s.Tags },
		build: r.buildNetwork,
		change: func(n *providers.Network, s providers.NetworkSpec) error {
			if s.CIDR.IsValid() && s.CIDR != n.CIDR {
				return fmt.Errorf("%w: the range of a network cannot be changed", providers.Invalid)
			}
			n.Allow, n.Zones = s.Allow, s.Zones
			return checkRules(s.Allow)
		},
		start: func(*providers.Network) {},
		leave: func(n providers.Network) error {
			all, err := read[providers.Machine](r, "machine")
			if slices.ContainsFunc(all, func(m providers.Machine) bool { return m.Network == n.ID }) {
				return fmt.Errorf("%w: there are machines in it", providers.Conflict)
			}
			return err
		},
	}
}

func (r *Rack) buildNetwork(s providers.NetworkSpec, _ providers.ID) (providers.Network, error) {
	n := providers.Network{CIDR: s.CIDR, Zones: s.Zones, Allow: s.Allow}
	if s.CIDR.IsValid() {
		if s.CIDR.Masked() != s.CIDR || s.CIDR.Addr().BitLen()-s.CIDR.Bits() < 3 {
			return n, fmt.Errorf("range %s: %w: it must be the first address of a range with room for machines", s.CIDR, providers.Invalid)
		}
		return n, checkRules(s.Allow)
	}
	all, err := read[providers.Network](r, "network")
	if err != nil {
		return n, err
	}
	for i := range 256 {
		n.CIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(i), 0}), 24)
		if !slices.ContainsFunc(all, func(o providers.Network) bool { return o.CIDR.Overlaps(n.CIDR) }) {
			return n, checkRules(s.Allow)
		}
	}
	return n, fmt.Errorf("%w: all ranges of 10.77.0.0/16 are in use", providers.Quota)
}

func checkRules(rules []providers.Rule) error {
	for _, r := range rules {
		if r.Port < 1 || r.Port > 65535 || r.Protocol != "tcp" && r.Protocol != "udp" {
			return fmt.Errorf("rule %q: %w: there is no port %d of protocol %q", r.Name, providers.Invalid, r.Port, r.Protocol)
		}
	}
	return nil
}

// machines are made in two steps, put into the rack and switched on, and have types besides.
type machines struct {
	objects[providers.MachineSpec, providers.Machine]
}

// Types returns the sizes of machine.
func (machines) Types(context.Context) ([]providers.MachineType, error) {
	return []providers.MachineType{
		{Name: "1u", CPUs: 16000, MemoryMiB: 64 << 10, DiskGiB: 480, Arch: "amd64"},
		{Name: "2u", CPUs: 64000, MemoryMiB: 512 << 10, DiskGiB: 3840, Arch: "amd64"},
	}, nil
}

func machineObjects(r *Rack) objects[providers.MachineSpec, providers.Machine] {
	return objects[providers.MachineSpec, providers.Machine]{
		rack: r, noun: "machine", steps: true,
		meta:  func(m *providers.Machine) *providers.Meta { return &m.Meta },
		tags:  func(s providers.MachineSpec) map[string]string { return s.Tags },
		build: r.buildMachine,
		change: func(m *providers.Machine, s providers.MachineSpec) error {
			if s.Type != m.Type || s.Network != m.Network || s.Image != "" && s.Image != m.Image || s.DiskGiB > m.DiskGiB || s.Zone != "" || s.Spot {
				return fmt.Errorf("%w: a machine in the rack stays what it is, but for its pool and tags", providers.Invalid)
			}
			m.Pool = s.Pool
			return nil
		},
		start: func(m *providers.Machine) { m.State = providers.Running },
		leave: func(providers.Machine) error { return nil },
	}
}

func (r *Rack) buildMachine(s providers.MachineSpec, id providers.ID) (m providers.Machine, err error) {
	types, _ := machines{}.Types(context.Background())
	t := slices.IndexFunc(types, func(t providers.MachineType) bool { return t.Name == s.Type })
	switch {
	case t < 0:
		return m, fmt.Errorf("type %q: %w: there is none of that name", s.Type, providers.Invalid)
	case s.Zone != "":
		return m, fmt.Errorf("zone %q: %w: a rack has no zones", s.Zone, providers.Invalid)
	case s.Spot:
		return m, fmt.Errorf("spot machine: %w", providers.Unsupported)
	case s.DiskGiB < 0 || s.DiskGiB > types[t].DiskGiB:
		return m, fmt.Errorf("disk of %d GiB: %w: %s has %d", s.DiskGiB, providers.Invalid, s.Type, types[t].DiskGiB)
	}
	n, err := networks(r).find(s.Network)
	if err != nil || n.Owner != s.Owner {
		return m, fmt.Errorf("network %q: %w", s.Network, providers.NotFound)
	}
	all, err := read[providers.Machine](r, "machine")
	if err != nil {
		return m, err
	}
	if r.slots > 0 && len(all) >= r.slots {
		return m, fmt.Errorf("%w: all %d slots of the rack are taken", providers.Quota, r.slots)
	}
	addr := n.CIDR.Addr().Next().Next() // the first is the router's
	for slices.ContainsFunc(all, func(m providers.Machine) bool { return m.Network == n.ID && m.Private == addr }) {
		addr = addr.Next()
	}
	if !n.CIDR.Contains(addr.Next()) {
		return m, fmt.Errorf("%w: all addresses of %s are in use", providers.Quota, n.CIDR)
	}
	m = providers.Machine{Pool: s.Pool, Network: s.Network, Type: s.Type, Image: s.Image, DiskGiB: types[t].DiskGiB, State: providers.Pending,
		NodeID: name + "://" + string(id), Private: addr, User: s.User}
	if m.Image == "" {
		m.Image = "debian-12"
	}
	if m.User == "" {
		m.User = "root"
	}
	return m, nil
}
