package providertest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

func brokenProviders() []broken {
	return []broken{
		{rule: "provider/name", spoil: func(_ *Fixture, p *patched) {
			p.name = "FAKE"
			p.twistMachines(machineTwist{touch: func(m *providers.Machine) { m.NodeID = "FAKE" + strings.TrimPrefix(m.NodeID, "fake") }})
		}},
		{rule: "provider/caps", spoil: func(_ *Fixture, p *patched) {
			p.caps = func(c *providers.Caps) { c.MaxNameLen = 64 }
		}},
		{rule: "provider/prices", spoil: func(_ *Fixture, p *patched) {
			p.caps = func(c *providers.Caps) { c.Prices = &providers.Prices{Date: "today", Source: "here", Region: "here"} }
		}},
		{rule: "balancer/unsupported", options: fake.Options{Lacks: []string{"balancer"}}, spoil: func(_ *Fixture, p *patched) {
			p.balancers = nil
		}},
		{rule: "volume/unsupported", options: fake.Options{Lacks: []string{"volume"}}, spoil: func(_ *Fixture, p *patched) {
			p.twistVolumes(volumeTwist{del: func(context.Context, providers.ID) error { return nil }})
		}},
		{rule: "snapshot/unsupported", options: fake.Options{Lacks: []string{"snapshot"}}, spoil: func(_ *Fixture, p *patched) {
			p.twistSnapshots(snapshotTwist{list: func(context.Context, providers.Owner) ([]providers.Snapshot, error) { return nil, nil }})
		}},
	}
}

// inUse lets Delete of a network in use succeed, though it does nothing, if its ID has, or has not, the words in it.
func inUse(words string, has bool) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		old := p.networks
		p.twistNetworks(networkTwist{del: func(ctx context.Context, id providers.ID) error {
			err := old.Delete(ctx, id)
			if errors.Is(err, providers.Conflict) && strings.Contains(string(id), words) == has {
				return nil
			}
			return err
		}})
	}
}

func brokenNetworks() []broken {
	return []broken{
		{rule: "network/range", spoil: func(_ *Fixture, p *patched) {
			p.twistNetworks(networkTwist{touch: func(n *providers.Network) { n.CIDR = netip.PrefixFrom(n.CIDR.Addr().Next(), n.CIDR.Bits()) }})
		}},
		{rule: "network/invalid", spoil: func(_ *Fixture, p *patched) {
			old := p.networks
			p.twistNetworks(networkTwist{create: func(ctx context.Context, s providers.NetworkSpec) (providers.Network, error) {
				s.CIDR = s.CIDR.Masked()
				return old.Create(ctx, s)
			}})
		}},
		{rule: "network/update-rules", spoil: updatesNetwork(func(s *providers.NetworkSpec, _ providers.Network) {
			if len(s.Allow) > 0 && s.Allow[0].Port == 23 { // it can add and take away, not change
				s.Allow[0].Port = 22
			}
		})},
		{rule: "network/update-range", spoil: updatesNetwork(func(s *providers.NetworkSpec, now providers.Network) { s.CIDR = now.CIDR })},
		{rule: "network/update-invalid", spoil: updatesNetwork(func(s *providers.NetworkSpec, _ providers.Network) {
			for i, r := range s.Allow {
				if r.Port > 65535 {
					s.Allow[i].Port = 22
				}
			}
		})},
		{rule: "network/in-use", spoil: inUse("i-balanced", false)},
		{rule: "network/in-use-by-balancer", spoil: inUse("i-balanced", true)},
	}
}

// updatesNetwork lets Update do something else than the spec says, given what there is.
func updatesNetwork(mend func(s *providers.NetworkSpec, now providers.Network)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		old := p.networks
		p.twistNetworks(networkTwist{update: func(ctx context.Context, id providers.ID, s providers.NetworkSpec) (providers.Network, error) {
			s = clone(s)
			if n, err := old.Get(ctx, id); err == nil {
				mend(&s, n)
			}
			return old.Update(ctx, id, s)
		}})
	}
}

// updatesMachine lets Update do something else than the spec says, given what there is.
func updatesMachine(mend func(s *providers.MachineSpec, now providers.Machine)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		old := p.machines
		p.twistMachines(machineTwist{update: func(ctx context.Context, id providers.ID, s providers.MachineSpec) (providers.Machine, error) {
			if m, err := old.Get(ctx, id); err == nil {
				mend(&s, m)
			}
			return old.Update(ctx, id, s)
		}})
	}
}

// mends changes the machine's spec before it is made.
func mends(mend func(ctx context.Context, p *patched, s *providers.MachineSpec)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		old := p.machines
		p.twistMachines(machineTwist{create: func(ctx context.Context, s providers.MachineSpec) (providers.Machine, error) {
			mend(ctx, p, &s)
			return old.Create(ctx, s)
		}})
	}
}

// seems changes what is said of the shared machines.
func seems(change func(*providers.Machine)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		p.twistMachines(machineTwist{touch: func(m *providers.Machine) {
			if m.Name == "b-shared" {
				change(m)
			}
		}})
	}
}

func brokenMachines() []broken {
	return []broken{
		{rule: "machine/cloud-agent", spoil: func(_ *Fixture, p *patched) {
			old := p.machines
			p.twistMachines(machineTwist{create: func(ctx context.Context, s providers.MachineSpec) (providers.Machine, error) {
				if s.CloudAgent {
					return providers.Machine{}, providers.Unsupported
				}
				return old.Create(ctx, s)
			}})
		}},
		{rule: "machine/running", spoil: seems(func(m *providers.Machine) { m.State = providers.Pending })},
		{rule: "machine/address", spoil: seems(func(m *providers.Machine) { m.Private = netip.MustParseAddr("203.0.113.9") })},
		{rule: "machine/node-id", spoil: seems(func(m *providers.Machine) { m.NodeID = "other:///a/b" })},
		{rule: "machine/host-keys", spoil: seems(func(m *providers.Machine) { m.SSH, m.HostKeys = netip.MustParseAddrPort("192.0.2.1:22"), nil })},
		{rule: "machine/update-pool", spoil: updatesMachine(func(s *providers.MachineSpec, now providers.Machine) {
			if s.Pool == "" {
				s.Pool = now.Pool
			}
		})},
		{rule: "machine/update-type", spoil: updatesMachine(func(s *providers.MachineSpec, now providers.Machine) { s.Type = now.Type })},
		{rule: "machine/update-network", spoil: updatesMachine(func(s *providers.MachineSpec, now providers.Machine) { s.Network = now.Network })},
		{rule: "machine/usable", spoil: func(x *Fixture, _ *patched) {
			x.Usable = func(context.Context, providers.Machine) error { return errors.New("it does not answer") }
		}},
		{rule: "machine/types", spoil: func(_ *Fixture, p *patched) {
			old := p.machines
			p.machines = twistedMachines{machineTwist{Objects: old}, func(ctx context.Context) ([]providers.MachineType, error) {
				types, err := old.Types(ctx)
				slices.Reverse(types)
				return types, err
			}}
		}},
		{rule: "machine/type-unknown", spoil: mends(func(_ context.Context, _ *patched, s *providers.MachineSpec) {
			if s.Type == "none-such" {
				s.Type = "small"
			}
		})},
		{rule: "machine/network-missing", spoil: mends(func(ctx context.Context, p *patched, s *providers.MachineSpec) {
			if s.Network == "none-such" {
				all, _ := p.networks.List(ctx, s.Owner)
				s.Network = all[0].ID
			}
		})},
		{rule: "machine/zone-unknown", spoil: mends(func(_ context.Context, _ *patched, s *providers.MachineSpec) {
			if s.Zone == "none-such" {
				s.Zone = ""
			}
		})},
		{rule: "machine/zone", spoil: mends(func(_ context.Context, _ *patched, s *providers.MachineSpec) {
			if strings.HasPrefix(s.Name, "j-zone") {
				s.Zone = "b"
			}
		})},
		{rule: "machine/spot-unsupported", options: fake.Options{Lacks: []string{"spot"}},
			spoil: mends(func(_ context.Context, _ *patched, s *providers.MachineSpec) { s.Spot = false })},
		{rule: "machine/stopped", spoil: func(_ *Fixture, p *patched) {
			p.twistMachines(machineTwist{touch: func(m *providers.Machine) {
				if m.State == providers.Stopped {
					m.Partial = false
				}
			}})
		}},
	}
}

// mendsBalancer changes the balancer's spec before it is made.
func mendsBalancer(mend func(ctx context.Context, p *patched, s *balancerSpec)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		old := p.balancers
		p.twistBalancers(balancerTwist{create: func(ctx context.Context, s balancerSpec) (providers.LoadBalancer, error) {
			s.Ports = slices.Clone(s.Ports)
			mend(ctx, p, &s)
			return old.Create(ctx, s)
		}})
	}
}

// updatesBalancer lets Update do something else than the spec says, given what there is.
func updatesBalancer(mend func(s, now *balancerSpec)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		old := p.balancers
		p.twistBalancers(balancerTwist{update: func(ctx context.Context, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
			if b, err := old.Get(ctx, id); err == nil {
				s = clone(s)
				mend(&s, &balancerSpec{Network: b.Network, Ports: b.Ports, Targets: b.Targets, Sources: b.Sources})
			}
			return old.Update(ctx, id, s)
		}})
	}
}

func has(tags map[string]string, key string) bool {
	_, ok := tags[key]
	return ok
}

func brokenBalancers() []broken {
	return []broken{
		{rule: "balancer/address", spoil: func(_ *Fixture, p *patched) {
			p.twistBalancers(balancerTwist{touch: func(b *providers.LoadBalancer) { b.Address = netip.Addr{} }})
		}},
		{rule: "balancer/network-missing", spoil: mendsBalancer(func(ctx context.Context, p *patched, s *balancerSpec) {
			if s.Network == "none-such" {
				m, _ := p.machines.Get(ctx, s.Targets[0])
				s.Network = m.Network
			}
		})},
		{rule: "balancer/target-missing", spoil: mendsBalancer(func(_ context.Context, _ *patched, s *balancerSpec) {
			s.Targets = slices.DeleteFunc(slices.Clone(s.Targets), func(t providers.ID) bool { return t == "none-such" })
		})},
		{rule: "balancer/port-invalid", spoil: mendsBalancer(func(_ context.Context, _ *patched, s *balancerSpec) {
			s.Ports[0].Port = min(s.Ports[0].Port, 65535)
		})},
		{rule: "balancer/udp-unsupported", options: fake.Options{Lacks: []string{"udp"}}, spoil: mendsBalancer(func(_ context.Context, _ *patched, s *balancerSpec) {
			s.Ports[0].Protocol = "tcp"
		})},
		{rule: "balancer/update-parts", spoil: updatesBalancer(func(s, now *balancerSpec) {
			if !has(s.Tags, "fresh") && len(s.Ports) != 1 {
				s.Ports = now.Ports
			}
		})},
		{rule: "balancer/update-target", spoil: updatesBalancer(func(s, now *balancerSpec) {
			s.Targets = slices.DeleteFunc(s.Targets, func(t providers.ID) bool { return t == "none-such" })
		})},
		{rule: "balancer/update-network", spoil: updatesBalancer(func(s, now *balancerSpec) { s.Network = now.Network })},
		{rule: "balancer/targets-sorted", spoil: func(_ *Fixture, p *patched) {
			p.twistBalancers(balancerTwist{touch: func(b *providers.LoadBalancer) { slices.Reverse(b.Targets) }})
		}},
	}
}

// changes replaces verbs of volumes, given the old.
func changes(change func(v *twistedVolumes, old providers.Volumes)) func(*Fixture, *patched) {
	return func(_ *Fixture, p *patched) {
		v := twistedVolumes{volumeTwist: volumeTwist{Objects: p.volumes}, old: p.volumes}
		change(&v, p.volumes)
		p.volumes = v
	}
}

func brokenVolumes() []broken {
	return slices.Concat(brokenAttachments(), []broken{
		{rule: "volume/resize", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.resize = func(ctx context.Context, id providers.ID, size int) (providers.Volume, error) {
				o, err := old.Get(ctx, id)
				if err == nil && size > o.SizeGiB {
					return o, nil
				}
				return old.Resize(ctx, id, size)
			}
		})},
		{rule: "volume/shrink", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.resize = func(ctx context.Context, id providers.ID, size int) (providers.Volume, error) {
				o, err := old.Resize(ctx, id, size)
				if errors.Is(err, providers.Invalid) {
					return old.Get(ctx, id)
				}
				return o, err
			}
		})},
		{rule: "volume/update-size", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.update = func(ctx context.Context, id providers.ID, s providers.VolumeSpec) (providers.Volume, error) {
				s.SizeGiB = 0
				return old.Update(ctx, id, s)
			}
		})},
		{rule: "volume/size-invalid", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.create = func(ctx context.Context, s providers.VolumeSpec) (providers.Volume, error) {
				s.SizeGiB = max(s.SizeGiB, 1)
				return old.Create(ctx, s)
			}
		})},
		{rule: "volume/outlives-machine", spoil: func(_ *Fixture, p *patched) {
			old := p.machines
			p.twistMachines(machineTwist{del: func(ctx context.Context, id providers.ID) error {
				all, _ := p.volumes.List(ctx, brokenOwner+"a")
				err := old.Delete(ctx, id)
				for _, v := range all {
					if v.Machine == id {
						err = errors.Join(err, p.volumes.Delete(ctx, v.ID))
					}
				}
				return err
			}})
		}},
	})
}

func brokenAttachments() []broken {
	return []broken{
		{rule: "volume/attach", spoil: func(_ *Fixture, p *patched) {
			p.twistVolumes(volumeTwist{touch: func(v *providers.Volume) { v.Device = "" }})
		}},
		{rule: "volume/attach-again", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.attach = func(ctx context.Context, id, m providers.ID) (providers.Volume, error) {
				if o, err := old.Get(ctx, id); err == nil && o.Machine == m {
					return providers.Volume{}, providers.Conflict
				}
				return old.Attach(ctx, id, m)
			}
		})},
		{rule: "volume/attach-elsewhere", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.attach = func(ctx context.Context, id, m providers.ID) (providers.Volume, error) {
				if o, err := old.Get(ctx, id); err == nil && o.Machine != "" && o.Machine != m {
					_ = old.Detach(ctx, id, o.Machine)
				}
				return old.Attach(ctx, id, m)
			}
		})},
		{rule: "volume/attach-missing", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.attach = func(ctx context.Context, id, m providers.ID) (providers.Volume, error) {
				o, err := old.Attach(ctx, id, m)
				if errors.Is(err, providers.NotFound) {
					err = providers.Invalid
				}
				return o, err
			}
		})},
		{rule: "volume/delete-attached", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.del = func(ctx context.Context, id providers.ID) error {
				err := old.Delete(ctx, id)
				if errors.Is(err, providers.Conflict) {
					return nil
				}
				return err
			}
		})},
		{rule: "volume/detach-elsewhere", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.detach = func(ctx context.Context, id, m providers.ID) error {
				if o, err := old.Get(ctx, id); err == nil {
					m = o.Machine
				}
				return old.Detach(ctx, id, m)
			}
		})},
		{rule: "volume/detach", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.detach = func(ctx context.Context, id, m providers.ID) error {
				if o, err := old.Get(ctx, id); err == nil && o.Machine == "" {
					return providers.NotFound
				}
				return old.Detach(ctx, id, m)
			}
		})},
	}
}

func brokenSnapshots() []broken {
	return []broken{
		{rule: "snapshot/time", spoil: func(_ *Fixture, p *patched) {
			p.twistSnapshots(snapshotTwist{touch: func(n *providers.Snapshot) { n.CreatedUnix = 0 }})
		}},
		{rule: "snapshot/update-volume", spoil: func(_ *Fixture, p *patched) {
			old := p.volumes.Snapshots()
			p.twistSnapshots(snapshotTwist{update: func(ctx context.Context, id providers.ID, s providers.SnapshotSpec) (providers.Snapshot, error) {
				s.Volume = ""
				return old.Update(ctx, id, s)
			}})
		}},
		{rule: "snapshot/volume-missing", spoil: func(_ *Fixture, p *patched) {
			volumes, old := p.volumes, p.volumes.Snapshots()
			p.twistSnapshots(snapshotTwist{create: func(ctx context.Context, s providers.SnapshotSpec) (providers.Snapshot, error) {
				if s.Volume == "none-such" {
					all, _ := volumes.List(ctx, s.Owner)
					s.Volume = all[0].ID
				}
				return old.Create(ctx, s)
			}})
		}},
		{rule: "snapshot/restore", spoil: func(_ *Fixture, p *patched) {
			p.twistVolumes(volumeTwist{touch: func(v *providers.Volume) { v.Snapshot = "" }})
		}},
		{rule: "snapshot/restore-missing", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.create = func(ctx context.Context, s providers.VolumeSpec) (providers.Volume, error) {
				if s.Snapshot == "none-such" {
					s.Snapshot = ""
				}
				return old.Create(ctx, s)
			}
		})},
		{rule: "snapshot/restore-smaller", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.create = func(ctx context.Context, s providers.VolumeSpec) (providers.Volume, error) {
				if n, err := old.Snapshots().Get(ctx, s.Snapshot); err == nil {
					s.SizeGiB = max(s.SizeGiB, n.SizeGiB)
				}
				return old.Create(ctx, s)
			}
		})},
		{rule: "snapshot/outlives-volume", spoil: changes(func(v *twistedVolumes, old providers.Volumes) {
			v.del = func(ctx context.Context, id providers.ID) error {
				all, _ := old.Snapshots().List(ctx, brokenOwner+"a")
				err := old.Delete(ctx, id)
				for _, n := range all {
					if n.Volume == id && err == nil {
						err = old.Snapshots().Delete(ctx, n.ID)
					}
				}
				return err
			}
		})},
	}
}
