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
	return append(generic(n, func(s *suite) *kind[balancerSpec, providers.LoadBalancer] { return s.balancers }),
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
		Case{Name: "balancer/update", noun: n, run: tryUpdate,
			Rule: "Update must make the balancer what the spec says, ports and targets added and removed, because nodes come and go."},
		Case{Name: "balancer/update-touches-only", noun: n, run: tryUpdateTouches,
			Rule: "Update must touch nothing that does not differ: ID, address and host name stay, because clients have written them down."},
		Case{Name: "balancer/update-quiet", noun: n, applies: func(f Fixture) bool { return f.Writes != nil }, run: tryUpdateQuiet,
			Rule: "Update to what the balancer is already must make no call that changes something, because Kubernetes asks for it every few minutes."},
		Case{Name: "balancer/update-identity", noun: n, run: tryUpdateIdentity,
			Rule: "Update with another's owner or name must return Invalid and change nothing, because the caller holds the wrong ID."},
		Case{Name: "balancer/update-missing", noun: n, run: tryUpdateMissing,
			Rule: "Update of a balancer that there is not must return NotFound, because the caller then makes one."},
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

// updating returns a balancer that may be changed and a spec of it as it is.
func (s *suite) updating(ctx context.Context) (b providers.LoadBalancer, spec balancerSpec, err error) {
	if b, err = s.balancers.spare(ctx, s.owner); err != nil {
		return b, spec, err
	}
	if spec, err = s.balancers.spec(ctx, s.owner, b.Name); err != nil {
		return b, spec, unmet("a spec", err)
	}
	s.balancers.spares = append(s.balancers.spares, b)
	spec.Ports, spec.Targets, spec.Sources, spec.Tags = b.Ports, b.Targets, b.Sources, b.Tags
	return b, clone(spec), nil
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

func tryUpdate(ctx context.Context, s *suite) error {
	b, spec, err := s.updating(ctx)
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

func tryUpdateTouches(ctx context.Context, s *suite) error {
	b, spec, err := s.updating(ctx)
	if err != nil {
		return err
	}
	before, err := s.Provider.LoadBalancers().Get(ctx, b.ID)
	if err != nil {
		return unmet("Get", err)
	}
	want := clone(before)
	spec.Ports, spec.Targets, spec.Sources = want.Ports, want.Targets, want.Sources
	spec = clone(spec)
	spec.Sources = append(spec.Sources, netip.MustParsePrefix("203.0.113.0/24"))
	want.Sources = spec.Sources
	got, err := s.Provider.LoadBalancers().Update(ctx, b.ID, clone(spec))
	if err != nil {
		return unmet("Update", err)
	}
	if d := diff(want, got); d != "" {
		return fmt.Errorf("Update of the sources changed more (-want +got):\n%s", d)
	}
	return nil
}

func tryUpdateQuiet(ctx context.Context, s *suite) error {
	b, spec, err := s.updating(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Provider.LoadBalancers().Update(ctx, b.ID, clone(spec)); err != nil {
		return unmet("Update", err)
	}
	before := s.Writes()
	if _, err := s.Provider.LoadBalancers().Update(ctx, b.ID, clone(spec)); err != nil {
		return unmet("Update", err)
	}
	if n := s.Writes() - before; n != 0 {
		return fmt.Errorf("Update to what is there already made %d calls that change something", n)
	}
	return nil
}

func tryUpdateIdentity(ctx context.Context, s *suite) error {
	b, spec, err := s.updating(ctx)
	if err != nil {
		return err
	}
	before, err := s.Provider.LoadBalancers().Get(ctx, b.ID)
	if err != nil {
		return unmet("Get", err)
	}
	before = clone(before)
	for _, key := range []providers.Key{{Owner: s.other, Name: b.Name}, {Owner: b.Owner, Name: "another"}} {
		spec := clone(spec)
		spec.Owner, spec.Name, spec.Tags = key.Owner, key.Name, nil
		_, err := s.Provider.LoadBalancers().Update(ctx, b.ID, spec)
		if err := refused("Update with the identity "+key.String(), err, providers.Invalid); err != nil {
			return err
		}
	}
	after, err := s.Provider.LoadBalancers().Get(ctx, b.ID)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(before, after); d != "" {
		return fmt.Errorf("an Update that was refused changed the balancer (-before +after):\n%s", d)
	}
	return nil
}

func tryUpdateMissing(ctx context.Context, s *suite) error {
	_, spec, err := s.updating(ctx)
	if err != nil {
		return err
	}
	_, err = s.Provider.LoadBalancers().Update(ctx, "none-such", spec)
	return refused("Update of a balancer that there is not", err, providers.NotFound)
}

func tryTargetsSorted(ctx context.Context, s *suite) error {
	b, spec, err := s.updating(ctx)
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
