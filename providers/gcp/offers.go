package gcp

import (
	"context"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// A kind is what a machine type is in a zone.
type kind struct {
	cpus float64
	arch string
}

// typed looks up the types of the machines that are needed, each once in each zone. It says which are not offered.
func (a *audit) typed(ctx context.Context) error {
	a.once.Do(func() { a.err = a.look(ctx) })
	return a.err
}

func (a *audit) look(ctx context.Context) error {
	type offer struct{ zone, name string }
	wanted := map[offer][]string{} // names of machines
	for _, s := range a.need.Machines {
		if err := (machines{a.p}).check(s); err != nil {
			field := ""
			if s.Zone != "" && !slices.Contains(a.p.Caps().Zones, s.Zone) {
				field = "zone"
			}
			if err := a.refused(err, providers.MachineNoun, s.Name, field); err != nil {
				return err
			}
			continue
		}
		zone := a.zone(s)
		wanted[offer{zone, s.Type}] = append(wanted[offer{zone, s.Type}], s.Name)
	}
	found := make(map[string]kind, len(wanted))
	var looks []func() error
	for o, names := range wanted {
		looks = append(looks, func() error {
			t, err := a.p.typeAt(ctx, o.zone, o.name)
			if err != nil {
				for _, n := range names {
					if err := a.refused(err, providers.MachineNoun, n, "type"); err != nil {
						return err
					}
				}
				return nil
			}
			a.add(func(*providers.Report) { found[o.zone+"/"+o.name] = kind{float64(t.GetGuestCpus()), archOf(t)} })
			return nil
		})
	}
	err := together(looks...)
	a.types = found
	return a.unseen("machine types", err)
}

// cpus are the processors of a type, in whatever zone.
func (a *audit) cpus(name string) float64 {
	for at, k := range a.types {
		if last(at) == name {
			return k.cpus
		}
	}
	return 0
}

// imaged looks up each image for each architecture that it is needed for.
func (a *audit) imaged(ctx context.Context) error {
	if err := a.typed(ctx); err != nil {
		return err
	}
	type want struct{ image, arch string }
	wanted := map[want][]string{}
	for _, s := range a.need.Machines {
		if k, known := a.types[a.zone(s)+"/"+s.Type]; known {
			w := want{s.Image, k.arch}
			wanted[w] = append(wanted[w], s.Name)
		}
	}
	var looks []func() error
	for w, names := range wanted {
		looks = append(looks, func() error {
			_, err := a.p.image(ctx, w.image, w.arch)
			if err == nil {
				return nil
			}
			for _, n := range names {
				if err := a.unseen("images", a.refused(err, providers.MachineNoun, n, "image")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return together(looks...)
}

// bordered looks at the network that is to be used: whether it is there, has the range, and a way out.
func (a *audit) bordered(ctx context.Context) error {
	for _, s := range a.need.Networks {
		if err := a.refused(networks{a.p}.check(s), providers.NetworkNoun, s.Name, "cidr"); err != nil {
			return err
		}
		if a.p.o.Network == "" {
			continue // one of its own overlaps nothing
		}
		if err := a.inside(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// inside looks at the network of the options.
func (a *audit) inside(ctx context.Context, s providers.NetworkSpec) error {
	p := a.p
	v, err := p.vpc(ctx, p.o.Network)
	n := &network{key: s.Key(), vpc: v}
	if err == nil {
		err = p.lookWithin(ctx, n)
	}
	if err != nil {
		return a.unseen("network "+p.o.Network, a.refused(err, providers.NetworkNoun, s.Name, "network"))
	}
	if s.CIDR.IsValid() && s.CIDR != n.cidr() {
		a.problem(providers.Invalid, providers.NetworkNoun, s.Name, "cidr", "subnetwork %s of network %s has the range %s, not %s: leave the range out, or name another subnetwork", n.subnet.GetName(), p.o.Network, n.cidr(), s.CIDR)
	}
	routes, err := collect(ctx, p, func() func() (*computepb.Route, error) {
		return p.api.routes.List(ctx, &computepb.ListRoutesRequest{Project: p.o.Project}).Next
	})
	if err != nil {
		return a.unseen("routes", err)
	}
	if !slices.ContainsFunc(routes, func(r *computepb.Route) bool {
		return last(r.GetNetwork()) == p.o.Network && r.GetDestRange() == "0.0.0.0/0"
	}) {
		a.problem(providers.Invalid, providers.NetworkNoun, s.Name, "network", "network %s has no route to 0.0.0.0/0: its machines reach nothing outside, and nobody who asks from outside gets an answer", p.o.Network)
	}
	return nil
}

// unnamed looks for things of others that have the names that ours would have. There is one of each name in its place.
func (a *audit) unnamed(ctx context.Context) error {
	return together(
		func() error { return a.unseen("instances", a.freeMachines(ctx)) },
		func() error { return a.unseen("addresses", a.freeBalancers(ctx)) },
		func() error { return a.unseen("networks", a.freeNetworks(ctx)) },
		func() error { return a.unseen("disks", a.freeDisks(ctx)) },
	)
}

// strange adds a problem if a thing that has one of the names is not what it would be.
func (a *audit) strange(n providers.Noun, names map[string]string, thing string, m providers.Meta) {
	if name, taken := names[thing]; taken {
		_ = a.refused(ours(m, providers.Key{Owner: a.need.Owner, Name: name}), n, name, "name") // which is a problem, if anything
	}
}

func (a *audit) freeMachines(ctx context.Context) error {
	wanted := names(providers.MachineNoun, a.need.Machines)
	if len(wanted) == 0 {
		return nil
	}
	found, err := a.p.instances(ctx, ptr(""), nil)
	for _, i := range found {
		a.strange(providers.MachineNoun, wanted, i.GetName(), a.p.machine(i).Meta)
	}
	return err
}

func (a *audit) freeBalancers(ctx context.Context) error {
	wanted := names(providers.BalancerNoun, a.need.LoadBalancers)
	for vendor, name := range wanted {
		at, err := a.p.addressAt(ctx, vendor)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		m := providers.Meta{ID: ref{a.p.o.Region, at.GetName(), at.GetId()}.id()}
		if ofAddress(at) != nil {
			m = meta(ref{a.p.o.Region, at.GetName(), at.GetId()}, unlabel(at.GetLabels()))
		}
		a.strange(providers.BalancerNoun, map[string]string{vendor: name}, vendor, m)
	}
	return nil
}

func (a *audit) freeNetworks(ctx context.Context) error {
	wanted := names(providers.NetworkNoun, a.need.Networks)
	if len(wanted) == 0 || a.p.o.Network != "" {
		return nil
	}
	found, err := a.p.allVPCs(ctx)
	for _, v := range found {
		if n := ofVPC(v); n == nil {
			a.strange(providers.NetworkNoun, wanted, v.GetName(), providers.Meta{ID: ref{networkPlace, v.GetName(), v.GetId()}.id()})
		}
	}
	return err
}

// freeDisks looks at disks: an instance's boot disk has the instance's name.
func (a *audit) freeDisks(ctx context.Context) error {
	wanted, boots := names(providers.VolumeNoun, a.need.Volumes), names(providers.MachineNoun, a.need.Machines)
	if len(wanted)+len(boots) == 0 {
		return nil
	}
	found, err := a.p.disks(ctx, nil)
	for _, d := range found {
		m := volume(d, nil).Meta
		a.strange(providers.VolumeNoun, wanted, d.GetName(), m)
		if name, taken := boots[d.GetName()]; taken && len(d.GetUsers()) == 0 {
			a.problem(providers.Conflict, providers.MachineNoun, name, "name", "disk %s has the name that its boot disk would have, and no instance uses it: delete it", m.ID)
		}
	}
	return err
}
