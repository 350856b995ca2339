package azure

import (
	"context"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

// A demand is what is needed of something that Azure counts.
type demand struct {
	unit string
	need float64
	noun providers.Noun // empty: several
}

// demands are what is needed of what Azure counts, by Azure's name of it: those of Microsoft.Compute, and of Microsoft.Network.
func (p *Provider) demands(n providers.Need, types map[string]size) (compute, network map[string]demand) {
	compute, network = map[string]demand{}, map[string]demand{}
	add := func(to map[string]demand, name, unit string, noun providers.Noun, much float64) {
		d, counted := to[name]
		if counted && d.noun != noun {
			noun = ""
		}
		if name != "" && much > 0 {
			to[name] = demand{unit, d.need + much, noun}
		}
	}
	for _, m := range n.Machines {
		z := types[m.Type]
		cores := float64(z.CPUs) / 1000
		add(compute, "virtualMachines", "", providers.MachineNoun, 1)
		add(network, "NetworkInterfaces", "", providers.MachineNoun, 1)
		if m.Spot {
			add(compute, "lowPriorityCores", "vCPU", providers.MachineNoun, cores)
			continue
		}
		add(compute, "cores", "vCPU", providers.MachineNoun, cores)
		add(compute, z.family, "vCPU", providers.MachineNoun, cores)
	}
	address := func(noun providers.Noun, much int) {
		for _, name := range []string{"PublicIPAddresses", "StandardSkuPublicIpAddresses"} {
			add(network, name, "", noun, float64(much))
		}
	}
	if p.o.Addresses == Public {
		address(providers.MachineNoun, len(n.Machines))
	}
	for _, b := range n.LoadBalancers {
		add(network, "LoadBalancers", "", providers.BalancerNoun, 1)
		if !b.Internal {
			address(providers.BalancerNoun, 1)
		}
	}
	nets := float64(len(n.Networks))
	add(network, "NetworkSecurityGroups", "", providers.NetworkNoun, nets)
	add(network, "ApplicationSecurityGroups", "", providers.NetworkNoun, 2*nets)
	if p.o.Network == "" {
		add(network, "VirtualNetworks", "", providers.NetworkNoun, nets)
	}
	if p.o.NAT == NATOne {
		add(network, "NatGateways", "", providers.NetworkNoun, nets)
		address(providers.NetworkNoun, len(n.Networks))
	}
	return compute, network
}

// computeLimits are the quotas of Microsoft.Compute that the need counts against.
func (p *Provider) computeLimits(ctx context.Context, need map[string]demand) (all []providers.Limit, err error) {
	found, err := collect(ctx, p.computeUsages.NewListPager(p.o.Location, nil), func(o armcompute.UsageClientListResponse) []*armcompute.Usage { return o.Value })
	for _, u := range found {
		if u.Name != nil {
			all = append(all, limit(val(u.Name.Value), val(u.Name.LocalizedValue), float64(val(u.Limit)), float64(val(u.CurrentValue)), need)...)
		}
	}
	return all, err
}

// networkLimits are those of Microsoft.Network.
func (p *Provider) networkLimits(ctx context.Context, need map[string]demand) (all []providers.Limit, err error) {
	found, err := collect(ctx, p.networkUsages.NewListPager(p.o.Location, nil), func(o armnetwork.UsagesClientListResponse) []*armnetwork.Usage { return o.Value })
	for _, u := range found {
		if u.Name != nil {
			all = append(all, limit(val(u.Name.Value), val(u.Name.LocalizedValue), float64(val(u.Limit)), float64(val(u.CurrentValue)), need)...)
		}
	}
	return all, err
}

// limit is a quota of Azure's, if something of it is needed.
func limit(name, title string, most, used float64, need map[string]demand) []providers.Limit {
	for n, d := range need {
		if strings.EqualFold(n, name) {
			return []providers.Limit{{Name: strings.TrimSuffix(title, "."), Unit: d.unit, Max: most, Used: used, Need: d.need, Noun: d.noun}}
		}
	}
	return nil
}

func byTitle(a, b providers.Limit) int { return strings.Compare(a.Name, b.Name) }

// sorted puts limits in the order of their names.
func sorted(all []providers.Limit) []providers.Limit {
	slices.SortFunc(all, byTitle)
	return all
}
