package metal

import (
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// TestGoneWithAll has a cluster be deleted whose only machine was on a host that is gone for good.
func TestGoneWithAll(t *testing.T) {
	cs, at, m := awayFrom(t)
	a := cs.attributes()
	hostBlock(a, at)["gone"] = true
	p := cs.open(a)
	if err := p.Networks().Delete(t.Context(), m.Network); err != nil {
		t.Errorf("Delete of the network: %v", err)
	}
	if all, err := p.Networks().List(t.Context(), "demo"); err != nil || len(all) != 0 {
		t.Errorf("List: %+v, %v; want nothing", all, err)
	}
}

// TestStruckOut takes the block of a host that is a machine out of the inventory: the machine is stopped, and why is said, as
// nothing starts it.
func TestStruckOut(t *testing.T) {
	cs, at, m := awayFrom(t)
	words := "its host " + cs.all[at].name + " is not in the inventory any more"
	cs.power(at, true)
	a := cs.attributes()
	a["host"] = slices.Delete(a["host"].([]any), at, at+1)
	p := cs.open(a)
	all, err := p.Machines().List(t.Context(), "demo")
	if err != nil || len(all) != 1 || all[0].ID != m.ID || all[0].State != providers.Stopped || all[0].Problem != words {
		t.Errorf("List: %+v, %v; want it stopped, as %s", all, err, words)
	}
	_, err = p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "a", Pool: "workers", Network: m.Network, Type: DefaultType})
	if providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), words+": put it back") {
		t.Errorf("Create: %v, want Unavailable with %q", err, words)
	}
}

// awayFrom makes a machine on one of five hosts, which then loses its power.
func awayFrom(t *testing.T) (cs *chambers, at int, m providers.Machine) {
	t.Helper()
	cs = newChambers(t, 5)
	p := cs.open(cs.attributes())
	m, err := p.Machines().Create(t.Context(), spec(network1(t, p, "demo"), "a"))
	if err != nil {
		t.Fatal(err)
	}
	at = slices.IndexFunc(cs.all, func(c *chamber) bool { return c.address == m.Private })
	cs.power(at, false)
	return cs, at, m
}
