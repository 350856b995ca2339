package azuretest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// A Role is what who asks may do at a scope and below it.
type Role struct {
	Scope      string   // "/subscriptions/…"; empty: the subscription
	Actions    []string // "Microsoft.Compute/disks/*"
	NotActions []string // of those: what not
}

// Assign makes the roles all that who asks has. Before the first call, he may do everything.
func (c *Cloud) Assign(roles ...Role) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roles = roles
	for i := range c.roles {
		if c.roles[i].Scope == "" {
			c.roles[i].Scope = "/subscriptions/" + c.o.Subscription
		}
	}
}

// Demanded returns all actions that requests so far needed, sorted.
func (c *Cloud) Demanded() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(func(yield func(string) bool) {
		for a := range c.demanded {
			if !yield(a) {
				return
			}
		}
	})
}

// unauthorized returns the refusal of a request that needs more than the roles allow; nil if they allow it.
func (c *Cloud) unauthorized(req *http.Request, r Request) *fault {
	for _, a := range c.demands(req, r) {
		c.demanded[a] = true
		if !c.may(a, req.URL.Path) {
			return refuse(403, "AuthorizationFailed", "The client 'ops@example.com' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
				"If access was recently granted, please refresh your credentials.", Object, a, strings.TrimSuffix(req.URL.Path, "/"))
		}
	}
	return nil
}

// may says whether a role allows an action on what has the path.
func (c *Cloud) may(action, path string) bool {
	return c.roles == nil || slices.ContainsFunc(c.roles, func(r Role) bool {
		return strings.HasPrefix(low(path)+"/", low(r.Scope)+"/") && matches(r.Actions, action) && !matches(r.NotActions, action)
	})
}

func matches(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		form := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$"
		return regexp.MustCompile(form).MatchString(action)
	})
}

// demands are the actions that a request needs: its own, and those on what the thing is to stand on ("linked" scopes).
// https://learn.microsoft.com/azure/role-based-access-control/permissions/compute and …/networking name them; from memory.
func (c *Cloud) demands(req *http.Request, r Request) (all []string) {
	if own := actionOf(r); own != "" {
		all = append(all, own)
	}
	if req.Method != http.MethodPut && req.Method != http.MethodPost || req.Body == nil {
		return all
	}
	text, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(text))
	var doc any
	if json.Unmarshal(text, &doc) != nil {
		return all
	}
	for _, id := range resources(doc) {
		if a := linked(low(r.Path), id); a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// actionOf is the action that a request itself is; empty if it needs none.
func actionOf(r Request) string {
	const compute, network, group = "Microsoft.Compute/", "Microsoft.Network/", "Microsoft.Resources/subscriptions/resourceGroups/"
	p := low(r.Path)
	verb := map[string]string{http.MethodGet: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete"}[r.Method]
	switch {
	case r.API == "operation" && strings.Contains(p, "/diskoperations/"):
		return compute + "locations/DiskOperations/read"
	case r.API == "operation" && strings.Contains(p, "/microsoft.network/"):
		return network + "locations/operations/read"
	case r.API == "operation" && strings.Contains(p, "/microsoft.compute/"):
		return compute + "locations/operations/read"
	case r.API == "operation":
		return ""
	case r.API == "permissions":
		return "Microsoft.Authorization/permissions/read"
	case r.API == "TagsClient.UpdateAtScope":
		return "Microsoft.Resources/tags/write"
	case r.API == "ResourceSKUsClient.NewListPager":
		return compute + "skus/read"
	case r.API == "VirtualMachineImagesClient.List":
		return compute + "locations/publishers/artifacttypes/offers/skus/versions/read"
	case r.API == "UsageClient.NewListPager":
		return compute + "locations/usages/read"
	case r.API == "UsagesClient.NewListPager":
		return network + "locations/usages/read"
	case r.API == "Client.NewListByResourceGroupPager":
		return group + "resources/read"
	case strings.HasPrefix(r.API, "ResourceGroupsClient"):
		return group + verb
	case strings.HasPrefix(r.API, "SecurityRulesClient"):
		return firewallKind + "/securityRules/" + verb
	case strings.HasPrefix(r.API, "SubnetsClient"):
		return vnetKind + "/subnets/" + verb
	case strings.HasSuffix(r.API, ".BeginStart"):
		return vmKind + "/start/action"
	case strings.HasSuffix(r.API, ".BeginAttachDetachDataDisks"):
		return vmKind + "/attachDetachDataDisks/action"
	}
	for _, k := range kinds() {
		if strings.HasPrefix(r.API, k.client+".") {
			return k.name + "/" + verb
		}
	}
	return ""
}

// resources are the IDs of resources in a document, wherever they are.
func resources(doc any) (all []string) {
	switch d := doc.(type) {
	case string:
		if strings.HasPrefix(d, "/subscriptions/") {
			all = append(all, low(d))
		}
	case map[string]any:
		for k, v := range d {
			if k != "tags" {
				all = append(all, resources(k)...) // identities are keys
				all = append(all, resources(v)...)
			}
		}
	case []any:
		for _, v := range d {
			all = append(all, resources(v)...)
		}
	}
	return all
}

// linked is the action that what has the path needs on the resource that it refers to; empty if it needs none.
func linked(path, id string) string {
	if strings.HasPrefix(id, path) {
		return ""
	}
	of := func(in, kind string) bool { return strings.Contains(in, "/providers/"+low(kind)+"/") }
	switch {
	case of(id, "Microsoft.ManagedIdentity/userAssignedIdentities"):
		return "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
	case of(id, vnetKind) && strings.Contains(id, "/subnets/"):
		return vnetKind + "/subnets/join/action"
	case of(id, vnetKind):
		return vnetKind + "/joinLoadBalancer/action"
	case of(id, firewallKind):
		return firewallKind + "/join/action"
	case of(id, roleKind) && of(path, nicKind):
		return roleKind + "/joinIpConfiguration/action"
	case of(id, roleKind):
		return roleKind + "/joinNetworkSecurityRule/action"
	case of(id, addressKind):
		return addressKind + "/join/action"
	case of(id, natKind):
		return natKind + "/join/action"
	case of(id, nicKind):
		return nicKind + "/join/action"
	case of(id, diskKind) && of(path, snapshotKind):
		return diskKind + "/beginGetAccess/action"
	case of(id, snapshotKind):
		return snapshotKind + "/beginGetAccess/action"
	}
	return ""
}

// permissions answers what who asks may do at a scope.
func (c *Cloud) permissions(req *http.Request) *http.Response {
	scope, _, _ := strings.Cut(low(req.URL.Path), "/providers/microsoft.authorization/")
	all := []any{}
	if c.roles == nil {
		all = append(all, map[string]any{"actions": []string{"*"}, "notActions": []string{}})
	}
	for _, r := range c.roles {
		if strings.HasPrefix(scope+"/", low(r.Scope)+"/") {
			all = append(all, map[string]any{"actions": r.Actions, "notActions": r.NotActions})
		}
	}
	return answered(req, map[string]any{"value": all})
}
