package azure

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

// defaultDisk is the root disk's size in GiB unless the spec asks for another: that of the images.
const defaultDisk = 30

func disk(spec providers.MachineSpec) int {
	if spec.DiskGiB == 0 {
		return defaultDisk
	}
	return spec.DiskGiB
}

// Create makes the machine's address, its network interface and the virtual machine, and waits until that runs.
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
	n, err := m.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return providers.Machine{}, err
	}
	v, err := m.named(ctx, spec.Key(), n)
	if err != nil {
		return providers.Machine{}, err
	}
	if o := m.p.object(v); v.there() && !o.Partial {
		return o, providers.Exists
	}
	if v, err = m.sound(ctx, v); err != nil {
		return providers.Machine{}, err
	}
	if v.vm == nil {
		if err := m.run(ctx, spec, n, v); err != nil {
			return providers.Machine{}, err
		}
	}
	m.p.made.note(providers.MachineNoun, spec.Key(), spec.Name)
	return m.ready(ctx, v.group, v.name)
}

// named returns what there is of the owner's machine of that name.
func (m machines) named(ctx context.Context, k providers.Key, n *network) (v *vm, err error) {
	err = m.p.known(ctx, providers.MachineNoun, k, func() error {
		v, err = m.p.parts(ctx, n.id.group, k.Name)
		if err == nil && v.vm == nil {
			return fail(providers.NotFound, "machine %s", k)
		}
		return err
	})
	if ignoring(err) != nil {
		return nil, err
	}
	if v.there() {
		if t := v.tags(); t[providers.OwnerTag] != string(k.Owner) || t[providers.NameTag] != k.Name {
			return nil, fail(providers.Conflict, "%s is there and its tags say that it is another's", v.anchor())
		}
		return v, nil
	}
	nets, err := m.p.networksOf(ctx, k.Owner)
	if err != nil {
		return nil, err
	}
	for _, other := range nets {
		if other.id.group == n.id.group {
			continue
		}
		w, err := m.p.parts(ctx, other.id.group, k.Name)
		if err != nil {
			return nil, err
		}
		if w.there() && m.p.object(w).Partial {
			return nil, fail(providers.Conflict, "%s is there, not complete, in another network", w.anchor())
		}
		if w.there() {
			return w, nil
		}
	}
	return v, nil
}

// sound waits for a virtual machine that is on its way out, and removes one that failed before it ever ran: Azure keeps that,
// and does not try again.
func (m machines) sound(ctx context.Context, v *vm) (*vm, error) {
	if v.vm == nil {
		return v, nil
	}
	switch {
	case v.provisioning() == "Deleting":
	case v.provisioning() == "Failed" && v.power() == "":
		poller, err := m.p.vms.BeginDelete(ctx, v.group, v.name, nil)
		if _, err := done(ctx, m.p, poller, err); ignoring(err) != nil {
			return nil, err
		}
	default:
		return v, nil
	}
	err := m.p.wait(ctx, "virtual machine "+v.name+" is still there", func() (_ bool, err error) {
		v, err = m.p.parts(ctx, v.group, v.name)
		return err == nil && v.vm == nil, err
	})
	return v, err
}

// run makes what is missing of a machine.
func (m machines) run(ctx context.Context, spec providers.MachineSpec, n *network, v *vm) error {
	z, err := m.p.size(ctx, spec.Type)
	if err != nil {
		return err
	}
	zone, err := m.zone(spec, n, z)
	if err != nil {
		return err
	}
	image, err := m.p.image(ctx, spec.Image, z.Arch)
	if err != nil {
		return err
	}
	generation := v.tags()[providers.GenerationTag]
	if generation == "" {
		generation = fresh()
	}
	tags := m.tags(spec, generation)
	tags[networkTag], tags[imageTag], tags[userTag] = string(spec.Network), m.imageOf(spec), userOf(spec)
	if m.p.o.Addresses == Public && v.address == nil {
		if err := m.p.putAddress(ctx, v.group, v.name, written(tags), zoned(zone)); err != nil {
			return err
		}
	}
	if v.nic == nil || val(v.ip().PrivateIPAllocationMethod) != armnetwork.IPAllocationMethodStatic {
		if err := m.connect(ctx, spec, n, written(tags)); err != nil {
			return err
		}
	}
	key, err := newHostKey()
	if err != nil {
		return err
	}
	tags[hostKeyTag] = key.public
	in, err := m.launch(spec, z, image, key)
	if err != nil {
		return err
	}
	in.Location, in.Zones, in.Tags = &m.p.o.Location, zoned(zone), written(tags)
	in.Properties.NetworkProfile = &armcompute.NetworkProfile{NetworkInterfaces: []*armcompute.NetworkInterfaceReference{{
		ID: ptr(m.p.resource(v.group, nicKind, v.name)), Properties: &armcompute.NetworkInterfaceReferenceProperties{
			Primary: ptr(true), DeleteOption: ptr(armcompute.DeleteOptionsDetach)}}}}
	if id := m.identity(spec); id != "" {
		in.Identity = &armcompute.VirtualMachineIdentity{Type: ptr(armcompute.ResourceIdentityTypeUserAssigned),
			UserAssignedIdentities: map[string]*armcompute.UserAssignedIdentitiesValue{id: {}}}
	}
	return m.p.settled(ctx, func() error {
		poller, err := m.p.vms.BeginCreateOrUpdate(ctx, v.group, v.name, *in, &armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions{IfNoneMatch: ptr("*")})
		if _, err = done(ctx, m.p, poller, err); kindOf(err) == providers.Exists { // made before, by a call whose answer was lost, and not seen yet
			return nil
		}
		return err
	})
}

// connect makes the network interface, and then keeps the address that Azure gave it for the interface's life.
func (m machines) connect(ctx context.Context, spec providers.MachineSpec, n *network, tags map[string]*string) error {
	ip := &armnetwork.InterfaceIPConfigurationPropertiesFormat{Primary: ptr(true), PrivateIPAllocationMethod: ptr(armnetwork.IPAllocationMethodDynamic),
		Subnet: &armnetwork.Subnet{ID: ptr(m.p.subnetID(n))}, ApplicationSecurityGroups: m.p.rolesOf(n.id.group, spec.Pool)}
	if m.p.o.Addresses == Public {
		ip.PublicIPAddress = &armnetwork.PublicIPAddress{ID: ptr(m.p.resource(n.id.group, addressKind, spec.Name))}
	}
	in := armnetwork.Interface{Location: &m.p.o.Location, Tags: tags, Properties: &armnetwork.InterfacePropertiesFormat{
		NetworkSecurityGroup: &armnetwork.SecurityGroup{ID: ptr(m.p.resource(n.id.group, firewallKind, nodesPart))},
		IPConfigurations:     []*armnetwork.InterfaceIPConfiguration{{Name: ptr("main"), Properties: ip}}}}
	made := &vm{}
	err := m.p.settled(ctx, func() error {
		poller, err := m.p.nics.BeginCreateOrUpdate(ctx, n.id.group, spec.Name, in, nil)
		got, err := done(ctx, m.p, poller, err)
		made.nic = &got.Interface
		return err
	})
	if err != nil {
		return err
	}
	ip.PrivateIPAllocationMethod, ip.PrivateIPAddress = ptr(armnetwork.IPAllocationMethodStatic), made.ip().PrivateIPAddress
	return m.p.settled(ctx, func() error {
		poller, err := m.p.nics.BeginCreateOrUpdate(ctx, n.id.group, spec.Name, in, nil)
		_, err = done(ctx, m.p, poller, err)
		return err
	})
}

// rolesOf are the roles of a pool's machines.
func (p *Provider) rolesOf(group, pool string) []*armnetwork.ApplicationSecurityGroup {
	all := p.role(group, nodesPart)
	if pool == controlPool {
		all = append(all, p.role(group, controlPart)...)
	}
	return all
}

// cast gives a machine the roles of a pool.
func (m machines) cast(ctx context.Context, v *vm, pool string) error {
	if v.nic == nil {
		return nil
	}
	want := m.p.rolesOf(v.group, pool)
	has := func(r *armnetwork.ApplicationSecurityGroup) bool {
		return slices.ContainsFunc(v.ip().ApplicationSecurityGroups, func(g *armnetwork.ApplicationSecurityGroup) bool { return strings.EqualFold(val(g.ID), val(r.ID)) })
	}
	if len(want) == len(v.ip().ApplicationSecurityGroups) && !slices.ContainsFunc(want, func(r *armnetwork.ApplicationSecurityGroup) bool { return !has(r) }) {
		return nil
	}
	v.ip().ApplicationSecurityGroups = want
	return m.p.settled(ctx, func() error {
		poller, err := m.p.nics.BeginCreateOrUpdate(ctx, v.group, v.name, *v.nic, nil)
		_, err = done(ctx, m.p, poller, err)
		return err
	})
}

// identity is the managed identity of a machine; "" if it gets none. Of several the metadata service would not know which is meant.
func (m machines) identity(spec providers.MachineSpec) string {
	if spec.CloudAgent {
		return cmp.Or(m.p.o.CloudAgentIdentity, m.p.o.Identity)
	}
	return m.p.o.Identity
}

// launch says what to run.
func (m machines) launch(spec providers.MachineSpec, z size, image *armcompute.ImageReference, key hostKey) (*armcompute.VirtualMachine, error) {
	data, err := customData(spec, key)
	if err != nil {
		return nil, err
	}
	// Azure wants a user and a key of its own. Nobody has the private half but the machine, and cloud-init does not make the user.
	login := &armcompute.LinuxConfiguration{DisablePasswordAuthentication: ptr(true), SSH: &armcompute.SSHConfiguration{
		PublicKeys: []*armcompute.SSHPublicKey{{Path: ptr("/home/provision/.ssh/authorized_keys"), KeyData: &key.public}}}}
	p := &armcompute.VirtualMachineProperties{
		HardwareProfile: &armcompute.HardwareProfile{VMSize: ptr(armcompute.VirtualMachineSizeTypes(spec.Type))},
		OSProfile:       &armcompute.OSProfile{ComputerName: ptr(spec.Name), AdminUsername: ptr("provision"), CustomData: &data, LinuxConfiguration: login},
		StorageProfile: &armcompute.StorageProfile{ImageReference: image, OSDisk: &armcompute.OSDisk{Name: ptr(spec.Name), CreateOption: ptr(armcompute.DiskCreateOptionTypesFromImage),
			DiskSizeGB: ptr(int32(disk(spec))), Caching: ptr(armcompute.CachingTypesReadWrite), DeleteOption: ptr(armcompute.DiskDeleteOptionTypesDelete),
			ManagedDisk: &armcompute.ManagedDiskParameters{StorageAccountType: ptr(armcompute.StorageAccountTypesStandardSSDLRS)}}},
		DiagnosticsProfile: &armcompute.DiagnosticsProfile{BootDiagnostics: &armcompute.BootDiagnostics{Enabled: ptr(true)}},
	}
	if z.trusted {
		p.SecurityProfile = &armcompute.SecurityProfile{SecurityType: ptr(armcompute.SecurityTypesTrustedLaunch),
			UefiSettings: &armcompute.UefiSettings{SecureBootEnabled: ptr(true), VTpmEnabled: ptr(true)}}
	}
	if z.nvme {
		p.StorageProfile.DiskControllerType = ptr(armcompute.DiskControllerTypesNVMe)
	}
	if spec.Spot {
		if !z.spot {
			return nil, fail(providers.Invalid, "type %q is not sold as spot", spec.Type)
		}
		p.Priority, p.EvictionPolicy = ptr(armcompute.VirtualMachinePriorityTypesSpot), ptr(armcompute.VirtualMachineEvictionPolicyTypesDelete)
		p.BillingProfile = &armcompute.BillingProfile{MaxPrice: ptr(-1.0)}
	}
	return &armcompute.VirtualMachine{Properties: p}, nil
}

// ready starts the machine if it was stopped, and waits until it runs.
func (m machines) ready(ctx context.Context, group, name string) (o providers.Machine, err error) {
	err = m.p.wait(ctx, "machine "+name+" does not run", func() (bool, error) {
		v, err := m.p.parts(ctx, group, name)
		if err != nil {
			return false, err
		}
		o = m.p.object(v)
		switch {
		case v.provisioning() == "Failed" && v.power() == "":
			return false, fail(providers.Unavailable, "virtual machine %s failed while it was made", name)
		case v.power() == "stopped" || v.power() == "deallocated":
			poller, err := m.p.vms.BeginStart(ctx, group, name, nil)
			_, err = done(ctx, m.p, poller, err)
			return false, err
		}
		return !o.Partial, nil
	})
	return o, err
}

// tags are those that may change in a machine's life.
func (m machines) tags(spec providers.MachineSpec, generation string) map[string]string {
	t := label(providers.MachineNoun, spec.Key(), generation, spec.Tags, nil)
	if spec.Pool != "" {
		t[providers.PoolTag] = spec.Pool
	}
	return t
}

func (m machines) imageOf(spec providers.MachineSpec) string {
	if spec.Image == "" {
		return m.p.o.Image
	}
	return spec.Image
}

// zone is where the machine goes: where it is asked for, else where its name leads, so that a pool is spread.
func (m machines) zone(spec providers.MachineSpec, n *network, z size) (string, error) {
	if spec.Zone != "" {
		if !slices.Contains(z.Zones, spec.Zone) {
			return "", fail(providers.Invalid, "type %q is not offered in zone %s, only in %s", spec.Type, spec.Zone, strings.Join(z.Zones, ", "))
		}
		return spec.Zone, nil
	}
	zones := slices.DeleteFunc(n.zones(), func(name string) bool { return !slices.Contains(z.Zones, name) })
	switch {
	case len(n.zones()) == 0:
		return "", nil
	case len(zones) == 0:
		return "", fail(providers.Invalid, "type %q is not offered in %s", spec.Type, strings.Join(n.zones(), ", "))
	}
	i, _ := strconv.Atoi(spec.Name[strings.LastIndex(spec.Name, "-")+1:])
	return zones[i%len(zones)], nil
}

// check returns why there can be no such machine.
func (m machines) check(s providers.MachineSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	switch {
	case s.Zone != "" && !slices.Contains(m.p.zones(), s.Zone):
		return fail(providers.Invalid, "zone %q: location %s has %s", s.Zone, m.p.o.Location, strings.Join(m.p.zones(), ", "))
	case s.DiskGiB < 0 || s.DiskGiB > 4095 || s.DiskGiB > 0 && s.DiskGiB < defaultDisk:
		return fail(providers.Invalid, "disk of %d GiB: it can have from %d to 4095", s.DiskGiB, defaultDisk)
	case len(s.Pool) > 256 || len(m.imageOf(s)) > 256:
		return fail(providers.Invalid, "the pool's and the image's name can have 256 letters")
	}
	_, err := customData(s, hostKey{})
	return errors.Join(err, checkTags(s.Tags))
}

// Inside are the attributes to open the provider with on a machine that has an identity: those of a person's block, without the person's
// tenant, and with the subscription that the person's environment tells, which the machine does not have.
func Inside(attributes map[string]any) map[string]any {
	there := maps.Clone(attributes)
	if p, err := Open(attributes); err == nil {
		there["subscription"] = p.o.Subscription
	}
	delete(there, "tenant")
	return there
}
