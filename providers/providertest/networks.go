package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/provisionhq/provision/providers"
)

func networksOf(s *suite) *kind[providers.NetworkSpec, providers.Network] {
	return &kind[providers.NetworkSpec, providers.Network]{
		noun:    providers.NetworkNoun,
		objects: func() providers.Objects[providers.NetworkSpec, providers.Network] { return s.Provider.Networks() },
		spec: func(_ context.Context, owner providers.Owner, name string) (providers.NetworkSpec, error) {
			anywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			spec := providers.NetworkSpec{
				Owner: owner,
				Name:  name,
				Allow: []providers.Rule{
					{Name: "ssh", Protocol: "tcp", Port: 22, Sources: anywhere},
					{Name: "api", Protocol: "tcp", Port: 6443, Sources: anywhere},
				},
				Tags: someTags(),
			}
			if s.Network != nil {
				s.Network(&spec)
			}
			return spec, nil
		},
		edit: func(n *providers.NetworkSpec) (*providers.Owner, *string, *map[string]string) {
			return &n.Owner, &n.Name, &n.Tags
		},
		same: sameNetwork,
		alter: func(n *providers.NetworkSpec) {
			n.Allow = append(n.Allow[:1:1], providers.Rule{Name: "dns", Protocol: "udp", Port: 53, Sources: someRange()})
		},
	}
}

func someRange() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }

func someTags() map[string]string { return map[string]string{"team": "core", "stage": "a-b_c"} }

func sameNetwork(spec providers.NetworkSpec, n providers.Network) error {
	if spec.CIDR.IsValid() && n.CIDR != spec.CIDR {
		return fmt.Errorf("the range is %s, want %s", n.CIDR, spec.CIDR)
	}
	if d := diff(spec.Allow, n.Allow); d != "" {
		return fmt.Errorf("other rules than asked for (-want +got):\n%s", d)
	}
	if d := diff(spec.Zones, n.Zones); d != "" && len(spec.Zones) > 0 {
		return fmt.Errorf("other zones than asked for (-want +got):\n%s", d)
	}
	return nil
}

func networkCases() []Case {
	n, of := providers.NetworkNoun, func(s *suite) *kind[providers.NetworkSpec, providers.Network] { return s.networks }
	return append(generic(n, of),
		Case{Name: "network/update-rules", noun: n, run: tryUpdateRules,
			Rule: "Update must make the rules what the spec says, some added, some changed, some taken away, because they are a firewall."},
		Case{Name: "network/update-range", noun: n, run: tryUpdateRange,
			Rule: "Update to another range must return Invalid and change nothing, because machines have addresses in the old one; where Caps has Renumber, it must be the network's range from then on."},
		Case{Name: "network/update-invalid", noun: n, run: cannotUpdate(of, "Update to a rule for port 70000", func(n *providers.NetworkSpec) { n.Allow[0].Port = 70000 }),
			Rule: "Update to a rule for a port that there is not must return Invalid and change nothing, because it is a mistake in a file."},
		Case{Name: "network/range", noun: n, run: tryRange,
			Rule: "A network must say its range, because addresses are planned and preflight looks for overlaps by it."},
		Case{Name: "network/invalid", noun: n, run: tryNetworkInvalid,
			Rule: "A range with host bits, or a rule for a port that there is not, must return Invalid and make nothing, because it is a mistake in a file."},
	)
}

func tryUpdateRules(ctx context.Context, s *suite) error {
	n, spec, err := s.networks.updating(ctx, s)
	if err != nil {
		return err
	}
	for _, change := range []func(){
		func() { s.networks.alter(&spec) },
		func() { spec.Allow[0].Port++ },
		func() { spec.Allow[0].Sources = someRange() },
		func() { spec.Allow = nil },
	} {
		change()
		got, err := s.Provider.Networks().Update(ctx, n.ID, clone(spec))
		if err != nil {
			return fmt.Errorf("Update: %w", err)
		}
		if d := diff(spec.Allow, got.Allow); d != "" {
			return fmt.Errorf("Update returned other rules than asked for (-want +got):\n%s", d)
		}
		if err := s.networks.is(ctx, n.ID, spec); err != nil {
			return fmt.Errorf("after Update: %w", err)
		}
	}
	return nil
}

func tryUpdateRange(ctx context.Context, s *suite) error {
	of := func(s *suite) *kind[providers.NetworkSpec, providers.Network] { return s.networks }
	other := netip.MustParsePrefix("10.254.128.0/20")
	if !s.Provider.Caps().Renumber {
		return cannotUpdate(of, "Update to another range", func(n *providers.NetworkSpec) { n.CIDR = other })(ctx, s)
	}
	n, spec, err := s.networks.updating(ctx, s)
	if err != nil {
		return err
	}
	spec.CIDR = other
	for range 2 {
		if _, err := s.Provider.Networks().Update(ctx, n.ID, clone(spec)); err != nil {
			return fmt.Errorf("Update: %w", err)
		}
		if err := s.networks.is(ctx, n.ID, spec); err != nil {
			return fmt.Errorf("after Update: %w", err)
		}
	}
	return nil
}

func tryRange(ctx context.Context, s *suite) error {
	m, err := s.networks.of(ctx, s.owner)
	if err != nil {
		return err
	}
	if c := m.got.CIDR; !c.IsValid() || c != c.Masked() || c.Addr().BitLen()-c.Bits() < 3 {
		return fmt.Errorf("the range is %s, want a range with room for machines", c)
	}
	return nil
}

func tryNetworkInvalid(ctx context.Context, s *suite) error {
	for doing, spoil := range map[string]func(*providers.NetworkSpec){
		"Create with range 10.1.2.3/24":      func(n *providers.NetworkSpec) { n.CIDR = netip.MustParsePrefix("10.1.2.3/24") },
		"Create with a rule for port 70000":  func(n *providers.NetworkSpec) { n.Allow[0].Port = 70000 },
		"Create with a rule for port 0":      func(n *providers.NetworkSpec) { n.Allow[0].Port = 0 },
		"Create with a rule for no protocol": func(n *providers.NetworkSpec) { n.Allow[0].Protocol = "none" },
	} {
		if err := s.networks.refuses(ctx, s, doing, spoil, providers.Invalid); err != nil {
			return err
		}
	}
	return nil
}

// refuses makes sure that Create refuses a spec that was spoilt, and makes nothing.
func (k *kind[S, O]) refuses(ctx context.Context, s *suite, doing string, spoil func(*S), kinds ...providers.Kind) error {
	spec, err := k.spec(ctx, s.owner, k.name("h-bad"))
	if err != nil {
		return unmet("a spec", err)
	}
	spoil(&spec)
	o, err := k.objects().Create(ctx, spec)
	if err := refused(doing, err, kinds...); err != nil {
		return errors.Join(err, k.objects().Delete(ctx, o.GetMeta().ID))
	}
	there, err := k.listed(ctx, s.owner, spec.Key().Name)
	if err == nil && len(there) > 0 {
		return fmt.Errorf("%s was refused and yet made %+v", doing, there)
	}
	return err
}

// lastCases use up what the others share.
func lastCases() []Case {
	return []Case{
		{Name: "network/in-use", noun: providers.NetworkNoun, run: tryNetworkInUse,
			Rule: "Delete of a network with a machine in it must return Conflict and leave it whole, because the machine stands on it."},
		{Name: "network/in-use-by-balancer", noun: providers.BalancerNoun, run: tryNetworkBalanced,
			Rule: "Delete of a network with a balancer in it must return Conflict and leave it whole, because the balancer stands on it."},
	}
}

func tryNetworkInUse(ctx context.Context, s *suite) error {
	m, err := s.machines.of(ctx, s.other)
	if err != nil {
		return err
	}
	return s.networkStays(ctx, m.got.Network)
}

func tryNetworkBalanced(ctx context.Context, s *suite) error {
	spec, err := s.balancers.spec(ctx, s.owner, s.balancers.name("i-alone"))
	if err != nil {
		return unmet("a spec", err)
	}
	n, err := s.networks.make(ctx, s.owner, s.networks.name("i-balanced"))
	if err != nil {
		return unmet("a network", err)
	}
	spec.Network, spec.Targets = n.got.ID, nil
	b, err := s.balancers.objects().Create(ctx, spec)
	if err != nil {
		return unmet("a balancer without targets", err)
	}
	defer s.balancers.objects().Delete(ctx, b.ID)
	return s.networkStays(ctx, n.got.ID)
}

// networkStays makes sure that a network cannot be deleted.
func (s *suite) networkStays(ctx context.Context, id providers.ID) error {
	if err := refused("Delete of a network in use", s.Provider.Networks().Delete(ctx, id), providers.Conflict); err != nil {
		return err
	}
	n, err := s.Provider.Networks().Get(ctx, id)
	if err != nil {
		return fmt.Errorf("Get of a network that Delete refused: %w", err)
	}
	if n.Partial {
		return errors.New("Delete of a network in use was refused and yet it is Partial now")
	}
	return nil
}
