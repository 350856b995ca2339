package aws

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// DefaultImage is the image of machines whose spec and provider block name none.
const DefaultImage = "debian-13"

// A family is a system whose images have names that AWS can be asked for.
type family struct {
	owner   string // account that publishes the images
	pattern string // of their names; ARCH is the architecture
}

// families are the images that go by name. The accounts are documented by their owners:
// https://wiki.debian.org/Cloud/AmazonEC2Image and https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
// (from memory, not compared yet). China and GovCloud have others: name images by ID there.
func families() map[string]family {
	const debian, canonical = "136693071363", "099720109477"
	return map[string]family{
		"debian-12":    {debian, "debian-12-ARCH-*"},
		"debian-13":    {debian, "debian-13-ARCH-*"},
		"ubuntu-22.04": {canonical, "ubuntu/images/hvm-ssd*/ubuntu-jammy-22.04-ARCH-server-*"},
		"ubuntu-24.04": {canonical, "ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-ARCH-server-*"},
	}
}

// image returns the newest image of that name for the architecture, or the one of that ID.
func (p *Provider) image(ctx context.Context, name, arch string) (i types.Image, err error) {
	if name == "" {
		name = p.o.Image
	}
	in := &ec2.DescribeImagesInput{}
	if isID(name, "ami") {
		in.ImageIds = []string{name}
	} else if f, ok := families()[name]; ok {
		in.Owners = []string{f.owner}
		in.Filters = filters("name", strings.ReplaceAll(f.pattern, "ARCH", arch), "state", "available", "architecture", amazonArch(arch))
	} else {
		return i, fail(providers.Invalid, "image %q: it can be debian-12, debian-13, ubuntu-22.04, ubuntu-24.04 or the ID of an AMI", name)
	}
	all, err := collect(ctx, ec2.NewDescribeImagesPaginator(p.ec2, in), func(o *ec2.DescribeImagesOutput) []types.Image { return o.Images })
	switch {
	case gone(err):
		return i, fail(providers.Invalid, "image %q: region %s has none for %s: %v", name, p.o.Region, arch, err)
	case err == nil && len(all) == 0:
		return i, fail(providers.Invalid, "image %q: region %s has none for %s", name, p.o.Region, arch)
	case err != nil:
		return i, err
	}
	i = slices.MaxFunc(all, func(a, b types.Image) int {
		return strings.Compare(aws.ToString(a.CreationDate)+aws.ToString(a.Name), aws.ToString(b.CreationDate)+aws.ToString(b.Name))
	})
	if string(i.Architecture) != amazonArch(arch) {
		return i, fail(providers.Invalid, "image %s is for %s, the machine type for %s", name, i.Architecture, amazonArch(arch))
	}
	return i, nil
}

func amazonArch(arch string) string {
	if arch == "amd64" {
		return "x86_64"
	}
	return arch
}

// A size is what machines of a type are like.
type size struct {
	arch string
	cpus int
}

// size looks a machine type up.
func (p *Provider) size(ctx context.Context, name string) (size, error) {
	p.mu.Lock()
	s, ok := p.sizes[name]
	p.mu.Unlock()
	if ok {
		return s, nil
	}
	if !regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`).MatchString(name) {
		return s, fail(providers.Invalid, "type %q: AWS has none of that name", name)
	}
	out, err := p.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceType(name)}})
	if gone(err) || err == nil && len(out.InstanceTypes) == 0 {
		return s, fail(providers.Invalid, "type %q: region %s has none of that name", name, p.o.Region)
	}
	if err != nil {
		return s, err
	}
	if s.arch = archOf(out.InstanceTypes[0]); s.arch == "" {
		return s, fail(providers.Invalid, "type %q is for neither amd64 nor arm64", name)
	}
	if v := out.InstanceTypes[0].VCpuInfo; v != nil {
		s.cpus = int(aws.ToInt32(v.DefaultVCpus))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes[name] = s
	return s, nil
}

// archOf is a type's processor as GOARCH names it; "" if it is another.
func archOf(t types.InstanceTypeInfo) string {
	if t.ProcessorInfo == nil {
		return ""
	}
	for _, a := range t.ProcessorInfo.SupportedArchitectures {
		switch a {
		case types.ArchitectureTypeX8664:
			return "amd64"
		case types.ArchitectureTypeArm64:
			return "arm64"
		}
	}
	return ""
}

// Types returns the types that run on Nitro, whose consoles can be read at any time, with the zones that offer them.
func (m machines) Types(ctx context.Context) (all []providers.MachineType, err error) {
	defer about(providers.TypesVerb, providers.MachineNoun, m.p.o.Region, &err)
	m.p.mu.Lock()
	known, at := m.p.types, m.p.typesAt
	m.p.mu.Unlock()
	if time.Since(at) > time.Hour {
		if known, err = m.types(ctx); err != nil {
			return nil, err
		}
		m.p.mu.Lock()
		m.p.types, m.p.typesAt = known, time.Now()
		m.p.mu.Unlock()
	}
	for _, t := range known {
		t.Zones = slices.Clone(t.Zones)
		all = append(all, t)
	}
	return all, nil
}

// types asks AWS.
func (m machines) types(ctx context.Context) (all []providers.MachineType, err error) {
	infos, err := collect(ctx, ec2.NewDescribeInstanceTypesPaginator(m.p.ec2, &ec2.DescribeInstanceTypesInput{}),
		func(o *ec2.DescribeInstanceTypesOutput) []types.InstanceTypeInfo { return o.InstanceTypes })
	if err != nil {
		return nil, err
	}
	offers, err := collect(ctx, ec2.NewDescribeInstanceTypeOfferingsPaginator(m.p.ec2, &ec2.DescribeInstanceTypeOfferingsInput{LocationType: types.LocationTypeAvailabilityZone}),
		func(o *ec2.DescribeInstanceTypeOfferingsOutput) []types.InstanceTypeOffering {
			return o.InstanceTypeOfferings
		})
	if err != nil {
		return nil, err
	}
	known := m.p.Caps().Zones
	zones := map[types.InstanceType][]string{}
	for _, o := range offers {
		if z := aws.ToString(o.Location); slices.Contains(known, z) {
			zones[o.InstanceType] = append(zones[o.InstanceType], z)
		}
	}
	for _, t := range infos {
		arch := archOf(t)
		if arch == "" || t.Hypervisor != types.InstanceTypeHypervisorNitro || len(zones[t.InstanceType]) == 0 || t.VCpuInfo == nil || t.MemoryInfo == nil {
			continue
		}
		slices.Sort(zones[t.InstanceType])
		all = append(all, providers.MachineType{Name: string(t.InstanceType), CPUs: 1000 * int(aws.ToInt32(t.VCpuInfo.DefaultVCpus)),
			MemoryMiB: int(aws.ToInt64(t.MemoryInfo.SizeInMiB)), DiskGiB: defaultDisk, GPUs: gpus(t), Arch: arch, Zones: zones[t.InstanceType],
			PriceUSD: table().Regions[m.p.o.Region].Types[string(t.InstanceType)], Volumes: volumesOf(t)})
	}
	slices.SortFunc(all, func(a, b providers.MachineType) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// volumesOf is how many volumes can be attached to a machine beside its root volume. AWS's figure leaves out the one network interface
// and the disks of the type's own: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/volume_limits.html
func volumesOf(t types.InstanceTypeInfo) int {
	if t.EbsInfo == nil {
		return 0
	}
	return max(0, int(aws.ToInt32(t.EbsInfo.MaximumEbsAttachments))-1)
}

func gpus(t types.InstanceTypeInfo) (n int) {
	if t.GpuInfo != nil {
		for _, g := range t.GpuInfo.Gpus {
			n += int(aws.ToInt32(g.Count))
		}
	}
	return n
}
