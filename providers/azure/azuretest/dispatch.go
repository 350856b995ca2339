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
		{vmKind, "VirtualMachinesClient", "NewListAllPager", "NewListPager", true},
		{diskKind, "DisksClient", "NewListPager", "NewListByResourceGroupPager", true},
		{snapshotKind, "SnapshotsClient", "NewListPager", "NewListByResourceGroupPager", true},
		{vnetKind, "VirtualNetworksClient", "NewListAllPager", "NewListPager", false},
		{firewallKind, "SecurityGroupsClient", "NewListAllPager", "NewListPager", false},
		{roleKind, "ApplicationSecurityGroupsClient", "NewListAllPager", "NewListPager", false},
		{natKind, "NatGatewaysClient", "NewListAllPager", "NewListPager", false},
		{addressKind, "PublicIPAddressesClient", "NewListAllPager", "NewListPager", false},
		{nicKind, "InterfacesClient", "NewListAllPager", "NewListPager", false},
		{lbKind, "LoadBalancersClient", "NewListAllPager", "NewListPager", false},
	}
}

// apiOf is what the SDK calls a request: the fake servers go by it. It is told from method and path, so that any client can ask.
func apiOf(method, path string) string {
	verb := map[string]string{http.MethodPut: "BeginCreateOrUpdate", http.MethodDelete: "BeginDelete", http.MethodGet: "Get", http.MethodPatch: "BeginUpdate"}[method]
	p := low(path)
	switch {
	case strings.Contains(p, "/locations/") && (strings.Contains(p, "/operations/") || strings.Contains(p, "/diskoperations/")) || strings.Contains(p, "/operationresults/"):
		return "operation"
	case strings.HasSuffix(p, "/providers/microsoft.authorization/permissions"):
		return "permissions"
	case strings.HasSuffix(p, "/usages") && strings.Contains(p, "/microsoft.compute/locations/"):
		return "UsageClient.NewListPager"
	case strings.HasSuffix(p, "/usages") && strings.Contains(p, "/microsoft.network/locations/"):
		return "UsagesClient.NewListPager"
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
