package gcp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// run makes the instance, or finds the one that has its name already.
func (m machines) run(ctx context.Context, spec providers.MachineSpec) (_ *computepb.Instance, exists bool, err error) {
	in, zone, err := m.launch(ctx, spec)
	if err != nil {
		return nil, false, err
	}
	err = m.p.do(ctx, func(request *string) (*compute.Operation, error) {
		return m.p.api.instances.Insert(ctx, &computepb.InsertInstanceRequest{Project: m.p.o.Project, Zone: zone, InstanceResource: in, RequestId: request})
	})
	if exists = taken(err); err != nil && !exists {
		return nil, false, err
	}
	i, err := soon(ctx, m.p, func() (*computepb.Instance, error) { return m.p.instanceAt(ctx, zone, in.GetName()) })
	if err == nil {
		err = ours(m.p.machine(i).Meta, spec.Key())
	}
	return i, exists, err
}

// launch says what to run, and where.
func (m machines) launch(ctx context.Context, spec providers.MachineSpec) (_ *computepb.Instance, zone string, err error) {
	n, err := m.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return nil, "", err
	}
	if zone, err = m.zone(spec, n); err != nil {
		return nil, "", err
	}
	arch, err := m.p.arch(ctx, zone, spec.Type)
	if err != nil {
		return nil, "", err
	}
	image, err := m.p.image(ctx, spec.Image, arch)
	if err != nil {
		return nil, "", err
	}
	data, err := bootData(spec, map[string]string{networkTag: string(spec.Network), imageTag: m.imageOf(spec), userTag: userOf(spec)})
	if err != nil {
		return nil, "", err
	}
	part := maps.Clone(m.tags(spec))
	part[providers.KindTag] = partKind
	name := vendorName(providers.MachineNoun, spec.Key(), "")
	in := &computepb.Instance{Name: &name, MachineType: ptr("zones/" + zone + "/machineTypes/" + spec.Type), Labels: labels(m.tags(spec)), Metadata: data,
		Tags: &computepb.Tags{Items: n.networkTags(spec.Pool)},
		Disks: []*computepb.AttachedDisk{{Boot: ptr(true), AutoDelete: ptr(true), InitializeParams: &computepb.AttachedDiskInitializeParams{
			SourceImage: image.SelfLink, DiskSizeGb: ptr(int64(disk(spec))), DiskType: ptr("zones/" + zone + "/diskTypes/" + diskType(spec.Type)), Labels: labels(part)}}},
		NetworkInterfaces:      []*computepb.NetworkInterface{{Subnetwork: n.subnet.SelfLink}},
		ShieldedInstanceConfig: &computepb.ShieldedInstanceConfig{EnableSecureBoot: ptr(true), EnableVtpm: ptr(true), EnableIntegrityMonitoring: ptr(true)},
	}
	if host := spec.Name + "." + string(spec.Owner) + ".internal"; nameForm.MatchString(spec.Name) && nameForm.MatchString(string(spec.Owner)) {
		in.Hostname = &host
	}
	if m.p.o.Addresses == Public {
		in.NetworkInterfaces[0].AccessConfigs = []*computepb.AccessConfig{{Name: ptr("External NAT"), Type: ptr("ONE_TO_ONE_NAT")}}
	}
	if spec.Spot {
		in.Scheduling = &computepb.Scheduling{ProvisioningModel: ptr("SPOT"), InstanceTerminationAction: ptr("STOP"), AutomaticRestart: ptr(false), OnHostMaintenance: ptr("TERMINATE")}
	}
	in.ServiceAccounts = m.accounts(spec)
	return in, zone, nil
}

// accounts are the service accounts of a machine: it has no more than one. A cloud agent's is good for Compute Engine alone.
func (m machines) accounts(spec providers.MachineSpec) []*computepb.ServiceAccount {
	email, scope := m.p.o.ServiceAccount, "cloud-platform"
	if spec.CloudAgent && m.p.o.CloudAgentAccount != "" {
		email, scope = m.p.o.CloudAgentAccount, "compute"
	}
	if email == "" {
		return nil
	}
	return []*computepb.ServiceAccount{{Email: &email, Scopes: []string{"https://www.googleapis.com/auth/" + scope}}}
}

// tags are those that may change in a machine's life.
func (m machines) tags(spec providers.MachineSpec) map[string]string {
	t := label(providers.MachineNoun, spec.Key(), spec.Tags, nil)
	if spec.Pool != "" {
		t[providers.PoolTag] = spec.Pool
	}
	return t
}

// networkTags are those of a pool's machines: firewall rules go by them.
func (n *network) networkTags(pool string) []string {
	if pool == controlPool {
		return []string{n.name(controlPart), n.name(nodesPart)}
	}
	return []string{n.name(nodesPart)}
}

func (m machines) imageOf(spec providers.MachineSpec) string {
	if spec.Image == "" {
		return m.p.o.Image
	}
	return spec.Image
}

// defaultDisk is the root disk's size in GiB unless the spec asks for another.
const defaultDisk = 20

func disk(spec providers.MachineSpec) int {
	if spec.DiskGiB == 0 {
		return defaultDisk
	}
	return max(spec.DiskGiB, 10)
}

// diskType is what the root disk of a machine type can be: newer series take no Persistent Disk. From memory, not compared yet with
// https://cloud.google.com/compute/docs/disks/hyperdisks#machine-type-support
func diskType(machineType string) string {
	series, _, _ := strings.Cut(machineType, "-")
	if slices.Contains([]string{"c4", "c4a", "c4d", "n4", "n4a", "n4d", "h4d", "x4", "a4", "a4x", "m4", "z3"}, series) {
		return "hyperdisk-balanced"
	}
	return "pd-balanced"
}

// zone is where the machine goes: where it is asked for, else where its name leads, so that a pool is spread.
func (m machines) zone(spec providers.MachineSpec, n *network) (string, error) {
	zones := n.zones()
	if len(zones) == 0 {
		zones = m.p.o.Zones
	}
	if spec.Zone == "" {
		i := 0
		if j := strings.LastIndex(spec.Name, "-"); j >= 0 {
			i, _ = strconv.Atoi(spec.Name[j+1:])
		}
		return zones[i%len(zones)], nil
	}
	return spec.Zone, nil // a subnetwork is in all zones of its region
}

// ready starts the instance if it was stopped, waits until it runs, and learns its host key. NotFound if it is gone meanwhile.
func (m machines) ready(ctx context.Context, i *computepb.Instance) (o providers.Machine, err error) {
	id := m.p.machine(i).ID
	err = m.p.wait(ctx, "instance "+string(id)+" does not run", func() (bool, error) {
		var err error
		switch i.GetStatus() {
		case "RUNNING":
			return true, nil
		case "TERMINATED":
			err = m.p.do(ctx, func(request *string) (*compute.Operation, error) {
				return m.p.api.instances.Start(ctx, &computepb.StartInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), RequestId: request})
			})
		case "SUSPENDED":
			err = m.p.do(ctx, func(request *string) (*compute.Operation, error) {
				return m.p.api.instances.Resume(ctx, &computepb.ResumeInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), RequestId: request})
			})
		}
		if err != nil {
			return false, err
		}
		i, err = m.p.instance(ctx, id)
		return false, err
	})
	if err != nil {
		return providers.Machine{}, err
	}
	if o = m.p.machine(i); len(o.HostKeys) > 0 {
		return o, nil
	}
	key, err := m.hostKey(ctx, i)
	if err != nil {
		return providers.Machine{}, err
	}
	err = m.p.fresh(ctx, func() error {
		if i, err = m.p.instance(ctx, id); err != nil || item(i, hostKeyItem) != "" {
			return err
		}
		data := &computepb.Metadata{Fingerprint: i.GetMetadata().Fingerprint, Items: append(slices.Clone(i.GetMetadata().GetItems()), &computepb.Items{Key: ptr(hostKeyItem), Value: &key})}
		return m.p.do(ctx, func(request *string) (*compute.Operation, error) {
			return m.p.api.instances.SetMetadata(ctx, &computepb.SetMetadataInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName(), MetadataResource: data, RequestId: request})
		})
	})
	if err != nil {
		return providers.Machine{}, err
	}
	if i, err = m.p.instance(ctx, id); err != nil {
		return providers.Machine{}, err
	}
	return m.p.machine(i), nil
}

// hostKey returns the SSH host key that the instance has written on its console. Google delivers it, over TLS and only to whom the
// project lets see it, so it is the instance's own: see docs/adr.
func (m machines) hostKey(ctx context.Context, i *computepb.Instance) (key string, err error) {
	what := fmt.Sprintf("instance %s has not written its SSH host key on its console", i.GetName())
	err = m.p.wait(ctx, what, func() (bool, error) {
		out, err := get(ctx, m.p, func() (*computepb.SerialPortOutput, error) {
			return m.p.api.instances.GetSerialPortOutput(ctx, &computepb.GetSerialPortOutputInstanceRequest{Project: m.p.o.Project, Zone: last(i.GetZone()), Instance: i.GetName()})
		})
		if is(err, "resourceNotReady") {
			return false, nil
		}
		key = hostKeyIn(out.GetContents())
		return key != "", err
	})
	return key, err
}

// same says whether two sets of labels are one.
func same(a, b map[string]string) bool { return maps.Equal(a, b) }

// Inside are the attributes to open the provider with on a machine that has an identity: those of a person's block, with what else
// the person's environment and credentials tell, which the machine does not have.
func Inside(attributes map[string]any) map[string]any {
	there := maps.Clone(attributes)
	if p, err := Open(attributes); err == nil {
		there["project"], there["region"] = p.o.Project, p.o.Region
	}
	return there
}
