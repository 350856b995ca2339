package gcp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

type machines struct{ p *Provider }

// controlPool is the pool whose machines are in the control plane.
const controlPool = "control-plane"

// machine is an instance as the contract has it.
func (p *Provider) machine(i *computepb.Instance) providers.Machine {
	tags, rec := unlabel(i.GetLabels()), record(i)
	r := ref{last(i.GetZone()), i.GetName(), i.GetId()}
	m := providers.Machine{Meta: meta(r, tags), Pool: tags[providers.PoolTag], Network: providers.ID(rec[networkTag]), Type: last(i.GetMachineType()),
		Image: rec[imageTag], Zone: r.place, State: providers.Pending, NodeID: "gce://" + p.o.Project + "/" + r.place + "/" + r.name, User: rec[userTag]}
	for _, d := range i.GetDisks() {
		if d.GetBoot() {
			m.DiskGiB = int(d.GetDiskSizeGb())
		}
	}
	for _, n := range i.GetNetworkInterfaces() {
		m.Private, _ = netip.ParseAddr(n.GetNetworkIP())
		for _, a := range n.GetAccessConfigs() {
			m.Public, _ = netip.ParseAddr(a.GetNatIP())
		}
	}
	if key := item(i, hostKeyItem); key != "" {
		m.HostKeys = []string{key}
	}
	switch i.GetStatus() {
	case "RUNNING":
		m.State = providers.Running
		if len(m.HostKeys) > 0 { // else nobody may connect to it yet: who answers could be anybody
			a := m.Private
			if m.Public.IsValid() {
				a = m.Public
			}
			m.SSH = netip.AddrPortFrom(a, 22)
		}
	case "STOPPING", "TERMINATED", "SUSPENDING", "SUSPENDED":
		m.State = providers.Stopped
	}
	m.Partial = m.State != providers.Running || len(m.HostKeys) == 0
	return m
}

// instances returns those of the region that the filter finds and keep wants.
func (p *Provider) instances(ctx context.Context, filter *string, keep func(*computepb.Instance) bool) (all []*computepb.Instance, err error) {
	if *filter == "" {
		filter = nil
	}
	pairs, err := collect(ctx, p, func() func() (compute.InstancesScopedListPair, error) {
		return p.api.instances.AggregatedList(ctx, &computepb.AggregatedListInstancesRequest{Project: p.o.Project, Filter: filter}).Next
	})
	for _, pair := range pairs {
		for _, i := range pair.Value.GetInstances() {
			if strings.HasPrefix(last(i.GetZone()), p.o.Region+"-") && (keep == nil || keep(i)) {
				all = append(all, i)
			}
		}
	}
	return all, err
}

// instanceAt returns the instance of that name.
func (p *Provider) instanceAt(ctx context.Context, zone, name string) (*computepb.Instance, error) {
	return get(ctx, p, func() (*computepb.Instance, error) {
		return p.api.instances.Get(ctx, &computepb.GetInstanceRequest{Project: p.o.Project, Zone: zone, Instance: name})
	})
}

// instance returns the one of that ID; NotFound if it is gone.
func (p *Provider) instance(ctx context.Context, id providers.ID) (*computepb.Instance, error) {
	r, err := refOf(providers.MachineNoun, id)
	if err != nil {
		return nil, err
	}
	i, err := p.instanceAt(ctx, r.place, r.name)
	if err == nil && i.GetId() != r.num {
		return nil, fail(providers.NotFound, "instance %s: there is another one of the name, %d", id, i.GetId())
	}
	return i, err
}

// Get returns the machine as it is.
func (m machines) Get(ctx context.Context, id providers.ID) (_ providers.Machine, err error) {
	defer about(providers.GetVerb, providers.MachineNoun, string(id), &err)
	i, err := m.p.instance(ctx, id)
	if err != nil {
		return providers.Machine{}, err
	}
	return m.p.machine(i), nil
}

// List returns the owner's machines in the region.
func (m machines) List(ctx context.Context, o providers.Owner) (all []providers.Machine, err error) {
	defer about(providers.ListVerb, providers.MachineNoun, string(o), &err)
	found, err := m.p.instances(ctx, filter(providers.MachineNoun, o), nil)
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		all = append(all, m.p.machine(i))
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// named returns the instance that has the name that one of the key would have; nil if there is none.
func (m machines) named(ctx context.Context, k providers.Key) (*computepb.Instance, error) {
	name := vendorName(providers.MachineNoun, k, "")
	found, err := m.p.instances(ctx, ptr("name = "+name), nil)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], ours(m.p.machine(found[0]).Meta, k)
}

// Create runs an instance and waits until it has said its host key.
func (m machines) Create(ctx context.Context, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about(providers.CreateVerb, providers.MachineNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	unlock, err := m.p.keys.lock(ctx, providers.MachineNoun, spec.Key().String())
	if err != nil {
		return providers.Machine{}, err
	}
	defer unlock()
	i, err := m.named(ctx, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	if i != nil {
		if o := m.p.machine(i); !o.Partial {
			return o, providers.Exists
		}
		if o, err := m.ready(ctx, i); !gone(err) {
			return o, err
		} // it was on its way out
	}
	i, exists, err := m.run(ctx, spec)
	if err != nil {
		return providers.Machine{}, err
	}
	if o := m.p.machine(i); exists && !o.Partial {
		return o, providers.Exists
	}
	return m.ready(ctx, i)
}

// Delete takes the machine out of its balancers, ends it and waits until it is gone. Its volumes stay.
func (m machines) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.MachineNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	i, err := m.p.instance(ctx, id)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := balancers(m).without(ctx, i); err != nil {
		return err
	}
	if err := ignoring(m.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return m.p.api.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), RequestId: request})
	})); err != nil {
		return err
	}
	return vanished(ctx, m.p, "instance "+string(id), func() (*computepb.Instance, error) { return m.p.instance(ctx, id) })
}

// Update sets tags and pool, and the network tags that go with the pool.
func (m machines) Update(ctx context.Context, id providers.ID, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about(providers.UpdateVerb, providers.MachineNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	var i *computepb.Instance
	err = m.p.fresh(ctx, func() error {
		if i, err = m.p.instance(ctx, id); err != nil {
			return err
		}
		if err := m.changeable(i, spec); err != nil {
			return err
		}
		if err := m.move(ctx, i, spec); err != nil {
			return err
		}
		return m.relabel(ctx, i, m.tags(spec))
	})
	if err != nil {
		return providers.Machine{}, err
	}
	if i, err = m.p.instance(ctx, id); err != nil {
		return providers.Machine{}, err
	}
	return m.p.machine(i), nil
}

// changeable returns why the instance cannot become what the spec says.
func (m machines) changeable(i *computepb.Instance, spec providers.MachineSpec) error {
	o := m.p.machine(i)
	if err := mine(o.Meta, spec.Key()); err != nil {
		return err
	}
	for _, d := range []struct{ what, have, want string }{
		{"type", o.Type, spec.Type}, {"image", o.Image, spec.Image}, {"zone", o.Zone, spec.Zone}, {"network", string(o.Network), string(spec.Network)},
	} {
		if d.want != "" && d.have != d.want {
			return fail(providers.Invalid, "its %s is %s and cannot be changed to %s", d.what, d.have, d.want)
		}
	}
	if spec.DiskGiB > o.DiskGiB {
		return fail(providers.Invalid, "its disk has %d GiB and cannot grow to %d", o.DiskGiB, spec.DiskGiB)
	}
	return nil
}

// move gives the instance the network tags of the spec's pool.
func (m machines) move(ctx context.Context, i *computepb.Instance, spec providers.MachineSpec) error {
	n, err := m.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return fail(providers.Invalid, "its network: %v", err)
	}
	want := slices.DeleteFunc(slices.Clone(i.GetTags().GetItems()), func(t string) bool { return t == n.name(nodesPart) || t == n.name(controlPart) })
	want = append(want, n.networkTags(spec.Pool)...)
	if slices.Equal(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(i.GetTags().GetItems()))) {
		return nil
	}
	return m.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return m.p.api.instances.SetTags(ctx, &computepb.SetTagsInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), RequestId: request,
			TagsResource: &computepb.Tags{Items: want, Fingerprint: i.GetTags().Fingerprint}})
	})
}

// relabel gives the instance the labels of the tags, if it has not got them.
func (m machines) relabel(ctx context.Context, i *computepb.Instance, tags map[string]string) error {
	want := labels(retagged(unlabel(i.GetLabels()), tags))
	if same(i.GetLabels(), want) {
		return nil
	}
	return m.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return m.p.api.instances.SetLabels(ctx, &computepb.SetLabelsInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), RequestId: request,
			InstancesSetLabelsRequestResource: &computepb.InstancesSetLabelsRequest{Labels: want, LabelFingerprint: i.LabelFingerprint}})
	})
}

// check returns why there can be no such machine.
func (m machines) check(s providers.MachineSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	switch {
	case s.Zone != "" && !slices.Contains(m.p.Caps().Zones, s.Zone):
		return fail(providers.Invalid, "zone %q: region %s has %s", s.Zone, m.p.o.Region, strings.Join(m.p.Caps().Zones, ", "))
	case s.DiskGiB < 0 || s.DiskGiB > 65536:
		return fail(providers.Invalid, "disk of %d GiB: it can have from 10 to 65536", s.DiskGiB)
	case len(s.Pool) > 256:
		return fail(providers.Invalid, "the pool's name has more than 256 letters")
	}
	_, err := bootData(s, nil)
	return errors.Join(err, checkTags(providers.MachineNoun, s.Tags))
}
