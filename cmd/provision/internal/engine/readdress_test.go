package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

func TestUnsteady(t *testing.T) {
	at := netip.MustParseAddr
	m := providers.Machine{Meta: providers.Meta{Name: "demo-cp-0"}, Private: at("10.99.0.2")}
	well := templates.EtcdMemberInfo{Name: "demo-cp-0", Address: at("10.99.0.2"), Healthy: true}
	other := templates.EtcdMemberInfo{Name: "demo-cp-1", Address: at("10.88.0.3"), Healthy: true}
	ill, old := other, well
	ill.Healthy, ill.Problem, old.Address = false, "does not answer", at("10.88.0.2")
	for _, c := range []struct {
		name    string
		members []templates.EtcdMemberInfo
		ok      bool
	}{
		{"all are well, one of them where it was", []templates.EtcdMemberInfo{well, other}, true},
		{"the members look for it where it was", []templates.EtcdMemberInfo{old, other}, false},
		{"another one is not well", []templates.EtcdMemberInfo{well, ill}, false},
		{"it is none of them", []templates.EtcdMemberInfo{other}, false},
	} {
		if err := unsteady(templates.EtcdReport{Quorum: true, Members: c.members}, m); (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// TestMovesInTurn sees that one machine at a time gets another address, after the network and the balancer have theirs.
func TestMovesInTurn(t *testing.T) {
	pool := config.Pool{Name: "workers", Count: 1, Machine: "small"}
	c := &config.Cluster{Name: "demo", ControlPlane: config.Pool{Name: "control-plane", Count: 2, Machine: "small"}, Pools: []config.Pool{pool}}
	moves := []plan.Field{{Name: plan.AddressField, From: "10.88.0.2", To: "one of 10.99.0.0/24"}}
	p := &plan.Plan{Changes: []plan.Change{{Address: "network.main", Kind: plan.Network, Action: plan.Update, Fields: []plan.Field{{Name: plan.RangeField}}}}}
	places := []string{"control-plane[0]", "control-plane[1]", "workers[0]"}
	for _, at := range places {
		p.Changes = append(p.Changes, plan.Change{Address: "machine." + at, Kind: plan.Machine, Action: plan.Update, Fields: moves})
	}
	for _, at := range places {
		p.Changes = append(p.Changes, plan.Change{Address: "node." + at, Kind: plan.Node, Action: plan.Restart, Fields: moves})
	}
	p.Changes = append(p.Changes, plan.Change{Address: plan.BalancerAddress, Kind: plan.Balancer, Action: plan.Update, Fields: moves})
	e := &Engine{Options: Options{Cluster: c}, all: plan.Members(c)}
	b := newBuilder(e, p)
	if err := b.steps(); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string][]string{
		"machine.control-plane[0]": {plan.BalancerAddress},
		"machine.control-plane[1]": {"node.control-plane[0]", plan.BalancerAddress},
		"machine.workers[0]":       {"node.control-plane[1]", plan.BalancerAddress},
	} {
		if got := b.movesAfter(b.changes[address]); !slices.Equal(got, want) {
			t.Errorf("%s moves after %v, want %v", address, got, want)
		}
	}
	for i, at := range places {
		if got := b.restartsAfter(b.changes["node."+at]); !slices.Contains(got, "machine."+at) || i > 0 && !slices.Contains(got, "node."+places[i-1]) {
			t.Errorf("node.%s restarts after %v", at, got)
		}
	}
	if _, err := b.g.Order(); err != nil {
		t.Error(err)
	}
}
