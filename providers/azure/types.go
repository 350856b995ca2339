package azure

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"

	"github.com/provisionhq/provision/providers"
)

// DefaultImage is the image of machines whose spec and provider block name none.
const DefaultImage = "debian-13"

// families are the images that go by name, as URNs without the version, for amd64 and arm64; all are of the second generation.
// From memory, not compared yet with https://wiki.debian.org/Cloud/MicrosoftAzure and
// https://documentation.ubuntu.com/azure/azure-how-to/instances/find-ubuntu-images/
func families() map[string]map[string]string {
	return map[string]map[string]string{
		"debian-12":    {"amd64": "Debian:debian-12:12-gen2", "arm64": "Debian:debian-12:12-arm64"},
		"debian-13":    {"amd64": "Debian:debian-13:13-gen2", "arm64": "Debian:debian-13:13-arm64"},
		"ubuntu-22.04": {"amd64": "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2", "arm64": "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-arm64"},
		"ubuntu-24.04": {"amd64": "Canonical:ubuntu-24_04-lts:server", "arm64": "Canonical:ubuntu-24_04-lts:server-arm64"},
	}
}

// image returns what Azure calls an image: of one of the names, of a URN, or of a resource ID.
func (p *Provider) image(ctx context.Context, name, arch string) (*armcompute.ImageReference, error) {
	if name == "" {
		name = p.o.Image
	}
	if strings.HasPrefix(strings.ToLower(name), "/subscriptions/") {
		return &armcompute.ImageReference{ID: &name}, nil
	}
	urn := name
	if f, ok := families()[name]; ok {
		urn = f[arch] + ":latest"
	}
	w := strings.Split(urn, ":")
	if len(w) != 4 || slices.Contains(w, "") {
		return nil, fail(providers.Invalid, "image %q: it can be debian-12, debian-13, ubuntu-22.04, ubuntu-24.04, a URN (publisher:offer:sku:version) or a resource ID", name)
	}
	if w[3] == "latest" {
		all, err := p.images.List(ctx, p.o.Location, w[0], w[1], w[2], nil)
		if gone(err) || err == nil && len(all.VirtualMachineImageResourceArray) == 0 || is(err, "PlatformImageNotFound", "InvalidParameter") {
			return nil, fail(providers.Invalid, "image %q: location %s has none of %s", name, p.o.Location, urn)
		}
		if err != nil {
			return nil, err
		}
		w[3] = newest(all.VirtualMachineImageResourceArray)
	}
	return &armcompute.ImageReference{Publisher: &w[0], Offer: &w[1], SKU: &w[2], Version: &w[3]}, nil
}

// newest returns the highest of versions such as 0.20261101.2286.
func newest(all []*armcompute.VirtualMachineImageResource) string {
	best := slices.MaxFunc(all, func(a, b *armcompute.VirtualMachineImageResource) int {
		x, y := strings.Split(val(a.Name), "."), strings.Split(val(b.Name), ".")
		return slices.CompareFunc(x, y, func(a, b string) int {
			m, _ := strconv.ParseUint(a, 10, 64)
			n, _ := strconv.ParseUint(b, 10, 64)
			return int(min(1, max(-1, int64(m)-int64(n))))
		})
	})
	return val(best.Name)
}

// A size is what machines of a type are like.
type size struct {
	providers.MachineType
	family  string // that its processors are counted in
	closed  string // why this subscription cannot have it here; empty: it can
	trusted bool   // it can have secure boot and a virtual TPM
	spot    bool
	nvme    bool // its disks are NVMe's only
}

// offers returns the types on offer, by name. They are asked for once an hour: it is a long list.
func (p *Provider) offers(ctx context.Context) (map[string]size, error) {
	p.mu.Lock()
	known, at := p.sizes, p.sizesAt
	p.mu.Unlock()
	if time.Since(at) < time.Hour {
		return known, nil
	}
	all, err := collect(ctx, p.skus.NewListPager(&armcompute.ResourceSKUsClientListOptions{Filter: ptr("location eq '" + p.o.Location + "'")}),
		func(o armcompute.ResourceSKUsClientListResponse) []*armcompute.ResourceSKU { return o.Value })
	if err != nil {
		return nil, err
	}
	known, prices := map[string]size{}, machinePrices(p.o.Location)
	for _, s := range all {
		if z, ok := p.offer(s); ok {
			z.PriceUSD = prices[z.Name]
			known[z.Name] = z
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes, p.sizesAt = known, time.Now()
	return known, nil
}

// offer reads an entry of the list; false if it is not a machine type that is sold here.
func (p *Provider) offer(s *armcompute.ResourceSKU) (z size, ok bool) {
	if !strings.EqualFold(val(s.ResourceType), "virtualMachines") || !slices.ContainsFunc(s.Locations, func(l *string) bool { return strings.EqualFold(val(l), p.o.Location) }) {
		return z, false
	}
	can := map[string]string{}
	for _, c := range s.Capabilities {
		can[val(c.Name)] = val(c.Value)
	}
	cpus, _ := strconv.Atoi(can["vCPUs"])
	memory, _ := strconv.ParseFloat(can["MemoryGB"], 64)
	gpus, _ := strconv.Atoi(can["GPUs"])
	volumes, _ := strconv.Atoi(can["MaxDataDiskCount"])
	arch := map[string]string{"x64": "amd64", "": "amd64", "Arm64": "arm64"}[can["CpuArchitectureType"]]
	if cpus == 0 || memory == 0 || arch == "" || !strings.Contains(can["HyperVGenerations"], "V2") {
		return z, false
	}
	z = size{providers.MachineType{Name: val(s.Name), CPUs: 1000 * cpus, MemoryMiB: int(math.Round(memory * 1024)), DiskGiB: defaultDisk, GPUs: gpus, Arch: arch, Volumes: volumes},
		val(s.Family), "", can["TrustedLaunchDisabled"] != "True" && arch == "amd64", can["LowPriorityCapable"] == "True", can["DiskControllerTypes"] == "NVMe"}
	for _, l := range s.LocationInfo {
		if strings.EqualFold(val(l.Location), p.o.Location) {
			for _, n := range l.Zones {
				z.Zones = append(z.Zones, p.o.Location+"-"+val(n))
			}
		}
	}
	for _, r := range s.Restrictions {
		switch {
		case val(r.Type) == armcompute.ResourceSKURestrictionsTypeLocation:
			z.closed = string(val(r.ReasonCode))
		case r.RestrictionInfo != nil:
			z.Zones = slices.DeleteFunc(z.Zones, func(name string) bool {
				return slices.ContainsFunc(r.RestrictionInfo.Zones, func(n *string) bool { return name == p.o.Location+"-"+val(n) })
			})
		}
	}
	known := p.zones()
	z.Zones = slices.DeleteFunc(z.Zones, func(name string) bool { return !slices.Contains(known, name) })
	slices.Sort(z.Zones)
	if len(z.Zones) == 0 && len(known) > 0 && z.closed == "" {
		z.closed = "offered in no zone"
	}
	return z, true
}

// size looks a machine type up.
func (p *Provider) size(ctx context.Context, name string) (size, error) {
	all, err := p.offers(ctx)
	if err != nil {
		return size{}, err
	}
	z, ok := all[name]
	if !ok {
		return z, fail(providers.Invalid, "type %q: location %s does not offer it", name, p.o.Location)
	}
	if z.closed != "" {
		return z, fail(providers.Invalid, "type %q: location %s does not offer it to this subscription: %s", name, p.o.Location, z.closed)
	}
	return z, nil
}

// Types returns the types of the second generation that the subscription can have, with the zones that offer them.
func (m machines) Types(ctx context.Context) (all []providers.MachineType, err error) {
	defer about(providers.TypesVerb, providers.MachineNoun, m.p.o.Location, &err)
	known, err := m.p.offers(ctx)
	if err != nil {
		return nil, err
	}
	if len(known) == 0 {
		return nil, providers.BadAttribute("location", "Azure has no machine types in the location %s: it is none of Azure's, or none for this subscription; \"az account list-locations\" lists them", m.p.o.Location)
	}
	for _, z := range known {
		if z.closed != "" {
			continue
		}
		z.Zones = slices.Clone(z.Zones)
		all = append(all, z.MachineType)
	}
	slices.SortFunc(all, func(a, b providers.MachineType) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// zoned is a zone as Azure's calls have it: none for none.
func zoned(zone string) []*string {
	if zone == "" {
		return nil
	}
	return []*string{ptr(zone[strings.LastIndex(zone, "-")+1:])}
}

// zoneOf is the zone of something as the contract has it.
func (p *Provider) zoneOf(zones []*string) string {
	if len(zones) == 0 {
		return ""
	}
	return fmt.Sprintf("%s-%s", p.o.Location, val(zones[0]))
}
