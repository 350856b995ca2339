package azure

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// shelf is hardware that writes down what it was asked to be.
type shelf struct {
	mu        sync.Mutex
	calls     []string
	machines  []azuretest.Machine
	balancers []azuretest.Balancer
	networks  []azuretest.Network
	broken    error
}

func (s *shelf) note(call string, then func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	then()
	return s.broken
}

func (s *shelf) hardware() azuretest.Hardware {
	says := func(verb string) func(context.Context, string) error {
		return func(_ context.Context, label string) error { return s.note(verb+" "+label, func() {}) }
	}
	return azuretest.Hardware{
		Network: func(_ context.Context, n azuretest.Network) error {
			return s.note("network "+n.Label, func() { s.networks = append(s.networks, n) })
		},
		Start: func(_ context.Context, m azuretest.Machine) (netip.Addr, error) {
			return m.Private, s.note("start "+m.Label, func() { s.machines = append(s.machines, m) })
		},
		Balance: func(_ context.Context, b azuretest.Balancer) (netip.Addr, error) {
			return netip.MustParseAddr("10.0.0.250"), s.note("balance "+b.Label, func() { s.balancers = append(s.balancers, b) })
		},
		DropNetwork: says("drop"), Stop: says("stop"), Drop: says("drop"), DropBalance: says("drop"),
	}
}

// TestHardware follows a network, two machines and a balancer to what is behind them.
func TestHardware(t *testing.T) {
	s := &shelf{}
	c := azuretest.New(azuretest.Options{Hardware: s.hardware()})
	defer c.Close()
	p := open(t, c, Options{})
	ctx := t.Context()
	n, err := p.Networks().Create(ctx, providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.0.0.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	var made []providers.Machine
	for _, name := range []string{"demo-cp-0", "demo-cp-1"} {
		m, err := p.Machines().Create(ctx, providers.MachineSpec{Owner: "demo", Name: name, Network: n.ID, Type: "Standard_D2s_v5", User: "ops",
			AuthorizedKeys: []string{"ssh-ed25519 AAAA ops"}, DiskGiB: 40})
		if err != nil {
			t.Fatal(err)
		}
		if m.Public != m.Private || m.SSH.Addr() != m.Private {
			t.Errorf("%s is reached at its private address, and says %+v", name, m)
		}
		made = append(made, m)
	}
	b, err := p.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Targets: []providers.ID{made[0].ID, made[1].ID},
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 443, TargetPort: 6443, HealthPort: 6444, HealthPath: "/readyz"}}})
	if err != nil || b.Address.String() != "10.0.0.250" {
		t.Fatalf("%+v, %v", b, err)
	}
	first, got := s.machines[0], s.balancers[0]
	if first.Hostname != "demo-cp-0" || first.CPUs != 2 || first.MemoryMiB != 8192 || first.DiskGiB != 40 || first.Zone == "" || first.Network != s.networks[0].Label ||
		first.Private != made[0].Private || !strings.Contains(string(first.CustomData), "ssh-ed25519 AAAA ops") || !strings.Contains(string(first.CustomData), "PRIVATE KEY") {
		t.Errorf("machine: %+v", first)
	}
	want := []azuretest.Backend{{Address: made[0].Private, Machine: first.Label}, {Address: made[1].Private, Machine: s.machines[1].Label}}
	if !slices.Equal(got.Backends, want) || got.Network != first.Network || got.Internal ||
		!slices.Equal(got.Ports, []azuretest.Port{{Protocol: "tcp", Port: 443, TargetPort: 6443, HealthPort: 6444, HealthPath: "/readyz", IdleSeconds: 240}}) {
		t.Errorf("balancer: %+v", got)
	}
	vnet := s.networks[0].Label
	for _, err := range []error{p.Machines().Delete(ctx, made[0].ID), p.LoadBalancers().Delete(ctx, b.ID), p.Machines().Delete(ctx, made[1].ID), p.Networks().Delete(ctx, n.ID)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if last := s.balancers[len(s.balancers)-1]; len(last.Backends) != 1 || last.Backends[0] != want[1] {
		t.Errorf("without the first machine the balancer leads to %+v", last.Backends)
	}
	wantCalls := []string{"network " + vnet, "start " + first.Label, "start " + s.machines[1].Label, "balance " + got.Label,
		"balance " + got.Label, "drop " + first.Label, "drop " + got.Label, "drop " + s.machines[1].Label, "drop " + vnet}
	if !slices.Equal(s.calls, wantCalls) {
		t.Errorf("the hardware was asked\n%v, not\n%v", s.calls, wantCalls)
	}
	report(t, c)
}

// TestHardwareFails lets a machine not come up: the operation fails with the hardware's words, and the next try makes it.
func TestHardwareFails(t *testing.T) {
	s := &shelf{}
	c := azuretest.New(azuretest.Options{Hardware: s.hardware()})
	defer c.Close()
	p := open(t, c, Options{})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	spec := providers.MachineSpec{Owner: "demo", Name: "demo-a-0", Network: n.ID, Type: "Standard_B2s"}
	s.broken = errors.New("no power")
	if _, err := p.Machines().Create(t.Context(), spec); providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), "no power") {
		t.Errorf("without power: %v", err)
	}
	s.broken = nil
	m, err := p.Machines().Create(t.Context(), spec)
	if err != nil || m.State != providers.Running {
		t.Errorf("with power: %+v, %v", m, err)
	}
	if err := c.Stop(anchorOf(p, providers.MachineNoun, m.ID)); err != nil {
		t.Fatal(err)
	}
	if m, err = p.Machines().Create(t.Context(), spec); err != nil || m.State != providers.Running {
		t.Errorf("started again: %+v, %v", m, err)
	}
	if n := len(s.machines); n != 3 {
		t.Errorf("%d starts: one without power, one with, one after a stop were right", n)
	}
}
