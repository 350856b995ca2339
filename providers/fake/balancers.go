package fake

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/provisionhq/provision/providers"
)

// balancerKind is made by three sub-calls: the address, the ports, the targets.
func balancerKind(caps providers.Caps) kind[providers.LoadBalancerSpec, providers.LoadBalancer] {
	return kind[providers.LoadBalancerSpec, providers.LoadBalancer]{
		noun:  providers.BalancerNoun,
		steps: 3,
		pick:  balancerTable,
		meta:  func(b *providers.LoadBalancer) *providers.Meta { return &b.Meta },
		clone: cloneBalancer,
		build: func(s *state, spec providers.LoadBalancerSpec, id providers.ID) (providers.LoadBalancer, error) {
			b, err := buildBalancer(s, spec, caps.UDP)
			if err == nil {
				b.Address, err = s.balancerAddress(spec, string(id))
			}
			return b, err
		},
		tags:   func(s providers.LoadBalancerSpec) map[string]string { return s.Tags },
		update: updateBalancer(caps.UDP),
		leave:  free[providers.LoadBalancer],
	}
}

func cloneBalancer(b providers.LoadBalancer) providers.LoadBalancer {
	b.Tags, b.Ports = maps.Clone(b.Tags), slices.Clone(b.Ports)
	b.Targets, b.Sources = slices.Clone(b.Targets), slices.Clone(b.Sources)
	return b
}

// buildBalancer returns what the spec asks for, without Meta and Address.
func buildBalancer(s *state, spec providers.LoadBalancerSpec, udp bool) (b providers.LoadBalancer, err error) {
	if _, err := s.network(spec.Owner, spec.Network); err != nil {
		return b, err
	}
	for _, p := range spec.Ports {
		if err := checkBalancerPort(p, udp); err != nil {
			return b, err
		}
	}
	for _, t := range spec.Targets {
		if m, ok := s.machines.rows[t]; !ok || m.Object.Network != spec.Network {
			return b, fmt.Errorf("target %q: %w: no machine of the network", t, providers.NotFound)
		}
	}
	targets := slices.Clone(spec.Targets)
	slices.Sort(targets)
	return providers.LoadBalancer{
		Network:  spec.Network,
		Internal: spec.Internal,
		Ports:    slices.Clone(spec.Ports),
		Targets:  slices.Compact(targets),
		Sources:  slices.Clone(spec.Sources),
	}, nil
}

func checkBalancerPort(p providers.BalancerPort, udp bool) error {
	switch {
	case p.Protocol == "udp" && !udp:
		return fmt.Errorf("port %d: %w: udp", p.Port, providers.Unsupported)
	case p.Protocol != "tcp" && p.Protocol != "udp":
		return fmt.Errorf("port %d: %w: protocol %q is neither tcp nor udp", p.Port, providers.Invalid, p.Protocol)
	}
	for _, n := range []int{p.Port, p.TargetPort, max(p.HealthPort, 1)} {
		if err := checkPort(n); err != nil {
			return err
		}
	}
	return nil
}

// balancerAddress returns the address that the spec asks for, or one that is free.
func (s *state) balancerAddress(spec providers.LoadBalancerSpec, seed string) (netip.Addr, error) {
	in, pool := providers.ID(""), publicRange()
	if spec.Internal {
		in, pool = spec.Network, s.networks.rows[spec.Network].Object.CIDR
	}
	switch {
	case !spec.Address.IsValid():
		return s.freeAddress(in, pool, seed)
	case spec.Internal && !pool.Contains(spec.Address):
		return netip.Addr{}, fmt.Errorf("address %s: %w: it is not in %s", spec.Address, providers.Invalid, pool)
	case s.taken[place{in, spec.Address}]:
		return netip.Addr{}, fmt.Errorf("address %s: %w: it is taken", spec.Address, providers.Conflict)
	}
	return spec.Address, nil
}

// addressOf returns where the balancer is.
func addressOf(b providers.LoadBalancer) place {
	if b.Internal {
		return place{b.Network, b.Address}
	}
	return place{"", b.Address}
}

// updateBalancer changes all but the network, the side and the address, which stay for the balancer's life.
func updateBalancer(udp bool) func(*state, *providers.LoadBalancer, providers.LoadBalancerSpec) error {
	return func(s *state, b *providers.LoadBalancer, spec providers.LoadBalancerSpec) error {
		if spec.Network == "" {
			spec.Network = b.Network
		}
		if b.Network != spec.Network || b.Internal != spec.Internal || spec.Address.IsValid() && spec.Address != b.Address {
			return fmt.Errorf("%w: network, side and address of a balancer cannot be changed", providers.Invalid)
		}
		want, err := buildBalancer(s, spec, udp)
		if err != nil {
			return err
		}
		b.Ports, b.Targets, b.Sources = want.Ports, want.Targets, want.Sources
		return nil
	}
}
