package metal

import (
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// needed are machines of pools, before there is a network.
func needed(pools ...string) providers.Need {
	n := providers.Need{Owner: "demo", Networks: []providers.NetworkSpec{{Owner: "demo", Name: "main", CIDR: prefix("10.1.0.0/24")}}}
	for i, p := range pools {
		n.Machines = append(n.Machines, providers.MachineSpec{Owner: "demo", Name: p + "-" + string(rune('0'+i)), Pool: p, Type: DefaultType})
	}
	return n
}

// TestAccount asks whether there are hosts enough: nothing is changed, and who gets none is told why.
func TestAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(cs *chambers, a map[string]any)
		need  providers.Need
		wants []string // words of each problem, in order
	}{
		"enough": {need: needed("control-plane", "workers", "workers")},
		"one too few": {need: needed("workers", "workers", "workers", "workers"),
			wants: []string{"no free host fits type metal (the hosts that would fit are needed for other machines)"}},
		// The first machine would take host-0, which alone is for the second.
		"others move": {edit: func(_ *chambers, a map[string]any) {
			hostBlock(a, 1)["role"], hostBlock(a, 2)["reserve"] = "worker", true
		}, need: needed("workers", "control-plane")},
		"reasons": {edit: func(cs *chambers, a map[string]any) {
			cs.all[0].write(t, "/etc/rancher/k3s/k3s.yaml", "x")
			cs.all[1].readOnly = "yes"
			hostBlock(a, 2)["gone"] = true
		}, need: needed("workers"), wants: []string{"host-0: it is a node of a k3s cluster"}},
		"several machines": {edit: func(cs *chambers, a map[string]any) {
			hostBlock(a, 0)["role"] = "control-plane"
		}, need: needed("control-plane", "control-plane", "workers"), wants: []string{"host-1: "}},
	} {
		t.Run(name, func(t *testing.T) {
			cs := newChambers(t, 3)
			a := cs.attributes()
			if tt.edit != nil {
				tt.edit(cs, a)
			}
			if name == "several machines" {
				hostBlock(a, 1)["role"], hostBlock(a, 2)["role"] = "worker", "worker"
			}
			r, err := cs.open(a).Account().Check(t.Context(), tt.need)
			if err != nil || len(r.Problems) != len(tt.wants) {
				t.Fatalf("got %+v, %v; want %q", r.Problems, err, tt.wants)
			}
			for i, p := range r.Problems {
				if p.Kind != providers.Capacity || p.Noun != providers.MachineNoun || p.Name == "" || !strings.Contains(p.Text, tt.wants[i]) {
					t.Errorf("got %+v, want %q", p, tt.wants[i])
				}
			}
			for _, c := range cs.all {
				for path := range c.files(t) {
					if strings.Contains(path, "provision-metal") {
						t.Errorf("%s has %s: the question changed it", c.name, path)
					}
				}
			}
		})
	}
}

// TestAccountReplaces asks for a machine anew where there is no other host: the one that it has counts as free. Another
// owner's does not.
func TestAccountReplaces(t *testing.T) {
	cs := newChambers(t, 1)
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	if _, err := p.Machines().Create(t.Context(), spec(n, "a")); err != nil {
		t.Fatal(err)
	}
	r, err := cs.open(cs.attributes()).Account().Check(t.Context(), providers.Need{Owner: "demo", Machines: []providers.MachineSpec{spec(n, "a")}})
	if err != nil || len(r.Problems) > 0 {
		t.Errorf("the machine anew: %+v, %v", r, err)
	}
	need := needed("workers")
	need.Owner, need.Machines[0].Owner, need.Networks[0].Owner = "green", "green", "green"
	r, err = cs.open(cs.attributes()).Account().Check(t.Context(), need)
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Text, "host-0: it is machine a of demo") {
		t.Errorf("another inventory's owner: %+v, %v; want that the host is taken", r, err)
	}
}
