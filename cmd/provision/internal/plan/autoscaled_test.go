package plan

import (
	"slices"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// elastic gives the cluster a pool whose machines the cluster itself decides on.
func elastic(c *config.Cluster) {
	c.Pools = append(c.Pools, config.Pool{Name: "burst", Min: 1, Max: 4, Machines: []string{"small", "medium"}, Labels: map[string]string{"tier": "b"}})
}

// Machines of a pool with min and max are the cluster's to make and to give back, whatever their names; of one that left the file they go.
func TestAutoscaledMachinesAreLeftAlone(t *testing.T) {
	c := demo(1)
	w := settledWorld(t, c)
	w.Machines = append(w.Machines, providers.Machine{Meta: providers.Meta{ID: "x", Owner: providers.Owner(c.Name), Name: c.Name + "-burst-x7k2q"}, Pool: "burst", Type: "medium"})
	named := func(p *Plan) bool {
		return slices.ContainsFunc(p.Changes, func(ch Change) bool { return ch.Name == c.Name+"-burst-x7k2q" && ch.Action == Delete })
	}
	if p := Diff(c, want, w); !named(p) {
		t.Errorf("the file knows no such pool, and its machine stays: %+v", p.Changes)
	}
	elastic(c)
	p := Diff(c, want, w)
	if named(p) {
		t.Errorf("the plan deletes it: %+v", p.Changes)
	}
	for _, ch := range p.Changes { // and the control plane begins to serve such machines, while it runs
		if ch.Kind != Node || ch.Action != Update || len(ch.Fields) != 1 || ch.Fields[0].Name != "welcome" {
			t.Errorf("%s %s: %v", ch.Action, ch.Address, ch.Fields)
		}
	}
	if len(p.Changes) != c.ControlPlane.Count {
		t.Errorf("%d changes, want one for each machine of the control plane", len(p.Changes))
	}
	if d := Destroy(c.Name, w); !named(d) {
		t.Errorf("a destroy leaves it: %+v", d.Changes)
	}
}

func TestCloudPools(t *testing.T) {
	c := demo(1)
	if ps := CloudPools(c); len(ps) > 0 {
		t.Errorf("pools with a count are told: %+v", ps)
	}
	elastic(c)
	ps := CloudPools(c)
	if len(ps) != 1 || ps[0].Name != "burst" || ps[0].Min != 1 || ps[0].Max != 4 || !slices.Equal(ps[0].Types, []string{"small", "medium"}) || ps[0].Labels["tier"] != "b" || ps[0].Labels["provision.sh/pool"] != "burst" {
		t.Errorf("got %+v", ps)
	}
}
