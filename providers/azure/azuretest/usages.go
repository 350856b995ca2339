package azuretest

import (
	"net/http"
	"slices"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
)

// A usage is how much there is of something that may be had only so often.
type usage struct {
	name, title string
	used, limit int
}

// Limit says how much of something there may be: "cores", "standardDSv5Family", "PublicIPAddresses".
func (c *Cloud) Limit(name string, max int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits[name] = max
}

// of counts what there is of a kind.
func (c *Cloud) of(kind string) (n int) {
	for _, i := range c.items {
		if i.kind == kind {
			n++
		}
	}
	return n
}

// cores are the processors of virtual machines, of one family or of all. Spot machines count by themselves.
func (c *Cloud) cores(family string, spot bool) (n int) {
	for _, i := range c.items {
		for _, s := range skus() {
			if i.kind == vmKind && text(i.doc, "properties", "hardwareProfile", "vmSize") == s.name && (family == "" || s.family == family) &&
				(text(i.doc, "properties", "priority") == "Spot") == spot {
				n += s.cpus
			}
		}
	}
	return n
}

// limited is a usage with the limit that was set, or one that is far away.
func (c *Cloud) limited(name, title string, used int) usage {
	u := usage{name, title, used, 1000}
	if max, ok := c.limits[name]; ok {
		u.limit = max
	}
	return u
}

// ofCompute are the usages of Microsoft.Compute.
func (c *Cloud) ofCompute() []usage {
	all := []usage{c.limited("cores", "Total Regional vCPUs", c.cores("", false)), c.limited("lowPriorityCores", "Total Regional Low-priority vCPUs", c.cores("", true)),
		c.limited("virtualMachines", "Virtual Machines", c.of(vmKind)), c.limited("availabilitySets", "Availability Sets", 0)}
	for _, s := range skus() { // one family is together
		if all[len(all)-1].name != s.family {
			all = append(all, c.limited(s.family, s.family+" vCPUs", c.cores(s.family, false)))
		}
	}
	return all
}

// ofNetwork are the usages of Microsoft.Network.
func (c *Cloud) ofNetwork() []usage {
	return []usage{c.limited("VirtualNetworks", "Virtual Networks", c.of(vnetKind)), c.limited("NetworkSecurityGroups", "Network Security Groups", c.of(firewallKind)),
		c.limited("ApplicationSecurityGroups", "Application Security Groups.", c.of(roleKind)), c.limited("NetworkInterfaces", "Network Interfaces", c.of(nicKind)),
		c.limited("PublicIPAddresses", "Public IP Addresses", c.of(addressKind)), c.limited("StandardSkuPublicIpAddresses", "Public IPv4 Addresses - Standard", c.of(addressKind)),
		c.limited("LoadBalancers", "Load Balancers", c.of(lbKind)), c.limited("NatGateways", "Nat Gateways", c.of(natKind)), c.limited("RouteTables", "Route Tables", 0)}
}

// exceeds refuses what would be one too many.
func (c *Cloud) exceeds(kind string, doc map[string]any) error {
	switch kind {
	case vmKind:
		return c.exceedsCores(doc)
	case addressKind:
		if max, ok := c.limits["PublicIPAddresses"]; ok && c.of(addressKind) >= max {
			return refuse(400, "PublicIPCountLimitReached", "Cannot create more than %d public IP addresses for this subscription in this region.", max)
		}
	case vnetKind:
		if max, ok := c.limits["VirtualNetworks"]; ok && c.of(vnetKind) >= max {
			return refuse(400, "VirtualNetworkCountLimitReached", "Cannot create more than %d virtual networks for this subscription in this region.", max)
		}
	}
	return nil
}

func (c *Cloud) exceedsCores(doc map[string]any) error {
	all := skus()
	at := slices.IndexFunc(all, func(s sku) bool { return s.name == text(doc, "properties", "hardwareProfile", "vmSize") })
	if at < 0 {
		return nil
	}
	s, spot := all[at], text(doc, "properties", "priority") == "Spot"
	names := map[string]int{"cores": c.cores("", false), s.family: c.cores(s.family, false)}
	if spot {
		names = map[string]int{"lowPriorityCores": c.cores("", true)}
	}
	for name, used := range names {
		if max, ok := c.limits[name]; ok && used+s.cpus > max {
			return refuse(409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved %s Cores quota. Additional details - Current Limit: %d, Current Usage: %d, Additional Required: %d.", name, max, used, s.cpus)
		}
	}
	return nil
}

func (c *Cloud) computeUsages(string, *armcompute.UsageClientListOptions) (resp azfake.PagerResponder[armcompute.UsageClientListResponse]) {
	var out armcompute.UsageClientListResponse
	for _, u := range c.ofCompute() {
		used, limit, unit := int32(u.used), int64(u.limit), "Count"
		out.Value = append(out.Value, &armcompute.Usage{CurrentValue: &used, Limit: &limit, Unit: &unit, Name: &armcompute.UsageName{Value: &u.name, LocalizedValue: &u.title}})
	}
	resp.AddPage(http.StatusOK, out, nil)
	return resp
}

func (c *Cloud) networkUsages(string, *armnetwork.UsagesClientListOptions) (resp azfake.PagerResponder[armnetwork.UsagesClientListResponse]) {
	var out armnetwork.UsagesClientListResponse
	for _, u := range c.ofNetwork() {
		used, limit, unit := int64(u.used), int64(u.limit), armnetwork.UsageUnitCount
		out.Value = append(out.Value, &armnetwork.Usage{CurrentValue: &used, Limit: &limit, Unit: &unit, Name: &armnetwork.UsageName{Value: &u.name, LocalizedValue: &u.title}})
	}
	resp.AddPage(http.StatusOK, out, nil)
	return resp
}
