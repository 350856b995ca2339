package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/provisionhq/provision/providers"
)

type balancerSpec = providers.LoadBalancerSpec

func balancersOf(s *suite) *kind[balancerSpec, providers.LoadBalancer] {
	return &kind[balancerSpec, providers.LoadBalancer]{
		noun:    providers.BalancerNoun,
		objects: func() providers.Objects[balancerSpec, providers.LoadBalancer] { return s.Provider.LoadBalancers() },
		spec: func(ctx context.Context, owner providers.Owner, name string) (spec balancerSpec, err error) {
			m, err := s.machines.of(ctx, owner)
			if err != nil {
				return spec, err
			}
			spec = balancerSpec{
				Owner:   owner,
				Name:    name,
				Network: m.got.Network,
				Ports:   []providers.BalancerPort{{Name: "web", Protocol: "tcp", Port: 80, TargetPort: 30080}},
				Targets: []providers.ID{m.got.ID},
				Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
				Tags:    someTags(),
			}
			if s.Balancer != nil {
				s.Balancer(&spec)
			}
			return spec, nil
		},
		edit: func(b *balancerSpec) (*providers.Owner, *string, *map[string]string) {
			return &b.Owner, &b.Name, &b.Tags
		},
		same: sameBalancer,
		alter: func(b *balancerSpec) {
			b.Ports = append(b.Ports, providers.BalancerPort{Name: "tls", Protocol: "tcp", Port: 443, TargetPort: 30443})
			b.Targets, b.Sources = nil, append(b.Sources, netip.MustParsePrefix("198.51.100.0/24"))
		},
	}
}

func sameBalancer(spec balancerSpec, b providers.LoadBalancer) error {
	want := providers.LoadBalancer{Meta: b.Meta, Network: spec.Network, Internal: spec.Internal, Address: b.Address,
		Hostname: b.Hostname, Ports: spec.Ports, Targets: slices.Sorted(slices.Values(spec.Targets)), Sources: spec.Sources}
	if spec.Address.IsValid() {
		want.Address = spec.Address
	}
	if d := diff(want, b); d != "" {
		return fmt.Errorf("the balancer is not what was asked for (-want +got):\n%s", d)
	}
	return nil
}

func balancerCases() []Case {
	n := providers.BalancerNoun
	of := func(s *suite) *kind[balancerSpec, providers.LoadBalancer] { return s.balancers }
	return append(generic(n, of),
		Case{Name: "balancer/address", noun: n, run: tryBalancerAddress,
			Rule: "A balancer that Create returns must have an address or a host name, because clients are told it at once."},
		Case{Name: "balancer/network-missing", noun: n, run: spoiltBalancer("a network that there is not", func(b *balancerSpec) { b.Network = "none-such" }, providers.NotFound, providers.Invalid),
			Rule: "A balancer in a network that there is not must return NotFound or Invalid and make nothing, because it would stand on nothing."},
		Case{Name: "balancer/target-missing", noun: n, run: spoiltBalancer("a target that there is not", func(b *balancerSpec) { b.Targets = []providers.ID{"none-such"} }, providers.NotFound, providers.Invalid),
			Rule: "A target that there is not must return NotFound or Invalid and make nothing, because traffic would be lost there."},
		Case{Name: "balancer/port-invalid", noun: n, run: spoiltBalancer("port 70000", func(b *balancerSpec) { b.Ports[0].Port = 70000 }, providers.Invalid),
			Rule: "A port that there is not must return Invalid and make nothing, because it is a mistake in a file."},
		Case{Name: "balancer/udp-unsupported", noun: n, applies: func(f Fixture) bool { return !f.Provider.Caps().UDP },
			run:  spoiltBalancer("a UDP port", func(b *balancerSpec) { b.Ports[0].Protocol = "udp" }, providers.Unsupported),
			Rule: "A UDP port at a vendor without them must return Unsupported and make nothing, because a TCP port in its place answers nobody."},
		Case{Name: "balancer/update-parts", noun: n, run: tryUpdateParts,
			Rule: "Update must make the balancer what the spec says, ports, targets and sources added and removed, because nodes come and go."},
		Case{Name: "balancer/update-network", noun: n, run: cannotUpdate(of, "Update to another network", func(b *balancerSpec) { b.Network = "none-such" }),
			Rule: "Update to another network must return Invalid and change nothing, because the balancer has its address there."},
		Case{Name: "balancer/update-target", noun: n, run: cannotUpdate(of, "Update to a target that there is not", func(b *balancerSpec) { b.Targets = []providers.ID{"none-such"} }),
			Rule: "Update to a target that there is not must return Invalid and change nothing, because NotFound would say that the balancer itself is gone."},
		Case{Name: "balancer/targets-sorted", noun: n, run: tryTargetsSorted,
			Rule: "Targets must be sorted whatever their order in the spec, because plans compare them."},
	)
}

func spoiltBalancer(with string, spoil func(*balancerSpec), kinds ...providers.Kind) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error {
		return s.balancers.refuses(ctx, s, "Create with "+with, spoil, kinds...)
	}
}

func tryBalancerAddress(ctx context.Context, s *suite) error {
	b, err := s.balancers.of(ctx, s.owner)
	if err != nil {
		return err
	}
	if !b.got.Address.IsValid() && b.got.Hostname == "" {
		return errors.New("the balancer has neither an address nor a host name")
	}
	return nil
}

// otherMachines returns machines of the owner's shared network, two at least.
func (s *suite) otherMachines(ctx context.Context) (ids []providers.ID, err error) {
	n, err := s.networks.of(ctx, s.owner)
	if err != nil {
		return nil, err
	}
	all, err := s.everyMachine(ctx)
	for _, m := range all {
		if m.Network == n.got.ID && !m.Partial {
			ids = append(ids, m.ID)
		}
	}
	return ids, err
}

func tryUpdateParts(ctx context.Context, s *suite) error {
	b, spec, err := s.balancers.updating(ctx, s)
	if err != nil {
		return err
	}
	ids, err := s.otherMachines(ctx)
	if err != nil {
		return err
	}
	for _, change := range []func(){
		func() { spec.Targets = ids },
		func() {
			spec.Ports = append(spec.Ports, providers.BalancerPort{Name: "tls", Protocol: "tcp", Port: 443, TargetPort: 30443})
		},
		func() { spec.Ports[0].TargetPort++ },
		func() { spec.Ports = spec.Ports[1:] },
		func() { spec.Targets = ids[:1] },
		func() { spec.Sources = append(spec.Sources, netip.MustParsePrefix("198.51.100.0/24")) },
		func() { spec.Targets = nil },
	} {
		change()
		if _, err := s.Provider.LoadBalancers().Update(ctx, b.ID, clone(spec)); err != nil {
			return fmt.Errorf("Update: %w", err)
		}
		got, err := s.Provider.LoadBalancers().Get(ctx, b.ID)
		if err != nil {
			return unmet("Get", err)
		}
		want := providers.LoadBalancer{Ports: spec.Ports, Targets: sortedIDs(spec.Targets), Sources: spec.Sources}
		if d := diff(want, providers.LoadBalancer{Ports: got.Ports, Targets: sortedIDs(got.Targets), Sources: got.Sources}); d != "" {
			return fmt.Errorf("after Update the balancer is not what was asked for (-want +got):\n%s", d)
		}
	}
	return nil
}

func sortedIDs(ids []providers.ID) []providers.ID { return slices.Sorted(slices.Values(ids)) }

func tryTargetsSorted(ctx context.Context, s *suite) error {
	b, spec, err := s.balancers.updating(ctx, s)
	if err != nil {
		return err
	}
	ids, err := s.otherMachines(ctx)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	spec.Targets = ids
	if _, err := s.Provider.LoadBalancers().Update(ctx, b.ID, spec); err != nil {
		return unmet("Update", err)
	}
	got, err := s.Provider.LoadBalancers().Get(ctx, b.ID)
	if err != nil {
		return unmet("Get", err)
	}
	if !slices.IsSorted(got.Targets) {
		return fmt.Errorf("the targets are in this order: %v", got.Targets)
	}
	return nil
}
