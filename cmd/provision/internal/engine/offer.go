package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
)

// checkOffer finds what the file asks for and the vendor does not have, with the line that asks for each: machine types, zones,
// spot machines, balancers, long names. It returns the machine types, and leaves the engine as it is: survey runs it beside look.
func (e *Engine) checkOffer(ctx context.Context) ([]providers.MachineType, error) {
	types, err := e.Provider.Machines().Types(ctx)
	if err != nil {
		return nil, e.vendorError("list machine types", err)
	}
	known := []string{}
	for _, t := range types {
		known = append(known, t.Name)
	}
	return types, e.unoffered(Offer{Caps: e.Provider.Caps(), Types: known}).Err()
}

// An Offer is what a vendor has, as far as that is known.
type Offer struct {
	Caps     providers.Caps
	Types    []string // names of the machine types; nil: not known
	Unplaced bool     // zones are not known
}

// unoffered is what the file asks for and the vendor does not have.
func (e *Engine) unoffered(o Offer) (ds diag.Diagnostics) {
	pools := []*config.Pool{&e.Cluster.ControlPlane}
	for i := range e.Cluster.Pools {
		pools = append(pools, &e.Cluster.Pools[i])
	}
	for _, p := range pools {
		for _, t := range p.Types() {
			if o.Types != nil && !slices.Contains(o.Types, t) {
				ds = append(ds, config.UnknownMachineType(e.Cluster, p, t, o.Types))
			}
		}
		if !o.Unplaced {
			ds = append(ds, config.UnknownZones(e.Cluster, p, o.Caps.Zones)...)
		}
		if p.Spot && !o.Caps.Spot {
			ds = append(ds, config.NoSpot(e.Cluster, p))
		}
		ds = append(ds, e.checkAutoscaled(p)...)
	}
	if e.Cluster.Endpoint.Balancer && !o.Caps.LoadBalancers {
		ds = append(ds, config.NoBalancers(e.Cluster))
	}
	if o.Caps.MaxNameLen > 0 {
		ds = append(ds, config.NamesTooLong(e.Cluster, o.Caps.MaxNameLen)...)
	}
	return ds
}

// checkAutoscaled refuses a pool whose number of machines the cluster should decide on where it cannot make any.
func (e *Engine) checkAutoscaled(p *config.Pool) diag.Diagnostics {
	switch {
	case !p.Autoscaled():
		return nil
	case !e.Cluster.CloudAgent:
		return diag.Diagnostics{config.NoAutoscaler(e.Cluster, p, "the cluster has no cloud agent, which would make its machines: the file says cloud_agent = false")}
	case e.Inside != nil && e.Inside.Blind:
		return diag.Diagnostics{config.NoAutoscaler(e.Cluster, p, fmt.Sprintf("provider %q cannot be asked for machines from within a cluster", e.Cluster.Provider.Name))}
	}
	return nil
}

// warnAutoscaled tells of pools whose machines nobody makes yet.
func (e *Engine) warnAutoscaled() {
	for i := range e.Cluster.Pools {
		if p := &e.Cluster.Pools[i]; p.Autoscaled() && e.Inside == nil && e.want.Nodes {
			d := config.NoAutoscaler(e.Cluster, p, fmt.Sprintf("there is no cloud agent for provider %q, which would make its machines", e.Cluster.Provider.Name))
			d.Severity = diag.Warning
			e.warnings = append(e.warnings, d)
		}
	}
}

// notOffered are the machines that are needed in a zone where their type is not offered. Those that are there already stay.
func notOffered(need providers.Need, types []providers.MachineType) (ps []providers.Problem) {
	zones := map[string][]string{}
	for _, t := range types {
		zones[t.Name] = t.Zones
	}
	for _, m := range need.Machines {
		if in := zones[m.Type]; m.Zone != "" && len(in) > 0 && !slices.Contains(in, m.Zone) {
			ps = append(ps, providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Name: m.Name, Field: "zone",
				Text: fmt.Sprintf("type %s is not offered in zone %s; it is in %s", m.Type, m.Zone, strings.Join(in, ", "))})
		}
	}
	return ps
}
