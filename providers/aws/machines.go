package aws

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

type machines struct{ p *Provider }

// controlPool is the pool whose machines are in the control plane's security group.
const controlPool = "control-plane"

// live says whether an instance is there.
func live(i types.Instance) bool {
	return i.State != nil && i.State.Name != types.InstanceStateNameTerminated
}

func stateOf(i types.Instance) types.InstanceStateName {
	if i.State == nil {
		return types.InstanceStateNamePending
	}
	return i.State.Name
}

// machine is an instance as the contract has it.
func machine(i types.Instance) providers.Machine {
	tags := read(i.Tags)
	zone := ""
	if i.Placement != nil {
		zone = aws.ToString(i.Placement.AvailabilityZone)
	}
	id := aws.ToString(i.InstanceId)
	m := providers.Machine{Meta: meta(id, tags), Pool: tags[providers.PoolTag], Network: providers.ID(tags[networkTag]), Type: string(i.InstanceType),
		Image: tags[imageTag], Zone: zone, State: providers.Pending, NodeID: "aws:///" + zone + "/" + id, User: tags[userTag]}
	m.DiskGiB, _ = strconv.Atoi(tags[diskTag])
	m.Private, _ = netip.ParseAddr(aws.ToString(i.PrivateIpAddress))
	m.Public, _ = netip.ParseAddr(aws.ToString(i.PublicIpAddress))
	if m.Network == "" {
		m.Network = providers.ID(aws.ToString(i.VpcId))
	}
	if m.Image == "" {
		m.Image = aws.ToString(i.ImageId)
	}
	if key := tags[hostKeyTag]; key != "" {
		m.HostKeys = []string{key}
	}
	switch stateOf(i) {
	case types.InstanceStateNameRunning:
		m.State = providers.Running
		a := m.Private
		if m.Public.IsValid() {
			a = m.Public
		}
		m.SSH = netip.AddrPortFrom(a, 22)
	case types.InstanceStateNameStopping, types.InstanceStateNameStopped:
		m.State = providers.Stopped
	}
	m.Partial = m.State != providers.Running || len(m.HostKeys) == 0
	if len(m.HostKeys) == 0 {
		m.SSH = netip.AddrPort{} // nobody may connect to it yet: who answers could be anybody
	}
	return m
}

// instances returns those that the filters find and that are not gone.
func (p *Provider) instances(ctx context.Context, f []types.Filter) (all []types.Instance, err error) {
	rs, err := collect(ctx, ec2.NewDescribeInstancesPaginator(p.ec2, &ec2.DescribeInstancesInput{Filters: f}),
		func(o *ec2.DescribeInstancesOutput) []types.Reservation { return o.Reservations })
	for _, r := range rs {
		all = append(all, r.Instances...)
	}
	return all, err
}

// instance returns the one of that ID; NotFound if it is gone, with what AWS still says of it, for an hour or so.
func (p *Provider) instance(ctx context.Context, id providers.ID) (i types.Instance, err error) {
	if !isID(string(id), "i") {
		return i, fail(providers.NotFound, "%q is not the ID of an instance", id)
	}
	out, err := p.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{string(id)}})
	if err != nil {
		return i, err
	}
	for _, r := range out.Reservations {
		for _, i = range r.Instances {
			if live(i) {
				return i, nil
			}
		}
	}
	return i, fail(providers.NotFound, "instance %s", id)
}

// Get returns the machine as it is.
func (m machines) Get(ctx context.Context, id providers.ID) (_ providers.Machine, err error) {
	defer about(providers.GetVerb, providers.MachineNoun, string(id), &err)
	i, err := m.p.instance(ctx, id)
	if err != nil {
		return providers.Machine{}, err
	}
	return machine(i), nil
}

// List returns the owner's machines.
func (m machines) List(ctx context.Context, o providers.Owner) (all []providers.Machine, err error) {
	defer about(providers.ListVerb, providers.MachineNoun, string(o), &err)
	found, err := m.p.instances(ctx, append(owned(providers.MachineNoun, providers.Key{Owner: o}), alive()))
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		all = append(all, machine(i))
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// history returns the live instance of that name, if there is one, and the highest generation that AWS remembers.
func (m machines) history(ctx context.Context, k providers.Key) (there *types.Instance, generation int, err error) {
	if id := m.p.made.recent(providers.MachineNoun, k, m.p.o.Lag); id != "" {
		var i types.Instance
		err := m.p.soon(ctx, func() (err error) { i, err = m.p.instance(ctx, providers.ID(id)); return err })
		if err == nil && meta(id, read(i.Tags)).Name == k.Name {
			return &i, 0, nil
		}
		if !gone(err) && err != nil {
			return nil, 0, err
		}
	}
	all, err := m.p.instances(ctx, owned(providers.MachineNoun, k))
	for i := range all {
		g, _ := strconv.Atoi(read(all[i].Tags)[providers.GenerationTag])
		generation = max(generation, g)
		if live(all[i]) && (there == nil || aws.ToTime(all[i].LaunchTime).Before(aws.ToTime(there.LaunchTime))) {
			there = &all[i]
		}
	}
	return there, max(generation, m.p.made.generation(providers.MachineNoun, k)-1), err
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
	i, generation, err := m.history(ctx, spec.Key())
	if err != nil {
		return providers.Machine{}, err
	}
	if i != nil && stateOf(*i) == types.InstanceStateNameShuttingDown {
		if err := m.vanished(ctx, aws.ToString(i.InstanceId)); err != nil {
			return providers.Machine{}, err
		}
		i = nil
	}
	if i != nil {
		if o := machine(*i); !o.Partial {
			return o, providers.Exists
		}
		return m.ready(ctx, *i)
	}
	fresh, err := m.run(ctx, spec, generation+1)
	if err != nil {
		return providers.Machine{}, err
	}
	m.p.made.note(providers.MachineNoun, spec.Key(), aws.ToString(fresh.InstanceId))
	return m.ready(ctx, fresh)
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
	if stateOf(i) != types.InstanceStateNameShuttingDown {
		if err := balancers(m).without(ctx, i); err != nil {
			return err
		}
		if _, err := m.p.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{string(id)}}); ignoring(err) != nil {
			return err
		}
	}
	if err := m.vanished(ctx, string(id)); err != nil {
		return err
	}
	k := meta(string(id), read(i.Tags))
	m.p.made.drop(providers.MachineNoun, providers.Key{Owner: k.Owner, Name: k.Name})
	return nil
}

// vanished waits until an instance is gone.
func (m machines) vanished(ctx context.Context, id string) error {
	return m.p.wait(ctx, "instance "+id+" is still there", func() (bool, error) {
		_, err := m.p.instance(ctx, providers.ID(id))
		if gone(err) {
			return true, nil
		}
		return false, err
	})
}

// Update sets tags and pool, and the security groups that go with the pool.
func (m machines) Update(ctx context.Context, id providers.ID, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about(providers.UpdateVerb, providers.MachineNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	unlock, err := m.p.keys.lock(ctx, providers.MachineNoun, spec.Key().String())
	if err != nil {
		return providers.Machine{}, err
	}
	defer unlock()
	i, err := m.p.instance(ctx, id)
	if err != nil {
		return providers.Machine{}, err
	}
	o := machine(i)
	if err := mine(o.Meta, spec.Key(), func() (providers.ID, error) { return m.other(ctx, spec.Key()) }); err != nil {
		return providers.Machine{}, err
	}
	for _, d := range []struct{ what, have, want string }{
		{"type", o.Type, spec.Type}, {"image", o.Image, spec.Image}, {"zone", o.Zone, spec.Zone}, {"network", string(o.Network), string(spec.Network)},
	} {
		if d.want != "" && d.have != d.want {
			return providers.Machine{}, fail(providers.Invalid, "its %s is %s and cannot be changed to %s", d.what, d.have, d.want)
		}
	}
	if spec.DiskGiB > o.DiskGiB {
		return providers.Machine{}, fail(providers.Invalid, "its disk has %d GiB and cannot grow to %d", o.DiskGiB, spec.DiskGiB)
	}
	if (o.Pool == controlPool) != (spec.Pool == controlPool) {
		n, err := m.p.network(ctx, o.Network)
		if err != nil {
			return providers.Machine{}, fail(providers.Invalid, "its network: %v", err)
		}
		if _, err := m.p.ec2.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: ptr(string(id)), Groups: groupsOf(n, spec.Pool)}); err != nil {
			return providers.Machine{}, err
		}
	}
	if err := m.p.retag(ctx, string(id), read(i.Tags), m.tags(spec)); err != nil {
		return providers.Machine{}, err
	}
	if i, err = m.p.instance(ctx, id); err != nil {
		return providers.Machine{}, err
	}
	return machine(i), nil
}

// other returns the owner's machine of that name, if there is one.
func (m machines) other(ctx context.Context, k providers.Key) (providers.ID, error) {
	all, err := m.p.instances(ctx, append(owned(providers.MachineNoun, k), alive()))
	if err != nil || len(all) == 0 {
		return "", err
	}
	return providers.ID(aws.ToString(all[0].InstanceId)), nil
}

// check returns why there can be no such machine.
func (m machines) check(s providers.MachineSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	switch {
	case s.Zone != "" && !slices.Contains(m.p.Caps().Zones, s.Zone):
		return fail(providers.Invalid, "zone %q: region %s has %s", s.Zone, m.p.o.Region, strings.Join(m.p.Caps().Zones, ", "))
	case s.DiskGiB < 0 || s.DiskGiB > 16384:
		return fail(providers.Invalid, "disk of %d GiB: it can have from 1 to 16384", s.DiskGiB)
	case len(s.Pool) > 256:
		return fail(providers.Invalid, "the pool's name has more than 256 letters")
	}
	_, err := userData(s)
	return errors.Join(err, checkTags(s.Tags))
}
