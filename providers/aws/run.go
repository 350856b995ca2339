package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// run runs the instance of a generation, or of the next one whose token AWS does not remember of one that is gone.
func (m machines) run(ctx context.Context, spec providers.MachineSpec, generation int) (i types.Instance, err error) {
	n, err := m.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return i, err
	}
	in, err := m.launch(ctx, spec, n)
	if err != nil {
		return i, err
	}
	profile, made, err := m.profile(ctx, spec, n)
	if err != nil {
		return i, err
	}
	if profile != "" {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: &profile}
	}
	for tries := 0; tries < 20; tries++ {
		in.ClientToken = tokenFor(providers.MachineNoun, spec.Key(), generation, "")
		m.label(in, spec, generation)
		out, err := m.start(ctx, n, in, made)
		switch {
		case is(err, "IdempotentParameterMismatch", "IdempotentInstanceTerminated"):
			// Another call made it, from another spec; or it was made long ago.
			there, _, err := m.history(ctx, spec.Key())
			if err != nil || there != nil {
				return orElse(there, i), err
			}
		case err != nil:
			return i, err
		default:
			there, err := m.alive(ctx, out.Instances[0])
			if err != nil || there != nil {
				return orElse(there, i), err
			}
		}
		generation++
	}
	return i, fail(providers.Conflict, "AWS remembers too many machines of the name that are gone")
}

func orElse[T any](v *T, other T) T {
	if v == nil {
		return other
	}
	return *v
}

// alive returns an instance that was answered, unless it is gone: AWS may have repeated an old answer.
func (m machines) alive(ctx context.Context, i types.Instance) (*types.Instance, error) {
	err := m.p.soon(ctx, func() error {
		out, err := m.p.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{aws.ToString(i.InstanceId)}})
		if err == nil && len(out.Reservations) > 0 && len(out.Reservations[0].Instances) > 0 {
			i = out.Reservations[0].Instances[0]
		}
		return err
	})
	if gone(err) || err == nil && (!live(i) || stateOf(i) == types.InstanceStateNameShuttingDown) {
		return nil, nil
	}
	return &i, err
}

// launch says what to run, without the tags and the token.
func (m machines) launch(ctx context.Context, spec providers.MachineSpec, n *network) (*ec2.RunInstancesInput, error) {
	zone, err := m.zone(spec, n)
	if err != nil {
		return nil, err
	}
	s := n.subnet(m.p.o.Addresses, zone)
	if s == nil {
		return nil, fail(providers.Invalid, "network %s has no %s subnet in zone %s", n.id, m.p.o.Addresses, zone)
	}
	size, err := m.p.size(ctx, spec.Type)
	if err != nil {
		return nil, err
	}
	image, err := m.p.image(ctx, spec.Image, size.arch)
	if err != nil {
		return nil, err
	}
	data, err := userData(spec)
	if err != nil {
		return nil, err
	}
	in := &ec2.RunInstancesInput{
		ImageId: image.ImageId, InstanceType: types.InstanceType(spec.Type), MinCount: ptr(int32(1)), MaxCount: ptr(int32(1)), UserData: &data,
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: ptr(int32(0)), SubnetId: s.SubnetId,
			Groups: groupsOf(n, spec.Pool), AssociatePublicIpAddress: ptr(m.p.o.Addresses == Public), DeleteOnTermination: ptr(true)}},
		MetadataOptions: &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpPutResponseHopLimit: ptr(int32(1))},
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: image.RootDeviceName, Ebs: &types.EbsBlockDevice{
			VolumeSize: ptr(int32(disk(spec))), VolumeType: types.VolumeTypeGp3, Encrypted: ptr(true), DeleteOnTermination: ptr(true)}}},
	}
	if spec.Spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	}
	return in, nil
}

// label sets the tags of what is run: the instance, its root disk and its network interface.
func (m machines) label(in *ec2.RunInstancesInput, spec providers.MachineSpec, generation int) {
	tags := m.tags(spec)
	tags[networkTag], tags[imageTag], tags[diskTag], tags[userTag] = string(spec.Network), m.imageOf(spec), strconv.Itoa(disk(spec)), userOf(spec)
	tags[providers.GenerationTag] = strconv.Itoa(generation)
	part := maps.Clone(tags)
	part[providers.KindTag] = "part"
	in.TagSpecifications = []types.TagSpecification{
		{ResourceType: types.ResourceTypeInstance, Tags: written(tags)},
		{ResourceType: types.ResourceTypeVolume, Tags: written(part)},
	}
}

// tags are those that may change in a machine's life.
func (m machines) tags(spec providers.MachineSpec) map[string]string {
	t := label(providers.MachineNoun, spec.Key(), spec.Tags, nil)
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

// defaultDisk is the root disk's size in GiB unless the spec asks for another.
const defaultDisk = 20

func disk(spec providers.MachineSpec) int {
	if spec.DiskGiB == 0 {
		return defaultDisk
	}
	return spec.DiskGiB
}

func userOf(spec providers.MachineSpec) string {
	if spec.User == "" {
		return "root"
	}
	return spec.User
}

// groupsOf are the security groups of a pool's machines.
func groupsOf(n *network, pool string) []string {
	ids := []string{aws.ToString(n.group(nodesPart).GroupId)}
	if pool == controlPool {
		ids = append(ids, aws.ToString(n.group(controlPart).GroupId))
	}
	return ids
}

// zone is where the machine goes: where it is asked for, else where its name leads, so that a pool is spread.
func (m machines) zone(spec providers.MachineSpec, n *network) (string, error) {
	zones := n.zones()
	if spec.Zone == "" && len(zones) > 0 {
		return spread(spec.Name, zones), nil
	}
	if !slices.Contains(zones, spec.Zone) {
		return "", fail(providers.Invalid, "zone %q: network %s is in %s", spec.Zone, n.id, strings.Join(zones, ", "))
	}
	return spec.Zone, nil
}

// spread is the zone that a machine's name leads to.
func spread(name string, zones []string) string {
	i := 0
	if j := strings.LastIndex(name, "-"); j >= 0 {
		i, _ = strconv.Atoi(name[j+1:])
	}
	return zones[i%len(zones)]
}

// ready starts the instance if it was stopped, waits until it runs, and learns its host key.
func (m machines) ready(ctx context.Context, i types.Instance) (providers.Machine, error) {
	id := aws.ToString(i.InstanceId)
	started := false
	err := m.p.wait(ctx, "instance "+id+" does not run", func() (bool, error) {
		switch stateOf(i) {
		case types.InstanceStateNameRunning:
			return true, nil
		case types.InstanceStateNameStopped:
			if !started {
				if _, err := m.p.ec2.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{id}}); err != nil {
					return false, err
				}
				started = true
			}
		case types.InstanceStateNameTerminated, types.InstanceStateNameShuttingDown:
			return false, fail(providers.Unavailable, "instance %s ended while it started: %s", id, reason(i))
		}
		var err error
		if i, err = m.p.instance(ctx, providers.ID(id)); gone(err) {
			err = nil
		}
		return false, err
	})
	if err != nil {
		return providers.Machine{}, err
	}
	o := machine(i)
	if len(o.HostKeys) > 0 {
		return o, nil
	}
	key, err := m.hostKey(ctx, id)
	if err != nil {
		return providers.Machine{}, err
	}
	err = m.p.soon(ctx, func() error {
		return m.p.retag(ctx, id, nil, map[string]string{hostKeyTag: key})
	})
	if err != nil {
		return providers.Machine{}, err
	}
	err = m.p.wait(ctx, "the tags of instance "+id+" are not seen", func() (bool, error) {
		i, err := m.p.instance(ctx, providers.ID(id))
		o = machine(i)
		return err == nil && len(o.HostKeys) > 0, ignoring(err)
	})
	return o, err
}

// reason is why AWS ended an instance.
func reason(i types.Instance) string {
	if i.StateReason != nil {
		return aws.ToString(i.StateReason.Code) + ": " + aws.ToString(i.StateReason.Message)
	}
	return "no reason given"
}

// hostKey returns the SSH host key that the instance has written on its console. AWS delivers it, over TLS and only to whom the
// account lets see it, so it is the instance's own: see docs/adr.
func (m machines) hostKey(ctx context.Context, id string) (key string, err error) {
	err = m.p.wait(ctx, fmt.Sprintf("instance %s has not written its SSH host key on its console", id), func() (bool, error) {
		out, err := m.p.ec2.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: &id, Latest: ptr(true)})
		if err != nil {
			return false, ignoring(err)
		}
		key = hostKeyIn(aws.ToString(out.Output))
		return key != "", nil
	})
	return key, err
}
