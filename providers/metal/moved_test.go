package metal

import (
	"net/netip"
	"os"
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

// TestReinstalled has a host that is a machine be installed anew: it shows another key and knows of nothing. Nobody goes on before
// the inventory has its new key; then the machine is not there, and can be made again on the same host.
func TestReinstalled(t *testing.T) {
	cs := newChambers(t, 3)
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	old, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(cs.all, func(c *chamber) bool { return c.address == old.Private })
	before := cs.attributes()
	cs.all[at].ChangeHostKey()
	for _, dir := range []string{"/var/lib/provision-metal", "/home/ops/.ssh"} {
		if err := os.RemoveAll(cs.all[at].path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	cs.all[at].write(t, "/etc/ssh/ssh_host_ed25519_key.pub", cs.all[at].HostKey()+" root@new\n")
	if _, err := cs.open(before).Machines().List(t.Context(), "demo"); providers.KindOf(err) != providers.Denied || !strings.Contains(err.Error(), cs.all[at].name) {
		t.Errorf("List with the old key: %v, want Denied that names the host", err)
	}
	a := cs.attributes()
	for i := range cs.all {
		hostBlock(a, i)["reserve"] = i != at // there is no other
	}
	p = cs.open(a)
	if all, err := p.Machines().List(t.Context(), "demo"); err != nil || len(all) != 0 {
		t.Errorf("List with the new key: %+v, %v; want that the machine is not there", all, err)
	}
	again, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if err != nil || again.Partial || again.Private != old.Private {
		t.Errorf("Create: %+v, %v; want it made again on the same host", again, err)
	}
	if all, err := cs.open(cs.attributes()).Machines().List(t.Context(), "demo"); err != nil || len(all) != 1 || all[0].ID != again.ID {
		t.Errorf("List in the end: %+v, %v", all, err)
	}
}
