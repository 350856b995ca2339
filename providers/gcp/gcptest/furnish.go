package gcptest

import (
	"fmt"
	"strings"
)

// put puts something there that is there before anybody asks.
func (c *Cloud) put(path, kind string, body object) {
	i := strings.LastIndex(path, "/")
	name := path[i+1:]
	place := strings.TrimSuffix(path[:i], "/"+kind)
	url := base + path
	if strings.HasPrefix(path, "projects/") {
		url = "https://www.googleapis.com/compute/v1/" + path
	}
	body["name"], body["id"], body["selfLink"], body["kind"] = name, fmt.Sprint(c.number()), url, "compute#"+strings.TrimSuffix(kind, "s")
	body["creationTimestamp"] = "2026-01-01T00:00:00.000-08:00"
	c.things[path] = &thing{place: place, kind: kind, name: name, body: body, ready: true}
}

// furnish puts there what every project has.
func (c *Cloud) furnish() {
	for _, z := range Zones() {
		c.furnishZone(z)
	}
	if !c.options.Anywhere {
		c.furnishZone(otherZone)
	}
	for _, f := range []struct{ project, family, arch string }{
		{"debian-cloud", "debian-12", "X86_64"}, {"debian-cloud", "debian-12-arm64", "ARM64"}, {"debian-cloud", "debian-13", "X86_64"}, {"debian-cloud", "debian-13-arm64", "ARM64"},
		{"ubuntu-os-cloud", "ubuntu-2204-lts", "X86_64"}, {"ubuntu-os-cloud", "ubuntu-2204-lts-arm64", "ARM64"},
		{"ubuntu-os-cloud", "ubuntu-2404-lts-amd64", "X86_64"}, {"ubuntu-os-cloud", "ubuntu-2404-lts-arm64", "ARM64"},
	} {
		for _, date := range []string{"v20260801", "v20261101"} {
			c.put("projects/"+f.project+"/global/images/"+f.family+"-"+date, "images", object{"family": f.family, "architecture": f.arch, "status": "READY", "diskSizeGb": "10",
				"guestOsFeatures": []any{object{"type": "UEFI_COMPATIBLE"}, object{"type": "GVNIC"}}})
		}
	}
}

// A machineSize is what a machine type has.
type machineSize struct {
	cpus, memory int
	arch         string
}

func machineSizes() map[string]machineSize {
	return map[string]machineSize{"e2-micro": {2, 1024, "X86_64"}, "e2-small": {2, 2048, "X86_64"}, "e2-medium": {2, 4096, "X86_64"}, "e2-standard-2": {2, 8192, "X86_64"},
		"e2-standard-4": {4, 16384, "X86_64"}, "e2-standard-8": {8, 32768, "X86_64"}, "n2-standard-2": {2, 8192, "X86_64"}, "n2-standard-4": {4, 16384, "X86_64"},
		"c4-standard-4": {4, 15360, "X86_64"}, "c4a-standard-1": {1, 4096, "ARM64"}, "a2-highgpu-1g": {12, 87040, "X86_64"}}
}

// zonesIn are the links to the zones of a region.
func zonesIn(region string) (links []any) {
	for _, z := range Zones() {
		if strings.HasPrefix(z, region+"-") {
			links = append(links, base+"zones/"+z)
		}
	}
	return links
}

// furnishZone puts there what a zone has, and its region.
func (c *Cloud) furnishZone(z string) {
	region := z[:strings.LastIndex(z, "-")]
	c.put("global/zones/"+z, "zones", object{"region": base + "regions/" + region, "status": "UP"})
	c.put("global/regions/"+region, "regions", object{"status": "UP", "quotas": []any{}, "zones": zonesIn(region)})
	for name, t := range machineSizes() {
		if name == "c4a-standard-1" && strings.HasSuffix(z, "-d") {
			continue // not in every zone
		}
		shared := name == "e2-micro" || name == "e2-small" || name == "e2-medium"
		body := object{"guestCpus": t.cpus, "memoryMb": t.memory, "architecture": t.arch, "zone": z, "isSharedCpu": shared, "imageSpaceGb": 0, "maximumPersistentDisks": 128}
		if name == "a2-highgpu-1g" {
			body["accelerators"] = []any{object{"guestAcceleratorType": "nvidia-tesla-a100", "guestAcceleratorCount": 1}}
		}
		c.put("zones/"+z+"/machineTypes/"+name, "machineTypes", body)
	}
	for _, d := range []string{"pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"} {
		c.put("zones/"+z+"/diskTypes/"+d, "diskTypes", object{"zone": z, "validDiskSize": "10GB-65536GB"})
	}
}
