package config

import (
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// UnknownMachineType says that the vendor has no machine of a type that the pool asks for.
func UnknownMachineType(c *Cluster, p *Pool, machine string, known []string) diag.Diagnostic {
	key, in := p.block()
	return diag.New(diag.UnknownMachineType, "Provider %q has no machine type %q.%s It has %s. Nothing was changed.",
		c.Provider.Name, machine, diag.DidYouMean(machine, known), some(known)).
		At(c.at(key+".machines", key+".machine", key), in)
}

// UnknownZones says which zones of the pool the vendor does not have.
func UnknownZones(c *Cluster, p *Pool, known []string) (ds diag.Diagnostics) {
	key, in := p.block()
	at := c.at(key+".zones", key)
	if len(known) == 0 && len(p.Zones) > 0 {
		return diag.Diagnostics{diag.New(diag.Unsupported, "Provider %q has no zones: it is one place. Nothing was changed.", c.Provider.Name).At(at, in).Next("Remove the attribute zones.")}
	}
	for _, z := range p.Zones {
		if !slices.Contains(known, z) {
			ds = append(ds, diag.New(diag.UnknownZone, "Provider %q has no zone %q.%s It has %s. Nothing was changed.",
				c.Provider.Name, z, diag.DidYouMean(z, known), some(known)).At(at, in))
		}
	}
	return ds
}

// NoSpot says that the vendor has no spot machines.
func NoSpot(c *Cluster, p *Pool) diag.Diagnostic {
	key, in := p.block()
	return diag.New(diag.Unsupported, "Provider %q has no spot machines. Nothing was changed.", c.Provider.Name).
		At(c.at(key+".spot", key), in).Next("Remove the attribute spot: ordinary machines cost more, and are not taken away.")
}

// NoAutoscaler says why nobody would make the machines of a pool with min and max.
func NoAutoscaler(c *Cluster, p *Pool, why string) diag.Diagnostic {
	key, in := p.block()
	return diag.New(diag.Unsupported, "The cluster cannot decide by itself how many machines the pool has: %s.", why).
		At(c.at(key+".max", key), in).Next("Write count in place of min and max.")
}

// NoBalancers says that the vendor has no balancers.
func NoBalancers(c *Cluster) diag.Diagnostic {
	return diag.New(diag.Unsupported, "Provider %q has no balancers to put before the API. Nothing was changed.", c.Provider.Name).
		At(c.at("endpoint.balancer", "endpoint"), "endpoint").Next("Remove the attribute balancer, or take an address in the machines' network instead: address, in the same block.")
}

// UnknownVersion says that the bundle does not hold the version of Kubernetes that the file asks for.
func UnknownVersion(c *Cluster, held []string) diag.Diagnostic {
	d := diag.New(diag.UnknownVersion, "The bundle does not hold Kubernetes %s. It holds %s. Nothing was changed.", c.Kubernetes, some(held)).
		At(c.at("kubernetes", "cluster"), c.in())
	if len(held) == 1 {
		return d.Next(`Write kubernetes = "` + held[0] + `", or name the bundle that holds the version with --bundle FILE.`)
	}
	return d.Next("Choose one of those, or name the bundle that holds the version with --bundle FILE.")
}

// UnknownProvider says that there is no provider of the name that the file gives.
func UnknownProvider(c *Cluster, known []string) diag.Diagnostic {
	return diag.New(diag.UnknownProvider, "There is no provider %q.%s There are %s. Nothing was changed.",
		c.Provider.Name, diag.DidYouMean(c.Provider.Name, known), some(known)).
		At(c.at("provider"), "")
}

// UnknownProviderAttribute says that the vendor knows no such attribute.
func UnknownProviderAttribute(c *Cluster, attribute string, known []string) diag.Diagnostic {
	has := "It has none."
	if len(known) > 0 {
		has = "It has " + some(known) + "."
	}
	return diag.New(diag.UnknownAttribute, "Provider %q has no attribute %q.%s %s Nothing was changed.",
		c.Provider.Name, attribute, diag.DidYouMean(attribute, known), has).
		At(c.at("provider."+attribute, "provider"), `provider "`+c.Provider.Name+`"`)
}

// BadProviderAttribute says that the vendor does not take the value of an attribute, or what stands in its place.
func BadProviderAttribute(c *Cluster, attribute, why string) diag.Diagnostic {
	return diag.New(diag.BadValue, "Provider %q: %s. Nothing was changed.", c.Provider.Name, why).
		At(c.at("provider."+attribute, "provider"), `provider "`+c.Provider.Name+`"`).
		Next("Mend the block, or what the vendor's own tools read in its place, and run the same command again.")
}

// NamesTooLong refuses pools whose machines' names are longer than the vendor accepts; 0 means 63.
func NamesTooLong(c *Cluster, limit int) diag.Diagnostics {
	if limit == 0 {
		limit = maxLabel
	}
	var ds diag.Diagnostics
	pools := append([]Pool{c.ControlPlane}, c.Pools...)
	for i := range pools {
		if d, long := nameTooLong(c.Name, &pools[i], limit); long {
			ds = append(ds, d)
		}
	}
	return ds
}

// in is the cluster's block as diagnostics name it.
func (c *Cluster) in() string { return `cluster "` + c.Name + `"` }

// maxNamed is how many things a sentence lists.
const maxNamed = 12

// some lists words, sorted, and no more than can be read.
func some(words []string) string {
	words = slices.Sorted(slices.Values(words))
	if len(words) > maxNamed {
		return strings.Join(words[:maxNamed], ", ") + ", …"
	}
	return diag.List(words)
}
