package engine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// localCaps is a vendor whose machines are on this host.
type localCaps struct {
	providers.Provider
	local bool
}

func (l localCaps) Caps() providers.Caps { return providers.Caps{Local: l.local} }

// TestTaken: a virtual address that something has already is refused with the plan, at its line of the file.
func TestTaken(t *testing.T) {
	machines := netip.MustParsePrefix("10.88.0.0/23")
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		address string
		local   bool
		want    string // empty: accepted
	}{
		{"10.88.0.200", true, ""},
		{"10.88.0.255", true, ""},
		{"10.88.1.0", true, ""},
		{"10.88.0.0", true, "the network's own"},
		{"10.88.1.255", true, "for all machines"},
		{"10.88.0.1", true, "the gateway"},
		{"10.88.0.1", false, ""},
		{"10.88.0.2", true, "machine demo-cp-0"},
		{"10.88.0.9", true, "balancer demo-api"},
	} {
		c := &config.Cluster{Name: "demo", File: "cluster.hcl"}
		c.Endpoint.Address = addr(tt.address)
		e := New(Options{Cluster: c, Provider: localCaps{local: tt.local}})
		e.world = plan.World{
			Networks:  []providers.Network{{Meta: providers.Meta{Name: plan.NetworkName}, CIDR: machines}},
			Machines:  []providers.Machine{{Meta: providers.Meta{Name: "demo-cp-0"}, Private: addr("10.88.0.2")}},
			Balancers: []providers.LoadBalancer{{Meta: providers.Meta{Name: "demo-api"}, Address: addr("10.88.0.9")}},
		}
		err := e.refuse(&plan.Plan{})
		ds := diag.AsDiagnostics(err)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: refused: %v", tt.address, err)
		case tt.want != "" && (len(ds) != 1 || !strings.Contains(ds[0].Detail, tt.want)):
			t.Errorf("%s: %v, want it refused with %q", tt.address, err, tt.want)
		}
	}
}
