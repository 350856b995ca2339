package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// refuse names changes that nothing can make to a living cluster: the ranges that its addresses are from.
func (e *Engine) refuse(p *plan.Plan) error {
	var ds diag.Diagnostics
	seen := map[string]bool{}
	for _, c := range p.Changes {
		for _, f := range c.Fields {
			if seen[f.Name] || !e.fixed(c, f) {
				continue
			}
			seen[f.Name] = true
			at := e.Cluster.Ranges["cluster"]
			for _, k := range []string{f.Name, "network." + f.Name, "network"} {
				if r, ok := e.Cluster.Ranges[k]; ok {
					at = r
					break
				}
			}
			ds = append(ds, diag.New(diag.FixedForLife, "The cluster was made with %s = %s, which is in the addresses of everything in it; the file now says %s. Nothing was changed.",
				strings.TrimPrefix(f.Name, "network."), f.From, f.To).At(&at, "network").
				Next(fmt.Sprintf("Put %s back, or make a second cluster with the new value, move what runs here, and destroy this one.", f.From)))
		}
	}
	ds = append(ds, e.dangers(p)...)
	ds = append(ds, e.unasked(p)...)
	if e.world.Etcd != nil {
		ds = append(ds, diag.AsDiagnostics(e.outvoted(*e.world.Etcd, e.world.Hosts))...)
	}
	if n, ok := e.network(plan.NetworkName); ok {
		machines := n.CIDR
		if to := e.Cluster.Network.Machines; to.IsValid() && e.want.Renumber {
			machines = to
		}
		ds = append(ds, e.astray(machines)...)
		ds = append(ds, e.taken(machines)...)
	}
	return ds.Err()
}

// astray refuses a virtual address outside of the range that the machines are in: no neighbour would look for it there. One that
// routers lead to must be outside.
func (e *Engine) astray(machines netip.Prefix) diag.Diagnostics {
	a := e.Cluster.Endpoint.Address
	routed := e.Cluster.Endpoint.BGP != nil
	if !a.IsValid() || !machines.IsValid() || machines.Contains(a) != routed {
		return nil
	}
	at := e.Cluster.Ranges["endpoint.address"]
	if routed {
		return diag.Diagnostics{diag.New(diag.BadValue, "The virtual address %s is in the range of the machines, %s: neighbours would look for it on the link, and not ask a router.", a, machines).At(&at, "endpoint").
			Next("Take a free address that is in no range of the cluster.")}
	}
	return diag.Diagnostics{diag.New(diag.BadValue, "The virtual address %s is not in the range of the machines, %s: neighbours would not look for it there.", a, machines).At(&at, "endpoint").
		Next("Take a free address of that range, or say in the file which range the machines are to be in: machines, in the block network.")}
}

// DataLoss is what a person accepts with --accept to let a plan be executed that loses the cluster's data.
const DataLoss = "data-loss"

// dangers are the changes that lose something for good, unless a person accepts that.
func (e *Engine) dangers(p *plan.Plan) (ds diag.Diagnostics) {
	if slices.Contains(e.Accept, DataLoss) {
		return nil
	}
	for _, c := range p.Changes {
		if c.Danger == "" {
			continue
		}
		at, in := e.place(c.Address)
		ds = append(ds, diag.New(diag.EtcdLoss, "%s: %s. Nothing was changed.", c.Address, c.Danger).At(at, in).
			Next("If that is what you want, say so:", e.again()+" --accept "+DataLoss))
		break
	}
	return ds
}

// unasked refuses to remove or replace control-plane machines while etcd has no quorum: nobody can agree to let their members
// go, so the others wait for them for ever.
func (e *Engine) unasked(p *plan.Plan) diag.Diagnostics {
	if !e.want.Nodes || e.world.Etcd != nil && e.world.Etcd.Quorum || slices.Contains(e.Accept, DataLoss) || !e.lives() {
		return nil
	}
	i := slices.IndexFunc(p.Changes, func(c plan.Change) bool {
		return c.Kind == plan.Machine && (c.Action == plan.Delete || c.Action == plan.Replace) && slices.ContainsFunc(e.world.Machines, func(m providers.Machine) bool {
			return m.Name == c.Name && m.Pool == plan.ControlPlanePool
		})
	})
	if i < 0 {
		return nil
	}
	c := p.Changes[i]
	at, in := e.place(c.Address)
	d := diag.New(diag.EtcdNoQuorum, "%s: %s, and etcd has no quorum now: its members cannot agree to let one go, so none of them would serve any more. Nothing was changed.", c.Address, c.Reason).At(at, in)
	if slices.ContainsFunc(e.world.Machines, func(m providers.Machine) bool {
		return m.Pool == plan.ControlPlanePool && m.State == providers.Stopped
	}) {
		return diag.Diagnostics{d.Next("Machines of the control plane are stopped. Put the count and the machine type back as they were and apply, which starts them; then change them:", e.again())}
	}
	return diag.Diagnostics{d.Next("Put the count and the machine type back as they were, and see what is wrong:", "provision status "+e.Cluster.File)}
}

// lives says whether the cluster's etcd may have data: machines of the control plane that are stopped cannot be asked.
func (e *Engine) lives() bool {
	return plan.Founded(e.world) || slices.ContainsFunc(e.world.Machines, func(m providers.Machine) bool {
		return m.Pool == plan.ControlPlanePool && m.State == providers.Stopped
	})
}

// fixed says whether a field stays as it is as long as the cluster lives.
func (e *Engine) fixed(c plan.Change, f plan.Field) bool {
	switch c.Kind {
	case plan.Network:
		return c.Action == plan.Replace && len(e.world.Machines) > 0
	case plan.Node:
		return f.Name == "network.pods" || f.Name == "network.services" || f.Name == "network.node_bits" || f.Name == "network.domain"
	}
	return false
}
