package azure

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/provisionhq/provision/providers"
)

// An Action is one that a role must have, as Azure's roles name it.
type Action struct {
	Name string
	// For are the kinds of objects that it is needed for, from the call that makes one to the one that removes it; none: all.
	For []providers.Noun
	// With is what of the provider's settings it is needed for: "nat", "subnet", "identity"; empty: any.
	With string
}

// Actions is all that the provider may ever need at Azure; docs/security.md has them as a custom role. The names are from memory,
// as https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations has them; of those on linked scopes
// Azure tells only when one is missing. What goes with its resource group needs no action of its own.
func Actions() (all []Action) {
	network, machine, balancer := []providers.Noun{providers.NetworkNoun}, []providers.Noun{providers.MachineNoun}, []providers.Noun{providers.BalancerNoun}
	volume := []providers.Noun{providers.VolumeNoun, providers.SnapshotNoun}
	add := func(nouns []providers.Noun, with, prefix, names string) {
		for _, n := range strings.Fields(names) {
			all = append(all, Action{prefix + n, nouns, with})
		}
	}
	const resources, compute, net = "Microsoft.Resources/", "Microsoft.Compute/", "Microsoft.Network/"
	add(nil, "", "Microsoft.Authorization/", "permissions/read")
	add(nil, "", resources, "subscriptions/resourceGroups/read tags/write")
	add(slices.Concat(network, volume), "", resources, "subscriptions/resourceGroups/write subscriptions/resourceGroups/delete subscriptions/resourceGroups/resources/read")
	add(slices.Concat(machine, volume), "", compute, "locations/usages/read skus/read")
	add(slices.Concat(network, machine, balancer), "", net, "locations/usages/read locations/operations/read networkSecurityGroups/read publicIPAddresses/read loadBalancers/read networkInterfaces/read")
	add(network, "", net, `virtualNetworks/read virtualNetworks/write virtualNetworks/delete networkSecurityGroups/write networkSecurityGroups/delete
		applicationSecurityGroups/read applicationSecurityGroups/write`)
	add(slices.Concat(network, balancer), "", net, "networkSecurityGroups/securityRules/read networkSecurityGroups/securityRules/write networkSecurityGroups/securityRules/delete applicationSecurityGroups/joinNetworkSecurityRule/action")
	add(network, "nat", net, "natGateways/read natGateways/write natGateways/join/action publicIPAddresses/write publicIPAddresses/delete publicIPAddresses/join/action")
	add(network, "subnet", net, "virtualNetworks/subnets/read")
	add(slices.Concat(machine, balancer), "", net, "virtualNetworks/subnets/join/action loadBalancers/write")
	add(machine, "", net, "networkInterfaces/write networkInterfaces/delete networkInterfaces/join/action networkSecurityGroups/join/action applicationSecurityGroups/joinIpConfiguration/action")
	add(slices.Concat(machine, balancer), "public", net, "publicIPAddresses/write publicIPAddresses/delete publicIPAddresses/join/action")
	add(balancer, "", net, "loadBalancers/delete virtualNetworks/joinLoadBalancer/action")
	add(machine, "", compute, `virtualMachines/read virtualMachines/write virtualMachines/delete virtualMachines/start/action
		locations/operations/read locations/publishers/artifacttypes/offers/skus/versions/read`)
	add(machine, "identity", "Microsoft.ManagedIdentity/", "userAssignedIdentities/assign/action")
	add(volume, "", compute, `locations/DiskOperations/read locations/operations/read virtualMachines/read virtualMachines/attachDetachDataDisks/action disks/read disks/write disks/delete
		disks/beginGetAccess/action snapshots/read snapshots/write snapshots/delete snapshots/beginGetAccess/action`)
	return all
}

// notForAgents are the actions that only who makes networks needs, gives machines an identity, or looks what a plan may have.
const notForAgents = `Microsoft.Authorization/permissions/read Microsoft.Compute/locations/usages/read Microsoft.ManagedIdentity/userAssignedIdentities/assign/action
	Microsoft.Network/applicationSecurityGroups/write Microsoft.Network/locations/usages/read Microsoft.Network/natGateways/join/action
	Microsoft.Network/natGateways/read Microsoft.Network/natGateways/write Microsoft.Network/networkSecurityGroups/delete
	Microsoft.Network/networkSecurityGroups/write Microsoft.Network/virtualNetworks/delete Microsoft.Network/virtualNetworks/write`

// AgentActions are those that a cloud agent needs, sorted.
func AgentActions() (all []string) {
	not := strings.Fields(notForAgents)
	for _, a := range Actions() {
		if !slices.Contains(not, a.Name) {
			all = append(all, a.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// needed are the actions for what is about to be made, sorted.
func (p *Provider) needed(n providers.Need) (all []string) {
	public := p.o.Addresses == Public && len(n.Machines) > 0 || slices.ContainsFunc(n.LoadBalancers, func(s providers.LoadBalancerSpec) bool { return !s.Internal })
	set := map[string]bool{"": true, "nat": p.o.NAT == NATOne, "subnet": p.o.Network != "", "identity": p.o.Identity+p.o.CloudAgentIdentity != "", "public": public}
	made := map[providers.Noun]bool{providers.NetworkNoun: len(n.Networks) > 0, providers.MachineNoun: len(n.Machines) > 0,
		providers.BalancerNoun: len(n.LoadBalancers) > 0, providers.VolumeNoun: len(n.Volumes) > 0}
	for _, a := range Actions() {
		if set[a.With] && (len(a.For) == 0 || slices.ContainsFunc(a.For, func(noun providers.Noun) bool { return made[noun] })) {
			all = append(all, a.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A grant is what one role allows.
type grant struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

func (g grant) allows(action string) bool {
	return covered(g.Actions, action) && !covered(g.NotActions, action)
}

// covered says whether one of a role's patterns fits an action.
func covered(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		form := `(?i)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`
		ok, err := regexp.MatchString(form, action)
		return ok && err == nil
	})
}

// grants are the roles of who asks, at a scope and above. The SDK's module for it has no call for a subscription:
// https://learn.microsoft.com/rest/api/authorization/permissions
func (p *Provider) grants(ctx context.Context, scope string) (all []grant, err error) {
	next := runtime.JoinPaths(p.raw.Endpoint(), scope, "/providers/Microsoft.Authorization/permissions") + "?api-version=2022-04-01"
	for next != "" {
		req, err := runtime.NewRequest(ctx, http.MethodGet, next)
		if err != nil {
			return nil, err
		}
		resp, err := p.raw.Pipeline().Do(req)
		if err != nil {
			return nil, err
		}
		if !runtime.HasStatusCode(resp, http.StatusOK) {
			return nil, runtime.NewResponseError(resp)
		}
		var page struct {
			Value    []grant `json:"value"`
			NextLink string  `json:"nextLink"`
		}
		if err := runtime.UnmarshalAsJSON(resp, &page); err != nil {
			return nil, err
		}
		all, next = append(all, page.Value...), page.NextLink
	}
	return all, nil
}

// lacking are the actions that are needed and not given, by roles on the subscription or on a group that is there already.
func (p *Provider) lacking(ctx context.Context, n providers.Need) (missing []string, err error) {
	have, err := p.grants(ctx, "/subscriptions/"+p.o.Subscription)
	if err != nil {
		return nil, err
	}
	lack := func() (all []string) {
		for _, a := range p.needed(n) {
			if !slices.ContainsFunc(have, func(g grant) bool { return g.allows(a) }) {
				all = append(all, a)
			}
		}
		return all
	}
	if missing = lack(); len(missing) == 0 || len(n.Networks) > 0 {
		return missing, nil
	}
	for _, group := range groupsOf(n) {
		more, err := p.grants(ctx, p.scope(group))
		if ignoring(err) != nil {
			return nil, err
		}
		have = append(have, more...)
	}
	return lack(), nil
}

// groupsOf are the resource groups of the networks that what is needed goes into.
func groupsOf(n providers.Need) (all []string) {
	for _, m := range n.Machines {
		all = append(all, networkName(m.Network))
	}
	for _, b := range n.LoadBalancers {
		all = append(all, networkName(b.Network))
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(group string) bool { return group == "" })
}
