package gcp

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// DefaultImage is the image of machines whose spec and provider block name none.
const DefaultImage = "debian-13"

// A family is a system whose newest image Google can be asked for.
type family struct{ project, amd64, arm64 string }

// families are the images that go by name. From memory, not compared yet with https://cloud.google.com/compute/docs/images/os-details
func families() map[string]family {
	return map[string]family{
		"debian-12":    {"debian-cloud", "debian-12", "debian-12-arm64"},
		"debian-13":    {"debian-cloud", "debian-13", "debian-13-arm64"},
		"ubuntu-22.04": {"ubuntu-os-cloud", "ubuntu-2204-lts", "ubuntu-2204-lts-arm64"},
		"ubuntu-24.04": {"ubuntu-os-cloud", "ubuntu-2404-lts-amd64", "ubuntu-2404-lts-arm64"},
	}
}

var imageForm = regexp.MustCompile(`^projects/([^/]+)/global/images/(family/)?([^/]+)$`)

// image returns the newest image of that name for the architecture, or the one of that path.
func (p *Provider) image(ctx context.Context, name, arch string) (i *computepb.Image, err error) {
	if name == "" {
		name = p.o.Image
	}
	path := imageForm.FindStringSubmatch(name)
	if f, ok := families()[name]; ok {
		path = []string{"", f.project, "family/", f.amd64}
		if arch == "arm64" {
			path[3] = f.arm64
		}
	}
	if path == nil {
		return nil, fail(providers.Invalid, "image %q: it can be debian-12, debian-13, ubuntu-22.04, ubuntu-24.04 or projects/P/global/images/NAME, or …/images/family/NAME", name)
	}
	i, err = get(ctx, p, func() (*computepb.Image, error) {
		if path[2] != "" {
			return p.api.images.GetFromFamily(ctx, &computepb.GetFromFamilyImageRequest{Project: path[1], Family: path[3]})
		}
		return p.api.images.Get(ctx, &computepb.GetImageRequest{Project: path[1], Image: path[3]})
	})
	if gone(err) {
		return nil, fail(providers.Invalid, "image %q: there is none for %s: %v", name, arch, err)
	}
	if err != nil {
		return nil, err
	}
	if of := i.GetArchitecture(); of != "" && of != googleArch(arch) {
		return nil, fail(providers.Invalid, "image %s is for %s, the machine type for %s", name, of, googleArch(arch))
	}
	if !slices.ContainsFunc(i.GetGuestOsFeatures(), func(f *computepb.GuestOsFeature) bool { return f.GetType() == "UEFI_COMPATIBLE" }) {
		return nil, fail(providers.Invalid, "image %s has not the feature UEFI_COMPATIBLE, which shielded machines need", name)
	}
	return i, nil
}

func googleArch(arch string) string {
	if arch == "amd64" {
		return "X86_64"
	}
	return strings.ToUpper(arch)
}

// archOf is a type's processor as GOARCH names it; "" if it is another. Older types do not say it.
func archOf(t *computepb.MachineType) string {
	switch t.GetArchitecture() {
	case "", "ARCHITECTURE_UNSPECIFIED", "X86_64":
		return "amd64"
	case "ARM64":
		return "arm64"
	}
	return ""
}

// typeAt looks a machine type up in a zone; Invalid if it is not on offer there.
func (p *Provider) typeAt(ctx context.Context, zone, name string) (*computepb.MachineType, error) {
	if !nameForm.MatchString(name) {
		return nil, fail(providers.Invalid, "type %q: Google has none of that name", name)
	}
	t, err := get(ctx, p, func() (*computepb.MachineType, error) {
		return p.api.types.Get(ctx, &computepb.GetMachineTypeRequest{Project: p.o.Project, Zone: zone, MachineType: name})
	})
	if gone(err) {
		return nil, fail(providers.Invalid, "type %q: zone %s has none of that name", name, zone)
	}
	if err == nil && archOf(t) == "" {
		return nil, fail(providers.Invalid, "type %q is for neither amd64 nor arm64", name)
	}
	return t, err
}

// arch says for which architecture a machine type is.
func (p *Provider) arch(ctx context.Context, zone, name string) (string, error) {
	t, err := p.typeAt(ctx, zone, name)
	return archOf(t), err
}

// Types returns the types that the region's zones offer.
func (m machines) Types(ctx context.Context) (all []providers.MachineType, err error) {
	defer about(providers.TypesVerb, providers.MachineNoun, m.p.o.Region, &err)
	m.p.mu.Lock()
	known, at := m.p.types, m.p.typesAt
	m.p.mu.Unlock()
	if time.Since(at) > time.Hour {
		if known, err = m.types(ctx); err != nil {
			return nil, err
		}
		if len(known) == 0 {
			return nil, providers.BadAttribute("region", "Google has no machine types in the region %s: it is none of Google's, or none for this project; \"gcloud compute regions list\" lists them", m.p.o.Region)
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

// types asks Google, zone by zone: all zones of the world would be tens of thousands.
func (m machines) types(ctx context.Context) (all []providers.MachineType, err error) {
	byName := map[string]*providers.MachineType{}
	for _, zone := range m.p.Caps().Zones {
		found, err := collect(ctx, m.p, func() func() (*computepb.MachineType, error) {
			return m.p.api.types.List(ctx, &computepb.ListMachineTypesRequest{Project: m.p.o.Project, Zone: zone}).Next
		})
		if gone(err) || is(err, "invalid") {
			continue // the project does not have the zone
		}
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			arch := archOf(t)
			if arch == "" || t.GetDeprecated().GetState() == "OBSOLETE" || t.GetDeprecated().GetState() == "DELETED" {
				continue
			}
			if byName[t.GetName()] == nil {
				byName[t.GetName()] = &providers.MachineType{Name: t.GetName(), CPUs: 1000 * int(t.GetGuestCpus()), MemoryMiB: int(t.GetMemoryMb()), DiskGiB: defaultDisk, GPUs: gpus(t), Arch: arch,
					Volumes: max(0, int(t.GetMaximumPersistentDisks())-1)} // the root disk is one
			}
			byName[t.GetName()].Zones = append(byName[t.GetName()].Zones, zone)
		}
	}
	by := rates(m.p.o.Region)
	for _, t := range byName {
		t.PriceUSD = price(by, *t)
		if t.CPUs > 0 && t.MemoryMiB > 0 {
			slices.Sort(t.Zones)
			all = append(all, *t)
		}
	}
	slices.SortFunc(all, func(a, b providers.MachineType) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func gpus(t *computepb.MachineType) (n int) {
	for _, a := range t.GetAccelerators() {
		n += int(a.GetGuestAcceleratorCount())
	}
	return n
}
