package fake

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/provisionhq/provision/providers"
)

// networkKind is made by four sub-calls: the range, its subnets, the gateway, the rules.
func networkKind() kind[providers.NetworkSpec, providers.Network] {
	return kind[providers.NetworkSpec, providers.Network]{
		noun:   providers.NetworkNoun,
		steps:  4,
		pick:   networkTable,
		meta:   func(n *providers.Network) *providers.Meta { return &n.Meta },
		clone:  cloneNetwork,
		build:  buildNetwork,
		tags:   func(s providers.NetworkSpec) map[string]string { return s.Tags },
		update: updateNetwork,
		leave:  func(s *state, n providers.Network) ([]change, error) { return nil, unused(s, n.ID) },
	}
}

func cloneNetwork(n providers.Network) providers.Network {
	n.Tags, n.Zones, n.Allow = maps.Clone(n.Tags), slices.Clone(n.Zones), cloneRules(n.Allow)
	return n
}

func cloneRules(rules []providers.Rule) []providers.Rule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Sources = slices.Clone(rules[i].Sources)
	}
	return rules
}

func buildNetwork(s *state, spec providers.NetworkSpec, _ providers.ID) (n providers.Network, err error) {
	n = providers.Network{CIDR: spec.CIDR, Zones: slices.Clone(spec.Zones), Allow: cloneRules(spec.Allow)}
	for _, z := range spec.Zones {
		if !slices.Contains(zones(), z) {
			return n, fmt.Errorf("zone %q: %w: there is none of that name", z, providers.Invalid)
		}
	}
	for _, r := range spec.Allow {
		if err := checkRule(r); err != nil {
			return n, err
		}
	}
	if spec.CIDR == (netip.Prefix{}) {
		n.CIDR, err = s.freeRange(spec.Key())
		return n, err
	}
	if !spec.CIDR.IsValid() || spec.CIDR.Masked() != spec.CIDR || spec.CIDR.Addr().BitLen()-spec.CIDR.Bits() < 2 {
		return n, fmt.Errorf("range %s: %w: it must be the first address of a range with room for machines", spec.CIDR, providers.Invalid)
	}
	return n, nil
}

// updateNetwork changes the rules, and zones as long as it only gets more.
func updateNetwork(s *state, n *providers.Network, spec providers.NetworkSpec) error {
	if spec.CIDR != (netip.Prefix{}) && spec.CIDR != n.CIDR {
		return fmt.Errorf("%w: the range of a network cannot be changed", providers.Invalid)
	}
	spec.CIDR = n.CIDR
	want, err := buildNetwork(s, spec, n.ID)
	if err != nil {
		return err
	}
	for _, z := range n.Zones {
		if !slices.Contains(want.Zones, z) {
			return fmt.Errorf("zone %q: %w: it cannot be taken away", z, providers.Invalid)
		}
	}
	n.Zones, n.Allow = want.Zones, want.Allow
	return nil
}

func checkRule(r providers.Rule) error {
	if r.Protocol != "tcp" && r.Protocol != "udp" {
		return fmt.Errorf("rule %q: %w: protocol %q is neither tcp nor udp", r.Name, providers.Invalid, r.Protocol)
	}
	return checkPort(r.Port)
}

func checkPort(p int) error {
	if p < 1 || p > 65535 {
		return fmt.Errorf("port %d: %w: it must be from 1 to 65535", p, providers.Invalid)
	}
	return nil
}
