package engine

import (
	"encoding/binary"
	"net/netip"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// taken refuses a virtual address that something has already: two would answer for it, and which one is asked is chance.
func (e *Engine) taken(machines netip.Prefix) diag.Diagnostics {
	a := e.Cluster.Endpoint.Address
	if !a.IsValid() {
		return nil
	}
	who := e.holder(a, machines)
	if who == "" {
		return nil
	}
	at := e.Cluster.Ranges["endpoint.address"]
	return diag.Diagnostics{diag.New(diag.BadValue, "The virtual address %s is not free: it is %s. Nothing was changed.", a, who).At(&at, "endpoint").
		Next("Take an address of the machines' range that nothing has.")}
}

// holder says in words what has an address; empty if nothing is known to.
func (e *Engine) holder(a netip.Addr, machines netip.Prefix) string {
	if machines.IsValid() && machines.Contains(a) {
		switch {
		case a == machines.Masked().Addr():
			return "the network's own, the first of " + machines.String()
		case a == broadcast(machines):
			return "the one for all machines at once, the last of " + machines.String()
		case e.Provider.Caps().Local && a == machines.Masked().Addr().Next():
			return "this host's, the gateway of " + machines.String()
		}
	}
	for _, m := range e.world.Machines {
		if m.Private == a || m.Public == a {
			return "the address of machine " + m.Name
		}
	}
	for _, b := range e.world.Balancers {
		if b.Address == a {
			return "the address of balancer " + b.Name
		}
	}
	return ""
}

// broadcast is the last address of a range of IPv4.
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	first := p.Masked().Addr().As4()
	var last [4]byte
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(first[:])|uint32(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(last)
}
