package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
		{rule: "network/in-use", spoil: inUse("i-balanced", false)},
		{rule: "network/in-use-by-balancer", spoil: inUse("i-balanced", true)},
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
		{rule: "machine/running", spoil: seems(func(m *providers.Machine) { m.State = providers.Pending })},
		{rule: "machine/address", spoil: seems(func(m *providers.Machine) { m.Private = netip.MustParseAddr("203.0.113.9") })},
		{rule: "machine/node-id", spoil: seems(func(m *providers.Machine) { m.NodeID = "other:///a/b" })},
		{rule: "machine/host-keys", spoil: seems(func(m *providers.Machine) { m.SSH, m.HostKeys = netip.MustParseAddrPort("192.0.2.1:22"), nil })},
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

// updates replaces Update by one that is given the old.
func updates(update func(ctx context.Context, x *Fixture, old providers.LoadBalancers, id providers.ID, s balancerSpec) (providers.LoadBalancer, error)) func(*Fixture, *patched) {
	return func(x *Fixture, p *patched) {
		old := p.balancers
		p.twistUpdate(balancerTwist{}, func(ctx context.Context, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
			return update(ctx, x, old, id, s)
		})
	}
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
		{rule: "balancer/update", spoil: updates(func(ctx context.Context, _ *Fixture, old providers.LoadBalancers, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
			if b, err := old.Get(ctx, id); err == nil {
				s.Ports = b.Ports
			}
			return old.Update(ctx, id, s)
		})},
		{rule: "balancer/update-touches-only", spoil: func(_ *Fixture, p *patched) {
			old, counts := p.balancers, sync.Map{}
			touch := func(b *providers.LoadBalancer) {
				if n, there := counts.Load(b.ID); there {
					b.Hostname = fmt.Sprintf("name-%d", n)
				}
			}
			var n atomic.Int64
			p.twistUpdate(balancerTwist{touch: touch}, func(ctx context.Context, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
				b, err := old.Update(ctx, id, s)
				if err == nil {
					counts.Store(id, n.Add(1))
				}
				return b, err
			})
		}},
		{rule: "balancer/update-quiet", spoil: func(x *Fixture, p *patched) {
			old, writes, extra := p.balancers, x.Writes, &atomic.Int64{}
			x.Writes = func() int { return writes() + int(extra.Load()) }
			p.twistUpdate(balancerTwist{}, func(ctx context.Context, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
				extra.Add(1)
				return old.Update(ctx, id, s)
			})
		}},
		{rule: "balancer/update-identity", spoil: updates(func(ctx context.Context, _ *Fixture, old providers.LoadBalancers, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
			if b, err := old.Get(ctx, id); err == nil {
				s.Owner, s.Name = b.Owner, b.Name
			}
			return old.Update(ctx, id, s)
		})},
		{rule: "balancer/update-missing", spoil: updates(func(ctx context.Context, _ *Fixture, old providers.LoadBalancers, id providers.ID, s balancerSpec) (providers.LoadBalancer, error) {
			b, err := old.Update(ctx, id, s)
			if errors.Is(err, providers.NotFound) {
				err = providers.Invalid
			}
			return b, err
		})},
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
