package engine

import (
	"net/netip"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// TestWaysToStopped: a machine that is stopped is among those of the cluster, also where the vendor calls it partial or it has
// lost its address; one that is only half made is not.
func TestWaysToStopped(t *testing.T) {
	at := netip.MustParseAddrPort("10.88.0.2:22")
	m := func(name string, s providers.MachineState, partial bool, ssh netip.AddrPort) providers.Machine {
		return providers.Machine{Meta: providers.Meta{Name: name, Owner: "demo", Partial: partial}, State: s, SSH: ssh}
	}
	e := New(Options{Provider: localCaps{local: true}, Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl"}})
	e.world.Machines = []providers.Machine{
		m("runs", providers.Running, false, at), m("half-made", providers.Pending, true, at),
		m("partial", providers.Stopped, true, at), m("no-address", providers.Stopped, false, netip.AddrPort{}),
	}
	var names []string
	for _, w := range e.waysThere() {
		names = append(names, w.Machine.Name)
		if w.Machine.State != providers.Stopped {
			continue
		}
		if h, err := w.Dial(t.Context()); err == nil || h != nil {
			t.Errorf("%s is dialled", w.Machine.Name)
		}
	}
	if len(names) != 3 || names[1] != "partial" || names[2] != "no-address" {
		t.Errorf("ways lead to %v", names)
	}
}
