package azure

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

type machines struct{ p *Provider }

// controlPool is the pool whose machines have the control plane's role.
const controlPool = "control-plane"

// A vm is what there is of a machine. Its parts bear its name.
type vm struct {
	group, name string
	vm          *armcompute.VirtualMachine
	nic         *armnetwork.Interface
	address     *armnetwork.PublicIPAddress
}

// tags are those of the virtual machine or, if that is not there, of the part that was made last.
func (v *vm) tags() map[string]string {
	switch {
	case v.vm != nil:
		return read(v.vm.Tags)
	case v.nic != nil:
		return read(v.nic.Tags)
	case v.address != nil:
		return read(v.address.Tags)
	}
	return nil
}

// anchor is the resource ID of what has the tags.
func (v *vm) anchor() string {
	switch {
	case v.vm != nil:
		return val(v.vm.ID)
	case v.nic != nil:
		return val(v.nic.ID)
	}
	return val(v.address.ID)
}

func (v *vm) there() bool { return v.vm != nil || v.nic != nil || v.address != nil }

// id is the machine's. Its generation is on each of its parts.
func (v *vm) id() id { return id{v.group, v.name, v.tags()[providers.GenerationTag]} }

// provisioning is what Azure says of how far the virtual machine is: "Succeeded".
func (v *vm) provisioning() string {
	if v.vm == nil || v.vm.Properties == nil {
		return ""
	}
	return val(v.vm.Properties.ProvisioningState)
}

// power is what Azure says of whether the virtual machine runs: "running"; empty if it never did.
func (v *vm) power() string {
	if v.vm == nil || v.vm.Properties == nil || v.vm.Properties.InstanceView == nil {
		return ""
	}
	for _, s := range v.vm.Properties.InstanceView.Statuses {
		if after, ok := strings.CutPrefix(val(s.Code), "PowerState/"); ok {
			return after
		}
	}
	return ""
}

// ip is the first IP configuration of the network interface.
func (v *vm) ip() *armnetwork.InterfaceIPConfigurationPropertiesFormat {
	if v.nic == nil || v.nic.Properties == nil || len(v.nic.Properties.IPConfigurations) == 0 || v.nic.Properties.IPConfigurations[0].Properties == nil {
		return &armnetwork.InterfaceIPConfigurationPropertiesFormat{}
	}
	return v.nic.Properties.IPConfigurations[0].Properties
}

// object is the machine as the contract has it.
func (p *Provider) object(v *vm) providers.Machine {
	tags := v.tags()
	m := providers.Machine{Meta: meta(v.id(), tags), Pool: tags[providers.PoolTag], Network: providers.ID(tags[networkTag]),
		Image: tags[imageTag], State: providers.Pending, NodeID: "azure://" + p.resource(v.group, vmKind, v.name), User: tags[userTag]}
	m.Private, _ = netip.ParseAddr(val(v.ip().PrivateIPAddress))
	if v.address != nil && v.address.Properties != nil {
		m.Public, _ = netip.ParseAddr(val(v.address.Properties.IPAddress))
	}
	if key := tags[hostKeyTag]; key != "" {
		m.HostKeys = []string{key}
	}
	if v.vm != nil && v.vm.Properties != nil {
		m.Zone = p.zoneOf(v.vm.Zones)
		if h := v.vm.Properties.HardwareProfile; h != nil {
			m.Type = string(val(h.VMSize))
		}
		if s := v.vm.Properties.StorageProfile; s != nil && s.OSDisk != nil {
			m.DiskGiB = int(val(s.OSDisk.DiskSizeGB))
		}
	}
	switch v.power() {
	case "running":
		if s := v.provisioning(); s == "Succeeded" || s == "Updating" || s == "Failed" {
			m.State = providers.Running
		}
	case "stopped", "stopping", "deallocated", "deallocating":
		m.State = providers.Stopped
	}
	if v.provisioning() == "Deleting" {
		m.State = providers.Pending
	}
	m.Partial = m.State != providers.Running || len(m.HostKeys) == 0 || v.nic == nil
	if m.State == providers.Running && len(m.HostKeys) > 0 && m.Private.IsValid() {
		a := m.Private
		if m.Public.IsValid() {
			a = m.Public
		}
		m.SSH = netip.AddrPortFrom(a, 22)
	}
	return m
}

// parts looks up what there is of a machine.
func (p *Provider) parts(ctx context.Context, group, name string) (*vm, error) {
	v := &vm{group: group, name: name}
	m, err := p.vms.Get(ctx, group, name, &armcompute.VirtualMachinesClientGetOptions{Expand: ptr(armcompute.InstanceViewTypesInstanceView)})
	if ignoring(err) != nil {
		return nil, err
	}
	if err == nil {
		v.vm = &m.VirtualMachine
	}
	n, err := p.nics.Get(ctx, group, name, nil)
	if ignoring(err) != nil {
		return nil, err
	}
	if err == nil {
		v.nic = &n.Interface
	}
	if v.nic != nil && v.ip().PublicIPAddress == nil {
		return v, nil
	}
	a, err := p.addresses.Get(ctx, group, name, nil)
	if ignoring(err) != nil {
		return nil, err
	}
	if err == nil {
		v.address = &a.PublicIPAddress
	}
	return v, nil
}

// machine returns the one of that ID; NotFound if it is gone.
func (p *Provider) machine(ctx context.Context, of providers.ID) (*vm, error) {
	i, err := parse(providers.MachineNoun, of)
	if err != nil {
		return nil, err
	}
	v, err := p.parts(ctx, i.group, i.name)
	if err == nil && (!v.there() || !i.fits(v.tags())) {
		err = fail(providers.NotFound, "machine %s", of)
	}
	return v, err
}

// Get returns the machine as it is.
func (m machines) Get(ctx context.Context, of providers.ID) (_ providers.Machine, err error) {
	defer about(providers.GetVerb, providers.MachineNoun, string(of), &err)
	v, err := m.p.machine(ctx, of)
	if err != nil {
		return providers.Machine{}, err
	}
	return m.p.object(v), nil
}

// List returns the owner's machines.
func (m machines) List(ctx context.Context, o providers.Owner) (all []providers.Machine, err error) {
	defer about(providers.ListVerb, providers.MachineNoun, string(o), &err)
	found, err := m.p.fleet(ctx, o)
	for _, v := range found {
		all = append(all, m.p.object(v))
	}
	slices.SortFunc(all, byName)
	return all, err
}

// fleet returns what there is of all machines of an owner.
func (p *Provider) fleet(ctx context.Context, o providers.Owner) (all []*vm, err error) {
	nets, err := p.networksOf(ctx, o)
	if err != nil {
		return nil, err
	}
	by := map[string]*vm{}
	for _, n := range nets {
		if err := p.crew(ctx, n.id.group, by); err != nil {
			return nil, err
		}
	}
	powered := false
	for _, v := range by {
		if !belongs(v.tags(), providers.MachineNoun, o) {
			continue
		}
		all = append(all, v)
		powered = powered || v.vm != nil
	}
	if !powered {
		return all, nil
	}
	views, err := collect(ctx, p.vms.NewListAllPager(&armcompute.VirtualMachinesClientListAllOptions{StatusOnly: ptr("true")}),
		func(o armcompute.VirtualMachinesClientListAllResponse) []*armcompute.VirtualMachine { return o.Value })
	for _, s := range views {
		v := by[key(part(val(s.ID), "resourceGroups"), last(val(s.ID)))]
		if v != nil && v.vm != nil && v.vm.Properties != nil && s.Properties != nil {
			v.vm.Properties.InstanceView = s.Properties.InstanceView
		}
	}
	return all, err
}

func key(group, name string) string { return strings.ToLower(group + "/" + name) }

// crew looks up what there is of all machines in a group.
func (p *Provider) crew(ctx context.Context, group string, by map[string]*vm) error {
	of := func(name string) *vm {
		k := key(group, name)
		if by[k] == nil {
			by[k] = &vm{group: group, name: name}
		}
		return by[k]
	}
	vms, err := collect(ctx, p.vms.NewListPager(group, nil), func(o armcompute.VirtualMachinesClientListResponse) []*armcompute.VirtualMachine { return o.Value })
	if ignoring(err) != nil {
		return err
	}
	for _, m := range vms {
		of(val(m.Name)).vm = m
	}
	nics, err := collect(ctx, p.nics.NewListPager(group, nil), func(o armnetwork.InterfacesClientListResponse) []*armnetwork.Interface { return o.Value })
	if ignoring(err) != nil {
		return err
	}
	for _, n := range nics {
		of(val(n.Name)).nic = n
	}
	ips, err := collect(ctx, p.addresses.NewListPager(group, nil), func(o armnetwork.PublicIPAddressesClientListResponse) []*armnetwork.PublicIPAddress { return o.Value })
	for _, a := range ips {
		if read(a.Tags)[providers.KindTag] == string(providers.MachineNoun) {
			of(val(a.Name)).address = a
		}
	}
	return ignoring(err)
}

// Delete takes the machine out of its balancers and deletes its parts, what stands on others first. Its volumes stay.
func (m machines) Delete(ctx context.Context, of providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.MachineNoun, string(of), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	v, err := m.p.machine(ctx, of)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := (balancers(m)).without(ctx, v); err != nil {
		return err
	}
	if err := m.remove(ctx, v); err != nil {
		return err
	}
	k := meta(v.id(), v.tags())
	m.p.made.drop(providers.MachineNoun, providers.Key{Owner: k.Owner, Name: k.Name})
	return nil
}

// remove deletes the parts of a machine.
func (m machines) remove(ctx context.Context, v *vm) error {
	steps := []func() error{}
	if v.vm != nil {
		steps = append(steps, func() error {
			poller, err := m.p.vms.BeginDelete(ctx, v.group, v.name, nil)
			_, err = done(ctx, m.p, poller, err)
			return err
		})
	}
	if v.nic != nil {
		steps = append(steps, func() error {
			poller, err := m.p.nics.BeginDelete(ctx, v.group, v.name, nil)
			_, err = done(ctx, m.p, poller, err)
			return err
		})
	}
	if v.address != nil {
		steps = append(steps, func() error {
			poller, err := m.p.addresses.BeginDelete(ctx, v.group, v.name, nil)
			_, err = done(ctx, m.p, poller, err)
			return err
		})
	}
	for _, step := range steps {
		if err := m.p.settled(ctx, func() error { return ignoring(step()) }); err != nil {
			return err
		}
	}
	return m.p.wait(ctx, "machine "+v.name+" is still there", func() (bool, error) {
		left, err := m.p.parts(ctx, v.group, v.name)
		return err == nil && !left.there(), err
	})
}

// Update sets tags and pool, and the role that goes with the pool.
func (m machines) Update(ctx context.Context, of providers.ID, spec providers.MachineSpec) (_ providers.Machine, err error) {
	defer about(providers.UpdateVerb, providers.MachineNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), m.check(spec)); err != nil {
		return providers.Machine{}, err
	}
	unlock, err := m.p.keys.lock(ctx, providers.MachineNoun, spec.Key().String())
	if err != nil {
		return providers.Machine{}, err
	}
	defer unlock()
	v, err := m.p.machine(ctx, of)
	if err != nil {
		return providers.Machine{}, err
	}
	o := m.p.object(v)
	if err := mine(o.Meta, spec.Key()); err != nil {
		return providers.Machine{}, err
	}
	for _, d := range []struct{ what, have, want string }{
		{"type", o.Type, spec.Type}, {"image", o.Image, spec.Image}, {"zone", o.Zone, spec.Zone}, {"network", string(o.Network), string(spec.Network)},
	} {
		if d.want != "" && d.have != d.want && (v.vm != nil || d.what == "network") {
			return providers.Machine{}, fail(providers.Invalid, "its %s is %s and cannot be changed to %s", d.what, d.have, d.want)
		}
	}
	if spec.DiskGiB > o.DiskGiB && v.vm != nil {
		return providers.Machine{}, fail(providers.Invalid, "its disk has %d GiB and cannot grow to %d", o.DiskGiB, spec.DiskGiB)
	}
	if err := m.cast(ctx, v, spec.Pool); err != nil {
		return providers.Machine{}, err
	}
	i, _ := parse(providers.MachineNoun, of)
	if err := m.p.retag(ctx, v.anchor(), v.tags(), m.tags(spec, i.generation)); err != nil {
		return providers.Machine{}, err
	}
	if v, err = m.p.machine(ctx, of); err != nil {
		return providers.Machine{}, err
	}
	return m.p.object(v), nil
}
