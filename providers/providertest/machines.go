package providertest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

func machinesOf(s *suite) *kind[providers.MachineSpec, providers.Machine] {
	return &kind[providers.MachineSpec, providers.Machine]{
		noun:    providers.MachineNoun,
		objects: func() providers.Objects[providers.MachineSpec, providers.Machine] { return s.Provider.Machines() },
		spec:    s.machineSpec,
		edit: func(m *providers.MachineSpec) (*providers.Owner, *string, *map[string]string) {
			return &m.Owner, &m.Name, &m.Tags
		},
		same:  sameMachine,
		alter: func(m *providers.MachineSpec) { m.Pool = "others" },
	}
}

// machineSpec is for the owner's shared network.
func (s *suite) machineSpec(ctx context.Context, owner providers.Owner, name string) (spec providers.MachineSpec, err error) {
	n, err := s.networks.of(ctx, owner)
	if err != nil {
		return spec, err
	}
	if s.Type == "" {
		types, err := s.Provider.Machines().Types(ctx)
		if err != nil || len(types) == 0 {
			return spec, fmt.Errorf("a machine type: Types returned %v, %w", types, err)
		}
		s.Type = types[0].Name
	}
	spec = providers.MachineSpec{Owner: owner, Name: name, Pool: "workers", Network: n.got.ID, Type: s.Type, Tags: someTags()}
	if s.Machine != nil {
		s.Machine(&spec)
	}
	return spec, nil
}

func sameMachine(spec providers.MachineSpec, m providers.Machine) error {
	user := spec.User
	if user == "" {
		user = "root"
	}
	for _, f := range []struct {
		name      string
		want, got any
		asked     bool
	}{
		{"pool", spec.Pool, m.Pool, true},
		{"network", spec.Network, m.Network, true},
		{"type", spec.Type, m.Type, true},
		{"image", spec.Image, m.Image, spec.Image != ""},
		{"zone", spec.Zone, m.Zone, spec.Zone != ""},
		{"user", user, m.User, true},
	} {
		if f.asked && f.want != f.got {
			return fmt.Errorf("the machine's %s is %q, want %q", f.name, f.got, f.want)
		}
	}
	if m.DiskGiB < spec.DiskGiB {
		return fmt.Errorf("the machine's disk has %d GiB, want at least %d", m.DiskGiB, spec.DiskGiB)
	}
	return nil
}

func machineCases() []Case {
	n := providers.MachineNoun
	zones := func(f Fixture) bool { return len(f.Provider.Caps().Zones) > 0 }
	of := func(s *suite) *kind[providers.MachineSpec, providers.Machine] { return s.machines }
	return append(generic(n, of),
		Case{Name: "machine/update-pool", noun: n, run: tryUpdatePool,
			Rule: "Update must move the machine to the spec's pool, and out of every pool, because a pool is the machines that bear its name."},
		Case{Name: "machine/update-type", noun: n, run: tryUpdateType,
			Rule: "Update to another type must return Invalid and change nothing if the vendor cannot change it in place, or change it, because a plan that says it is done must be right."},
		Case{Name: "machine/update-network", noun: n, run: cannotUpdate(of, "Update to another network", func(m *providers.MachineSpec) { m.Network = "none-such" }),
			Rule: "Update to another network must return Invalid and change nothing, because the machine has its address there."},
		Case{Name: "machine/cloud-agent", noun: n, run: tryCloudAgent,
			Rule: "A machine that a cloud agent runs on must be made and removed as any other, because a vendor without identities ignores it, and one that has them cleans up."},
		Case{Name: "machine/running", noun: n, run: machineIs(tryRunning),
			Rule: "A machine that Create returns must be running, because bootstrap connects to it at once."},
		Case{Name: "machine/address", noun: n, run: tryAddress,
			Rule: "A machine must have an address of its own in its network's range, because nodes reach each other by it."},
		Case{Name: "machine/node-id", noun: n, run: tryNodeID,
			Rule: "A machine's NodeID must begin with the provider's name as a scheme and be its own, because Kubernetes knows the machine by it."},
		Case{Name: "machine/host-keys", noun: n, run: machineIs(tryHostKeys),
			Rule: "A machine that answers SSH must come with its host keys, because the first connection must be strict too."},
		Case{Name: "machine/usable", noun: n, applies: func(f Fixture) bool { return f.Usable != nil }, run: tryUsable,
			Rule: "A machine that Create returns must be usable, because Create waits for that."},
		Case{Name: "machine/types", noun: n, run: tryTypes,
			Rule: "Types must be sorted by name, each once, with what plans and the autoscaler count with, because both choose from it."},
		Case{Name: "machine/type-unknown", noun: n, run: spoilt("Create with a type that there is not", func(m *providers.MachineSpec) { m.Type = "none-such" }, providers.Invalid),
			Rule: "A type that there is not must return Invalid and make nothing, because it is a mistake in a file."},
		Case{Name: "machine/network-missing", noun: n, run: spoilt("Create in a network that there is not", func(m *providers.MachineSpec) { m.Network = "none-such" }, providers.NotFound, providers.Invalid),
			Rule: "A machine in a network that there is not must return NotFound or Invalid and make nothing, because it would stand on nothing."},
		Case{Name: "machine/zone-unknown", noun: n, applies: zones, run: spoilt("Create in a zone that there is not", func(m *providers.MachineSpec) { m.Zone = "none-such" }, providers.NotFound, providers.Invalid),
			Rule: "A zone that there is not must return NotFound or Invalid and make nothing, because it is a mistake in a file."},
		Case{Name: "machine/zone", noun: n, applies: zones, run: tryZone,
			Rule: "A machine must be in the zone that was asked for, because replicas are spread by it."},
		Case{Name: "machine/spot-unsupported", noun: n, applies: func(f Fixture) bool { return !f.Provider.Caps().Spot },
			run:  spoilt("Create of a spot machine", func(m *providers.MachineSpec) { m.Spot = true }, providers.Unsupported),
			Rule: "A spot machine at a vendor without them must return Unsupported and make nothing, because an ordinary one costs more than was asked for."},
		Case{Name: "machine/stopped", noun: n, applies: func(f Fixture) bool { return f.Stop != nil }, run: tryStopped,
			Rule: "A machine that was stopped must be listed as Stopped and Partial, and Create must start that one again, because that is how a cluster comes back after its host was off."},
	)
}

// machineIs tries the shared machine.
func machineIs(try func(providers.Machine) error) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error {
		m, err := s.machines.of(ctx, s.owner)
		if err != nil {
			return err
		}
		return try(m.got)
	}
}

// spoilt tries a spec of a machine that must be refused.
func spoilt(doing string, spoil func(*providers.MachineSpec), kinds ...providers.Kind) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error { return s.machines.refuses(ctx, s, doing, spoil, kinds...) }
}

func tryUpdatePool(ctx context.Context, s *suite) error {
	m, spec, err := s.machines.updating(ctx, s)
	if err != nil {
		return err
	}
	for _, pool := range []string{"others", "", spec.Pool} {
		spec.Pool = pool
		got, err := s.Provider.Machines().Update(ctx, m.ID, clone(spec))
		if err != nil {
			return fmt.Errorf("Update to pool %q: %w", pool, err)
		}
		if got.Pool != pool {
			return fmt.Errorf("Update to pool %q returned a machine of pool %q", pool, got.Pool)
		}
		if err := s.machines.is(ctx, m.ID, spec); err != nil {
			return fmt.Errorf("after Update to pool %q: %w", pool, err)
		}
	}
	return nil
}

func tryUpdateType(ctx context.Context, s *suite) error {
	types, err := s.Provider.Machines().Types(ctx)
	if err != nil {
		return unmet("Types", err)
	}
	m, spec, err := s.machines.updating(ctx, s)
	if err != nil {
		return err
	}
	other := slices.IndexFunc(types, func(t providers.MachineType) bool { return t.Name != m.Type })
	if other < 0 {
		return nil // there is no other
	}
	spec = s.machines.retagged(spec)
	spec.Type = types[other].Name
	got, err := s.Provider.Machines().Update(ctx, m.ID, clone(spec))
	if err == nil && got.Type == spec.Type {
		return s.machines.is(ctx, m.ID, spec)
	}
	if err := refused("Update to type "+spec.Type, err, providers.Invalid); err != nil {
		return err
	}
	after, err := s.Provider.Machines().Get(ctx, m.ID)
	if err != nil {
		return unmet("Get", err)
	}
	if d := diff(m, after); d != "" {
		return fmt.Errorf("Update to type %s was refused and yet changed the machine (-before +after):\n%s", spec.Type, d)
	}
	return nil
}

// tryCloudAgent asks for no more than the machine: what it may do, only the vendor's own tests can tell.
func tryCloudAgent(ctx context.Context, s *suite) error {
	spec, err := s.machineSpec(ctx, s.owner, s.machines.name("h-agent"))
	if err != nil {
		return unmet("a spec", err)
	}
	spec.CloudAgent = true
	m, err := s.Provider.Machines().Create(ctx, clone(spec))
	if err != nil {
		return fmt.Errorf("Create of a machine that a cloud agent runs on: %w", err)
	}
	if err := s.Provider.Machines().Delete(ctx, m.ID); err != nil {
		return unmet("Delete", err)
	}
	return nil
}

func tryRunning(m providers.Machine) error {
	if m.State != providers.Running {
		return fmt.Errorf("the machine is %q, want %q", m.State, providers.Running)
	}
	return nil
}

// everyMachine returns the owner's machines; two at least.
func (s *suite) everyMachine(ctx context.Context) ([]providers.Machine, error) {
	if _, err := s.machines.of(ctx, s.owner); err != nil {
		return nil, err
	}
	o, err := s.machines.spare(ctx, s.owner)
	if err != nil {
		return nil, err
	}
	s.machines.spares = append(s.machines.spares, o)
	all, err := s.machines.objects().List(ctx, s.owner)
	if err != nil {
		return nil, unmet("List", err)
	}
	return slices.DeleteFunc(all, func(m providers.Machine) bool { return m.Owner != s.owner }), nil
}

func tryAddress(ctx context.Context, s *suite) error {
	n, err := s.networks.of(ctx, s.owner)
	if err != nil {
		return err
	}
	all, err := s.everyMachine(ctx)
	if err != nil {
		return err
	}
	seen := map[netip.Addr]string{}
	for _, m := range all {
		if m.Network == n.got.ID && !n.got.CIDR.Contains(m.Private) {
			return fmt.Errorf("machine %s has address %s, which is not in its network's %s", m.Name, m.Private, n.got.CIDR)
		}
		if other, twice := seen[m.Private]; twice {
			return fmt.Errorf("machines %s and %s have the same address, %s", other, m.Name, m.Private)
		}
		seen[m.Private] = m.Name
	}
	return nil
}

func tryNodeID(ctx context.Context, s *suite) error {
	all, err := s.everyMachine(ctx)
	if err != nil {
		return err
	}
	seen := map[string]string{}
	for _, m := range all {
		scheme, rest, _ := strings.Cut(m.NodeID, "://")
		if scheme != s.Provider.Name() || strings.Trim(rest, "/") == "" {
			return fmt.Errorf("machine %s has NodeID %q, want %s://…", m.Name, m.NodeID, s.Provider.Name())
		}
		if other, twice := seen[m.NodeID]; twice {
			return fmt.Errorf("machines %s and %s have the same NodeID, %s", other, m.Name, m.NodeID)
		}
		seen[m.NodeID] = m.Name
	}
	return nil
}

func tryHostKeys(m providers.Machine) error {
	if m.SSH.IsValid() && len(m.HostKeys) == 0 {
		return fmt.Errorf("SSH answers at %s and there is no host key", m.SSH)
	}
	for _, line := range m.HostKeys {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.Contains(line, "\n") {
			return fmt.Errorf("host key %q is not in authorized_keys format", line)
		}
		blob, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil || len(blob) < 4 || !strings.HasPrefix(string(blob[4:]), fields[0]) {
			return fmt.Errorf("host key %q is not in authorized_keys format", line)
		}
	}
	return nil
}

func tryUsable(ctx context.Context, s *suite) error {
	m, err := s.machines.of(ctx, s.owner)
	if err != nil {
		return err
	}
	return s.Usable(ctx, m.got)
}

func tryTypes(ctx context.Context, s *suite) error {
	types, err := s.Provider.Machines().Types(ctx)
	if err != nil {
		return fmt.Errorf("Types: %w", err)
	}
	if len(types) == 0 {
		return errors.New("Types has none")
	}
	caps := s.Provider.Caps()
	for i, t := range types {
		switch {
		case i > 0 && types[i-1].Name >= t.Name:
			return fmt.Errorf("Types has %q after %q", t.Name, types[i-1].Name)
		case t.Name == "" || t.CPUs <= 0 || t.MemoryMiB <= 0 || t.DiskGiB < 0 || t.GPUs < 0 || t.PriceUSD < 0 || t.Volumes < 0:
			return fmt.Errorf("a type has no name, no processor, no memory or something negative: %+v", t)
		case !slices.Contains(caps.Arch, t.Arch):
			return fmt.Errorf("type %s is of architecture %q, which Caps does not name", t.Name, t.Arch)
		}
		for _, z := range t.Zones {
			if !slices.Contains(caps.Zones, z) {
				return fmt.Errorf("type %s is in zone %q, which Caps does not name", t.Name, z)
			}
		}
	}
	return nil
}

func tryZone(ctx context.Context, s *suite) error {
	zones := s.Provider.Caps().Zones
	for _, z := range []string{zones[0], zones[len(zones)-1]} { // one of them is not the vendor's own choice
		spec, err := s.machineSpec(ctx, s.owner, s.machines.name("j-zone"))
		if err != nil {
			return unmet("a spec", err)
		}
		spec.Zone = z
		m, err := s.machines.objects().Create(ctx, spec)
		if err != nil {
			return unmet("Create in zone "+z, err)
		}
		s.machines.spares = append(s.machines.spares, m)
		if m.Zone != z {
			return fmt.Errorf("the machine is in zone %q, want %q", m.Zone, z)
		}
		if s.Slow {
			break
		}
	}
	return nil
}

func tryStopped(ctx context.Context, s *suite) error {
	o, err := s.machines.spare(ctx, s.owner)
	if err != nil {
		return err
	}
	if err := s.Stop(ctx, o.ID); err != nil {
		return unmet("Stop of the fixture", err)
	}
	s.machines.spares = append(s.machines.spares, o)
	there, err := s.machines.listed(ctx, s.owner, o.Name)
	if err != nil {
		return err
	}
	if len(there) != 1 || there[0].State != providers.Stopped || !there[0].Partial {
		return fmt.Errorf("List has of a machine that was stopped %+v, want one that is %q and Partial", there, providers.Stopped)
	}
	spec, err := s.machineSpec(ctx, s.owner, o.Name)
	if err != nil {
		return unmet("a spec", err)
	}
	m, err := s.machines.objects().Create(ctx, spec)
	if err != nil {
		return fmt.Errorf("Create of a machine that was stopped: %w", err)
	}
	if m.ID != o.ID || m.State != providers.Running || m.Partial || m.Private != o.Private {
		return fmt.Errorf("Create of a machine that was stopped returned %+v, want %s running at %s", m, o.ID, o.Private)
	}
	return nil
}
