package plan

import (
	"net/netip"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// TestDiffRenumber gives the network another range in the file, for a vendor that changes addresses in place and for one that
// does not, and looks at what is left to do when that was cut off.
func TestDiffRenumber(t *testing.T) {
	renumbers := want
	renumbers.Renumber = true
	to := func(c *config.Cluster) { c.Network.Machines = netip.MustParsePrefix("10.99.0.0/24") }
	file := high(3, to, func(c *config.Cluster) { c.Endpoint.Balancer = true })
	moved := func(w *World, i int) { w.Machines[i].Private = netip.AddrFrom4([4]byte{10, 99, 0, byte(2 + i)}) }
	tests := []struct {
		name string
		as   Want
		have func(*World)
		want string
	}{
		{"a vendor that can", renumbers, func(*World) {}, `update network.main machines
update machine.control-plane[0] address
update machine.control-plane[1] address
update machine.control-plane[2] address
update machine.workers[0] address
restart node.control-plane[0] address endpoints
restart node.control-plane[1] address endpoints
restart node.control-plane[2] address endpoints
restart node.workers[0] address endpoints
update balancer.api address`},
		{"a vendor that cannot", want, func(*World) {}, `replace network.main machines`},
		{"cut off when the first machine had moved, and its node did not know", renumbers, func(w *World) {
			w.Networks[0].CIDR, w.Balancers[0].Address = file.Network.Machines, netip.MustParseAddr("10.99.0.200")
			moved(w, 0)
		}, `update machine.control-plane[1] address
update machine.control-plane[2] address
update machine.workers[0] address
restart node.control-plane[0] address endpoints
restart node.control-plane[1] address endpoints
restart node.control-plane[2] address endpoints
restart node.workers[0] address endpoints`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := settledWorld(t, high(3, func(c *config.Cluster) { c.Endpoint.Balancer = true }))
			members(&w)
			spec := BalancerSpec(file, want.UID, "n1", map[string]providers.Machine{"demo-cp-0": w.Machines[0], "demo-cp-1": w.Machines[1], "demo-cp-2": w.Machines[2]})
			w.Balancers = []providers.LoadBalancer{{Meta: providers.Meta{ID: "b1", Owner: "demo", Name: BalancerName, Tags: spec.Tags}, Address: netip.MustParseAddr("10.88.0.200"), Ports: spec.Ports, Targets: spec.Targets}}
			for n, h := range w.Hosts {
				if w.Nodes[n].Taints != nil {
					h.Node.APINames = []string{"10.88.0.200"}
				}
			}
			tt.have(&w)
			tt.as.Balancer = BalancerNames(w.Balancers[0])
			if got := changes(Diff(file, tt.as, w)); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}
