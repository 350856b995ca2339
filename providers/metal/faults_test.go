package metal

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/providers"
)

// network returns the owner's network.
func network1(t *testing.T, p *Provider, o providers.Owner) providers.Network {
	t.Helper()
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: o, Name: "main"})
	if err != nil && providers.KindOf(err) != providers.Exists {
		t.Fatal(err)
	}
	return n
}

func spec(n providers.Network, name string) providers.MachineSpec {
	return providers.MachineSpec{Owner: n.Owner, Name: name, Pool: "workers", Network: n.ID, Type: DefaultType}
}

func hostBlock(a map[string]any, i int) map[string]any { return a["host"].([]any)[i].(map[string]any) }

// TestRefused plants what keeps a host from being taken; the reason is told per host.
func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		plant func(*testing.T, *chamber)
		edit  func(map[string]any)
		words string
	}{
		"kubeadm's node": {func(t *testing.T, c *chamber) { c.write(t, "/etc/kubernetes/kubelet.conf", "x") }, nil, "it has /etc/kubernetes/kubelet.conf, which would be in the way"},
		"k3s":            {func(t *testing.T, c *chamber) { c.write(t, "/etc/rancher/k3s/k3s.yaml", "x") }, nil, "k3s cluster"},
		"rke2":           {func(t *testing.T, c *chamber) { c.write(t, "/etc/rancher/rke2/x", "x") }, nil, "RKE2 cluster"},
		"k0s":            {func(t *testing.T, c *chamber) { c.write(t, "/var/lib/k0s/x", "x") }, nil, "k0s cluster"},
		"microk8s":       {func(t *testing.T, c *chamber) { c.write(t, "/var/snap/microk8s/x", "x") }, nil, "MicroK8s cluster"},
		"a node of ours": {func(t *testing.T, c *chamber) { c.write(t, "/etc/provision/node.json", "{}") }, nil, "node of another cluster of provision"},
		"half wiped":     {func(t *testing.T, c *chamber) { c.write(t, "/var/lib/etcd/member/snap/db", "x") }, nil, "it has /var/lib/etcd/member/snap/db"},
		"others' CNI":    {func(t *testing.T, c *chamber) { c.write(t, "/etc/cni/net.d/10-calico.conflist", "x") }, nil, "10-calico.conflist"},
		"read-only root": {func(_ *testing.T, c *chamber) { c.readOnly = "yes" }, nil, "host-0: its root is read-only"},
		"in reserve":     {nil, func(h map[string]any) { h["reserve"] = true }, "held in reserve"},
		"for others":     {nil, func(h map[string]any) { h["role"] = "control-plane" }, "its role is control-plane"},
		"another type":   {nil, func(h map[string]any) { h["type"] = "gpu" }, "it is of type gpu"},
		"another net":    {nil, func(h map[string]any) { h["private"] = "172.16.0.1" }, "its address 172.16.0.1 is not in the network's 10.1.0.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			cs := newChambers(t, 2)
			a := cs.attributes()
			a["cidr"] = "10.1.0.0/24"
			hostBlock(a, 1)["reserve"] = true
			if tt.plant != nil {
				tt.plant(t, cs.all[0])
			}
			if tt.edit != nil {
				delete(a, "cidr") // the inventory itself would refuse an address outside of it
				a["type"] = []any{map[string]any{"name": "metal"}}
				tt.edit(hostBlock(a, 0))
			}
			p := cs.open(a)
			n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: prefix("10.1.0.0/24")})
			if err != nil {
				t.Fatal(err)
			}
			before := cs.all[0].files(t)
			_, err = p.Machines().Create(t.Context(), spec(n, "a"))
			if providers.KindOf(err) != providers.Capacity || !strings.Contains(err.Error(), "host-0: ") || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("got %v, want Capacity with %q for host-0", err, tt.words)
			}
			if after := cs.all[0].files(t); len(after) != len(before) {
				t.Errorf("the host was changed: it had %d files, now %d", len(before), len(after))
			}
		})
	}
}

// TestTooSmall asks for more than a host has.
func TestTooSmall(t *testing.T) {
	cs := newChambers(t, 1)
	a := cs.attributes()
	a["type"] = []any{
		map[string]any{"name": "cpus", "cpus": int64(1000)}, map[string]any{"name": "memory", "memory": int64(10000)},
		map[string]any{"name": "disk", "disk": int64(1 << 20)}, map[string]any{"name": "arm", "arch": "arm64"},
		map[string]any{"name": "labels", "labels": map[string]any{"gpu": "yes"}},
	}
	p := cs.open(a)
	n := network1(t, p, "demo")
	for name, words := range map[string]string{
		"cpus": "processors, 1000 are needed", "memory": "MiB of memory, 10240000 are needed", "disk": "GiB free, 1048576 are needed",
		"arm": "architecture is amd64, not arm64", "labels": `its label gpu is "", the type asks for "yes"`,
	} {
		s := spec(n, "a")
		s.Type = name
		if _, err := p.Machines().Create(t.Context(), s); providers.KindOf(err) != providers.Capacity || !strings.Contains(err.Error(), words) {
			t.Errorf("type %s: %v, want Capacity with %q", name, err, words)
		}
	}
}

// TestTwoInventories lets two providers, of two owners, claim the hosts of one fleet at once: each host has one master, and
// who loses a host gets another.
func TestTwoInventories(t *testing.T) {
	cs := newChambers(t, 6)
	var mu sync.Mutex
	on := map[string]string{}
	var wg sync.WaitGroup
	for _, o := range []providers.Owner{"blue", "green"} {
		p := cs.open(cs.attributes())
		n := network1(t, p, o)
		for i := range 3 {
			wg.Go(func() {
				m, err := p.Machines().Create(t.Context(), spec(n, fmt.Sprintf("%s-%d", o, i)))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("%s-%d: %v", o, i, err)
					return
				}
				if other := on[m.Private.String()]; other != "" {
					t.Errorf("%s and %s are on one host", other, m.Name)
				}
				on[m.Private.String()] = m.Name
			})
		}
	}
	wg.Wait()
	if len(on) != 6 {
		t.Errorf("machines are on %v, want 6 hosts", on)
	}
}

// TestSameNameTwice lets two processes of one owner make one machine at once.
func TestSameNameTwice(t *testing.T) {
	cs := newChambers(t, 5)
	ids := make([]providers.ID, 4)
	var wg sync.WaitGroup
	for i := range ids {
		p := cs.open(cs.attributes())
		n := network1(t, p, "demo")
		wg.Go(func() {
			m, err := p.Machines().Create(t.Context(), spec(n, "a"))
			if err != nil && providers.KindOf(err) != providers.Exists {
				t.Error(err)
			}
			ids[i] = m.ID
		})
	}
	wg.Wait()
	if len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 1 {
		t.Errorf("one machine has the IDs %v", ids)
	}
	claims := 0
	for _, c := range cs.all {
		if c.read(claimFile) != "" {
			claims++
		}
	}
	if claims != 1 {
		t.Errorf("%d hosts are claimed, want 1", claims)
	}
}

// TestHostAway has a claimed host lose its power, as seen by a process that never saw it before.
func TestHostAway(t *testing.T) {
	cs := newChambers(t, 5)
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	m, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(cs.all, func(c *chamber) bool { return c.address == m.Private })
	cs.power(at, false)
	p = cs.open(cs.attributes())
	all, err := p.Machines().List(t.Context(), "demo")
	if err != nil || len(all) != 1 || all[0].ID != m.ID || all[0].State != providers.Stopped || !all[0].Partial || all[0].Private != m.Private {
		t.Fatalf("List has %+v, %v; want %s stopped", all, err, m.ID)
	}
	for doing, err := range map[string]error{
		"Delete": p.Machines().Delete(t.Context(), m.ID),
		"Create": second(p.Machines().Create(t.Context(), spec(n, "a"))),
	} {
		if providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), "gone = true") || !strings.Contains(err.Error(), cs.all[at].name) {
			t.Errorf("%s: %v, want Unavailable that names the host and what to write", doing, err)
		}
	}
	if _, err := p.Machines().List(t.Context(), "stranger"); providers.KindOf(err) != providers.Unavailable {
		t.Errorf("List of an owner of whom nothing is known: %v, want Unavailable: it may be on the host that does not answer", err)
	}
	a := cs.attributes()
	hostBlock(a, at)["gone"] = true
	p = cs.open(a)
	if all, err = p.Machines().List(t.Context(), "demo"); err != nil || len(all) != 0 {
		t.Errorf("List after the host was said to be gone: %+v, %v; want that the machine is not there", all, err)
	}
	if o, err := p.Machines().Get(t.Context(), m.ID); providers.KindOf(err) != providers.NotFound {
		t.Errorf("Get after the host was said to be gone: %+v, %v; want NotFound", o, err)
	}
	again, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if err == nil {
		// Only the host that was away answers: what it knows is old, and is not taken for the truth.
		for i := range cs.all {
			cs.power(i, i == at)
		}
		if all, err := cs.open(cs.attributes()).Machines().List(t.Context(), "demo"); providers.KindOf(err) != providers.Unavailable {
			t.Errorf("List when only the host that was away answers: %+v, %v; want Unavailable", all, err)
		}
		for i := range cs.all {
			cs.power(i, i != at)
		}
	}
	if err != nil || again.ID == m.ID || again.Private == m.Private || again.Partial {
		t.Fatalf("Create after the host was said to be gone: %+v, %v", again, err)
	}
	// The host comes back, with the old machine on it: it is nobody's any more, and can be taken again.
	cs.power(at, true)
	p = cs.open(cs.attributes())
	if all, err = p.Machines().List(t.Context(), "demo"); err != nil || len(all) != 1 || all[0].ID != again.ID {
		t.Errorf("List after the host came back: %+v, %v", all, err)
	}
	for i := range 4 {
		if _, err := p.Machines().Create(t.Context(), spec(n, fmt.Sprintf("b-%d", i))); err != nil {
			t.Errorf("b-%d: %v", i, err)
		}
	}
	all, err = p.Machines().List(t.Context(), "demo")
	if err != nil || len(all) != 5 {
		t.Errorf("List has %d machines, %v; want 5, one of them on the host that came back", len(all), err)
	}
}

func second(_ providers.Machine, err error) error { return err }

// TestHardErrors are those that nothing goes on after, whichever host they are about.
func TestHardErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*chambers, map[string]any)
		kind  providers.Kind
		words string
	}{
		"a host key that changed": {func(cs *chambers, _ map[string]any) { cs.all[1].ChangeHostKey() }, providers.Denied, "host-1: 10.1.0.2:22 shows host key SHA256:"},
		"a key that is not known": {func(_ *chambers, a map[string]any) { delete(hostBlock(a, 1), "host_key") }, providers.Invalid, `add to its block: host_key = "ssh-ed25519 `},
		"sudo asks":               {func(cs *chambers, _ map[string]any) { cs.all[1].Fail(sudoAsks) }, providers.Denied, "host-1: user ops cannot become root by sudo"},
		"nobody lets us in":       {func(_ *chambers, a map[string]any) { delete(a, "key") }, providers.Denied, "does not let ops in"},
	} {
		t.Run(name, func(t *testing.T) {
			cs := newChambers(t, 2)
			a := cs.attributes()
			tt.spoil(cs, a)
			_, err := cs.open(a).Machines().List(t.Context(), "demo")
			if providers.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("got %v, want %s with %q", err, tt.kind, tt.words)
			}
		})
	}
}

// TestTwins lists one machine under two names and addresses.
func TestTwins(t *testing.T) {
	cs := newChambers(t, 2)
	cs.all[1].dir = cs.all[0].dir
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	_, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if providers.KindOf(err) != providers.Capacity || !strings.Contains(err.Error(), "hosts host-0 and host-1 are the same machine") {
		t.Errorf("got %v, want Capacity that names both", err)
	}
}

// TestGivesBack looks into what a claim does to a host, and whether all of it is undone.
func TestGivesBack(t *testing.T) {
	cs := newChambers(t, 1)
	c := cs.all[0]
	c.write(t, "/home/ops/.ssh/authorized_keys", "ssh-ed25519 AAAA mine") // and no line's end
	if err := os.Chmod(c.path("/home/ops/.ssh/authorized_keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/var/lib/containerd", "/etc/kubernetes"} {
		if err := os.MkdirAll(c.path(dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	before := c.files(t)
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	s := spec(n, "demo-workers-0")
	s.AuthorizedKeys = []string{c.HostKey()}
	m, err := p.Machines().Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{
		"/home/ops/.ssh/authorized_keys": c.HostKey() + "\n# provision-metal end\nssh-ed25519 AAAA mine",
		"/etc/hostname":                  "demo-workers-0\n",
		"/etc/hosts":                     "127.0.1.1\tdemo-workers-0\n",
		claimFile:                        `"owner":"demo"`,
	} {
		if got := c.read(path); !strings.Contains(got, words) {
			t.Errorf("%s is %q, want %q in it", path, got, words)
		}
	}
	// What a node would have brought along, whose agent is gone.
	for _, path := range []string{"/opt/provision/x/bin/kubelet", "/var/lib/etcd/member/db", "/etc/kubernetes/pki/ca.key", "/etc/provision/node.json"} {
		c.write(t, path, "x")
	}
	if err := os.Chmod(c.path("/var/lib/containerd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	same(t, cs, []map[string]string{before})
}

// TestNodeAgentResets makes sure that a node's own agent is asked first, and that its failure keeps the claim.
func TestNodeAgentResets(t *testing.T) {
	cs := newChambers(t, 1)
	c := cs.all[0]
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	m, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, "/usr/local/bin/node-agent", "#!/bin/sh\necho 'the kubelet does not end' >&2; exit 1\n")
	if err := os.Chmod(c.path("/usr/local/bin/node-agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = p.Machines().Delete(t.Context(), m.ID)
	if err == nil || !strings.Contains(err.Error(), "the kubelet does not end") {
		t.Errorf("Delete: %v, want the agent's words", err)
	}
	if now, err := p.Machines().Get(t.Context(), m.ID); err != nil || !now.Partial {
		t.Errorf("after a reset that failed the machine is %+v, %v; want it Partial", now, err)
	}
	c.write(t, "/usr/local/bin/node-agent", "#!/bin/sh\n[ \"$1\" = reset ] && rm -f /usr/local/bin/node-agent && touch /run/was-reset\n")
	if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "run/was-reset")); err != nil {
		t.Errorf("the agent was not asked: %v", err)
	}
}

// TestConnectionLost cuts every connection in the middle of things.
func TestConnectionLost(t *testing.T) {
	cs := newChambers(t, 3)
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	for _, c := range cs.all {
		c.Cut()
	}
	if _, err := p.Machines().Create(t.Context(), spec(n, "a")); err != nil {
		// What was cut may be seen once; the next call connects anew.
		if _, err := p.Machines().Create(t.Context(), spec(n, "a")); err != nil {
			t.Errorf("after all connections were cut: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Machines().List(ctx, "demo"); !errors.Is(err, context.Canceled) {
		t.Errorf("List with an ended context: %v", err)
	}
}

var sudoAsks = sshtest.Faults{Sudo: "sudo: a password is required"}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestUnwritable has the host that comes first be one that nothing can be written to: the cluster's ledger is kept by others,
// and who has such a host only is told why.
func TestUnwritable(t *testing.T) {
	cs := newChambers(t, 2)
	cs.all[0].readOnly = "yes"
	p := cs.open(cs.attributes())
	n := network1(t, p, "demo")
	m, err := p.Machines().Create(t.Context(), spec(n, "a"))
	if err != nil || m.Private != cs.all[1].address {
		t.Errorf("got %+v, %v; want it on host-1", m, err)
	}
	cs.all[1].readOnly = "yes"
	_, err = cs.open(cs.attributes()).Networks().Create(t.Context(), providers.NetworkSpec{Owner: "other", Name: "main"})
	if providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), "host-0: its root is read-only") || !strings.Contains(err.Error(), "host-1: its root is read-only") {
		t.Errorf("got %v, want Unavailable that says why of both", err)
	}
}
