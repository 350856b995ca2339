package metal

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// TestMoved changes what the inventory says of hosts that are machines: other addresses, other names, another order. Each is
// found again by its claim, and nothing is made or lost.
func TestMoved(t *testing.T) {
	for name, edit := range map[string]func(cs *chambers, a map[string]any){
		"other addresses": func(cs *chambers, a map[string]any) {
			for i, c := range cs.all {
				c.address = netip.AddrFrom4([4]byte{10, 1, 0, byte(101 + i)})
				hostBlock(a, i)["address"] = c.address.String()
			}
		},
		"addresses changed places": func(cs *chambers, a map[string]any) {
			cs.all[0].address, cs.all[1].address = cs.all[1].address, cs.all[0].address
			for i, c := range cs.all {
				hostBlock(a, i)["address"] = c.address.String()
			}
		},
		"other names": func(_ *chambers, a map[string]any) {
			for i := range 3 {
				hostBlock(a, i)["name"] = "rack-" + string(rune('c'-i))
			}
		},
		"another order": func(_ *chambers, a map[string]any) { slices.Reverse(a["host"].([]any)) },
	} {
		t.Run(name, func(t *testing.T) {
			cs := newChambers(t, 3)
			p := cs.open(cs.attributes())
			n := network1(t, p, "demo")
			on := map[providers.ID]*chamber{}
			for _, name := range []string{"a", "b"} {
				m, err := p.Machines().Create(t.Context(), spec(n, name))
				if err != nil {
					t.Fatal(err)
				}
				on[m.ID] = cs.all[slices.IndexFunc(cs.all, func(c *chamber) bool { return c.address == m.Private })]
			}
			a := cs.attributes()
			edit(cs, a)
			p = cs.open(a)
			all, err := p.Machines().List(t.Context(), "demo")
			if err != nil || len(all) != 2 {
				t.Fatalf("List: %+v, %v; want both machines", all, err)
			}
			for _, m := range all {
				if c := on[m.ID]; c == nil || m.Private != c.address || m.SSH.Addr() != c.address || m.State != providers.Running || m.Partial {
					t.Errorf("%s is %+v, want it running at its host's address", m.Name, m)
				}
			}
			if _, err := p.Machines().Create(t.Context(), spec(n, "a")); providers.KindOf(err) != providers.Exists {
				t.Errorf("Create of a machine that moved: %v, want Exists", err)
			}
			for _, m := range all {
				if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
			if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
				t.Errorf("Delete of the network: %v", err)
			}
			for _, c := range cs.all {
				for path := range c.files(t) {
					if strings.Contains(path, "provision-metal") {
						t.Errorf("%s still has %s", c.name, path)
					}
				}
			}
		})
	}
}
