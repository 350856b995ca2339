package azuretest

import (
	"net/http"
	"regexp"
	"strings"
)

// A kind is a type of resource and the SDK's client for it.
type kind struct {
	name, client string
	all, group   string // the client's lists: of the subscription, of a group
	compute      bool
}

// kinds are the types of resource that the cloud has.
func kinds() []kind {
	return []kind{
		{"Microsoft.Compute/virtualMachines", "VirtualMachinesClient", "NewListAllPager", "NewListPager", true},
		{"Microsoft.Compute/disks", "DisksClient", "NewListPager", "NewListByResourceGroupPager", true},
		{"Microsoft.Compute/snapshots", "SnapshotsClient", "NewListPager", "NewListByResourceGroupPager", true},
		{"Microsoft.Network/virtualNetworks", "VirtualNetworksClient", "NewListAllPager", "NewListPager", false},
		{"Microsoft.Network/networkSecurityGroups", "SecurityGroupsClient", "NewListAllPager", "NewListPager", false},
		{"Microsoft.Network/applicationSecurityGroups", "ApplicationSecurityGroupsClient", "NewListAllPager", "NewListPager", false},
		{"Microsoft.Network/natGateways", "NatGatewaysClient", "NewListAllPager", "NewListPager", false},
		{"Microsoft.Network/publicIPAddresses", "PublicIPAddressesClient", "NewListAllPager", "NewListPager", false},
		{"Microsoft.Network/networkInterfaces", "InterfacesClient", "NewListAllPager", "NewListPager", false},
		{"Microsoft.Network/loadBalancers", "LoadBalancersClient", "NewListAllPager", "NewListPager", false},
	}
}

// apiOf is what the SDK calls a request: the fake servers go by it. It is told from method and path, so that any client can ask.
func apiOf(method, path string) string {
	verb := map[string]string{http.MethodPut: "BeginCreateOrUpdate", http.MethodDelete: "BeginDelete", http.MethodGet: "Get", http.MethodPatch: "BeginUpdate"}[method]
	p := low(path)
	switch {
	case strings.Contains(p, "/locations/") && (strings.Contains(p, "/operations/") || strings.Contains(p, "/operationresults/")):
		return "operation"
	case strings.HasSuffix(p, "/providers/microsoft.resources/tags/default"):
		return "TagsClient.UpdateAtScope"
	case strings.HasSuffix(p, "/providers/microsoft.compute/skus"):
		return "ResourceSKUsClient.NewListPager"
	case strings.HasSuffix(p, "/versions") && strings.Contains(p, "/publishers/"):
		return "VirtualMachineImagesClient.List"
	case regexp.MustCompile(`^/subscriptions/[^/]+/resourcegroups$`).MatchString(p):
		return "ResourceGroupsClient.NewListPager"
	case regexp.MustCompile(`^/subscriptions/[^/]+/resourcegroups/[^/]+$`).MatchString(p):
		if method == http.MethodPut {
			return "ResourceGroupsClient.CreateOrUpdate"
		}
		return "ResourceGroupsClient." + verb
	case regexp.MustCompile(`^/subscriptions/[^/]+/resourcegroups/[^/]+/resources$`).MatchString(p):
		return "Client.NewListByResourceGroupPager"
	}
	for _, k := range kinds() {
		before, rest, ok := strings.Cut(p, "/providers/"+low(k.name))
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		words := strings.Split(strings.Trim(rest, "/"), "/")
		switch {
		case rest == "" && strings.Contains(before, "/resourcegroups/"):
			return k.client + "." + k.group
		case rest == "":
			return k.client + "." + k.all
		case len(words) == 1:
			return k.client + "." + verb
		case words[1] == "start":
			return k.client + ".BeginStart"
		case words[1] == "attachdetachdatadisks":
			return k.client + ".BeginAttachDetachDataDisks"
		case words[1] == "securityrules":
			return "SecurityRulesClient." + verb
		case words[1] == "subnets":
			return "SubnetsClient." + verb
		}
	}
	return ""
}
