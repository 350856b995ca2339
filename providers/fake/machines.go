package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/provisionhq/provision/providers"
)

type machines struct {
	objects[providers.MachineSpec, providers.Machine]
}

// Create makes the machine, which may stop at once.
func (m machines) Create(ctx context.Context, spec providers.MachineSpec) (providers.Machine, error) {
	got, err := m.objects.Create(ctx, spec)
	if err != nil || !slices.Contains(m.fake.options.Dies, spec.Name) {
		return got, err
	}
	if _, again := m.fake.died.LoadOrStore(got.ID, true); again {
		return got, nil
	}
	if err := m.fake.Stop(ctx, got.ID); err != nil {
		return got, err
	}
	return m.Get(ctx, got.ID)
}

// Types returns three sizes, each in all zones but where Options.Sold says which.
func (m machines) Types(ctx context.Context) ([]providers.MachineType, error) {
	c := providers.Call{Noun: providers.MachineNoun, Verb: providers.TypesVerb}
	if err := m.fake.call(ctx, c, 1, func() (bool, error) { return false, nil }); err != nil {
		return nil, err
	}
	types := machineTypes()
	for i, t := range types {
		if in, limited := m.fake.options.Sold[t.Name]; limited {
			types[i].Zones = slices.Clone(in)
		}
	}
	return types, nil
}

func machineTypes() []providers.MachineType {
	return []providers.MachineType{
		{Name: "large", CPUs: 8000, MemoryMiB: 16384, DiskGiB: 40, Arch: "amd64", Zones: zones(), PriceUSD: 0.32, Volumes: 127},
		{Name: "medium", CPUs: 4000, MemoryMiB: 8192, DiskGiB: 40, Arch: "amd64", Zones: zones(), PriceUSD: 0.16, Volumes: 64},
		{Name: "small", CPUs: 2000, MemoryMiB: 4096, DiskGiB: 20, Arch: "amd64", Zones: zones(), PriceUSD: 0.08, Volumes: 24},
	}
}

// machineKind is made by two sub-calls: the machine is made, then it is started.
func machineKind(caps providers.Caps) kind[providers.MachineSpec, providers.Machine] {
	return kind[providers.MachineSpec, providers.Machine]{
		noun:  providers.MachineNoun,
		steps: 2,
		pick:  machineTable,
		meta:  func(m *providers.Machine) *providers.Meta { return &m.Meta },
		clone: cloneMachine,
		build: func(s *state, spec providers.MachineSpec, id providers.ID) (providers.Machine, error) {
			if spec.Spot && !caps.Spot {
				return providers.Machine{}, fmt.Errorf("spot machine: %w", providers.Unsupported)
			}
			return buildMachine(s, spec, id)
		},
		tags:   func(s providers.MachineSpec) map[string]string { return s.Tags },
		update: updateMachine,
		step:   stepMachine,
		leave:  leaveMachine,
	}
}

func cloneMachine(m providers.Machine) providers.Machine {
	m.Tags, m.HostKeys = maps.Clone(m.Tags), slices.Clone(m.HostKeys)
	return m
}

func stepMachine(m *providers.Machine, done int) {
	switch {
	case done == 2:
		m.State = providers.Running
	case m.State == providers.Running:
		m.State = providers.Stopped
	default:
		m.State = providers.Pending
	}
}

func buildMachine(s *state, spec providers.MachineSpec, id providers.ID) (m providers.Machine, err error) {
	n, err := s.network(spec.Owner, spec.Network)
	if err != nil {
		return m, err
	}
	i := slices.IndexFunc(machineTypes(), func(t providers.MachineType) bool { return t.Name == spec.Type })
	if i < 0 {
		return m, fmt.Errorf("type %q: %w: there is none of that name", spec.Type, providers.Invalid)
	}
	if spec.DiskGiB < 0 {
		return m, fmt.Errorf("disk of %d GiB: %w", spec.DiskGiB, providers.Invalid)
	}
	offered := n.Zones
	if len(offered) == 0 {
		offered = zones()
	}
	zone := spec.Zone
	if zone == "" {
		zone = offered[hash(string(id))%uint64(len(offered))]
	}
	if !slices.Contains(offered, zone) {
		return m, fmt.Errorf("zone %q: %w: network %s is not there", zone, providers.Invalid, n.ID)
	}
	addr, err := s.freeAddress(n.ID, n.CIDR, string(id))
	return providers.Machine{
		Pool:     spec.Pool,
		Network:  n.ID,
		Type:     spec.Type,
		Image:    orElse(spec.Image, "debian-12"),
		Zone:     zone,
		DiskGiB:  max(spec.DiskGiB, machineTypes()[i].DiskGiB),
		State:    providers.Pending,
		NodeID:   "fake:///" + zone + "/" + string(id),
		Private:  addr,
		User:     orElse(spec.User, "root"),
		HostKeys: []string{hostKey(id)},
	}, err
}

// updateMachine changes the pool; what else the spec asks for must be so already.
func updateMachine(_ *state, m *providers.Machine, spec providers.MachineSpec) error {
	for _, d := range []struct{ what, have, want string }{
		{"type", m.Type, spec.Type}, {"image", m.Image, spec.Image}, {"zone", m.Zone, spec.Zone}, {"network", string(m.Network), string(spec.Network)},
	} {
		if d.want != "" && d.have != d.want {
			return fmt.Errorf("%w: the %s of a machine cannot be changed from %s to %s", providers.Invalid, d.what, d.have, d.want)
		}
	}
	if spec.DiskGiB > m.DiskGiB {
		return fmt.Errorf("%w: the disk of a machine cannot grow from %d GiB to %d", providers.Invalid, m.DiskGiB, spec.DiskGiB)
	}
	m.Pool = spec.Pool
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// network returns the owner's complete network of that ID.
func (s *state) network(owner providers.Owner, id providers.ID) (providers.Network, error) {
	r, ok := s.networks.rows[id]
	if !ok || r.Object.Owner != owner {
		return r.Object, fmt.Errorf("network %q: %w", id, providers.NotFound)
	}
	if r.Object.Partial {
		return r.Object, fmt.Errorf("network %q: %w: it is not complete", id, providers.Conflict)
	}
	return r.Object, nil
}

// leaveMachine detaches the machine's volumes and takes it out of its balancers.
func leaveMachine(s *state, m providers.Machine) (changes []change, err error) {
	for id := range s.users[m.ID] {
		if r, ok := s.volumes.rows[id]; ok {
			r.Object.Machine, r.Object.Device = "", ""
			changes = append(changes, put[providers.Volume]{volumeTable, id, &r})
		}
		if r, ok := s.balancers.rows[id]; ok {
			r.Object = cloneBalancer(r.Object)
			r.Object.Targets = slices.DeleteFunc(r.Object.Targets, func(t providers.ID) bool { return t == m.ID })
			changes = append(changes, put[providers.LoadBalancer]{balancerTable, id, &r})
		}
	}
	return changes, nil
}
