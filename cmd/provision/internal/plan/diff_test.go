package plan

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
)

// demo is a file's content: one control-plane machine and some workers.
func demo(workers int, change ...func(*config.Cluster)) *config.Cluster {
	c := &config.Cluster{
		Name: "demo", Kubernetes: "1.37.2",
		Network: config.Network{
			Pods: netip.MustParsePrefix("10.244.0.0/16"), Services: netip.MustParsePrefix("10.96.0.0/16"),
			Domain: "cluster.local", Backend: "vxlan", NodeBits: 24,
		},
		ControlPlane: config.Pool{Name: "control-plane", Count: 1, Machine: "small"},
		Pools:        []config.Pool{{Name: "workers", Count: workers, Machine: "small", Labels: map[string]string{"tier": "web"}}},
		Ranges:       map[string]diag.Range{"cluster": {File: "cluster.hcl"}, "pool.workers.count": {File: "cluster.hcl"}},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

var want = Want{Identity: Identity{UID: "u1", Bundle: "b1"}, Agent: "a1", Addons: map[string]string{"coredns": "h1"}, Nodes: true}

// settledWorld is the world after an apply of the cluster.
func settledWorld(t *testing.T, c *config.Cluster) World {
	t.Helper()
	w := World{Keys: HaveKeys, API: true, Hosts: map[string]Host{}, Nodes: map[string]KubeNode{}, Addons: map[string]string{"coredns": "h1"}}
	w.Networks = []providers.Network{{Meta: providers.Meta{ID: "n1", Owner: "demo", Name: NetworkName, Tags: tags(want.UID)}, CIDR: netip.MustParsePrefix("10.88.0.0/24")}}
	machines := map[string]providers.Machine{}
	addr := netip.MustParseAddr("10.88.0.2")
	for _, m := range Members(c) {
		mach := providers.Machine{Meta: providers.Meta{ID: providers.ID(m.Name), Owner: "demo", Name: m.Name, Tags: tags(want.UID)}, Pool: m.PoolName(), Type: m.Pool.Machine, State: providers.Running, Private: addr}
		addr = addr.Next()
		machines[m.Name] = mach
		w.Machines = append(w.Machines, mach)
	}
	for _, m := range Members(c) {
		n, err := m.NodeConfig(c, want.Identity, machines)
		if err != nil {
			t.Fatal(err)
		}
		w.Hosts[m.Name] = Host{Node: &n, Agent: want.Agent, Running: true, Joined: true}
		labels := m.Labels()
		var keys []string
		for k := range labels {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		w.Nodes[m.Name] = KubeNode{Ready: true, Labels: labels, Taints: m.Taints(), Managed: Managed{keys, m.Taints()}}
	}
	return w
}

// changes writes a plan in one line per change.
func changes(p *Plan) string {
	var ls []string
	for _, c := range p.Changes {
		l := string(c.Action) + " " + c.Address
		for _, f := range c.Fields {
			l += " " + f.Name
		}
		ls = append(ls, l)
	}
	return strings.Join(ls, "\n")
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name  string
		have  *config.Cluster // what the world was made from; nil for an empty one
		file  *config.Cluster
		spoil func(*World)
		want  string
	}{
		{name: "nothing is there", file: demo(2), want: `create network.main
create certificate.authorities
create machine.control-plane[0]
create machine.workers[0]
create machine.workers[1]
create etcd.control-plane[0]
create node.control-plane[0]
create node.workers[0]
create node.workers[1]
create addon.coredns`},
		{name: "all is there", have: demo(2), file: demo(2), want: ""},
		{name: "more workers", have: demo(2), file: demo(3), want: "create machine.workers[2]\ncreate node.workers[2]"},
		{name: "fewer workers", have: demo(12), file: demo(10), want: "delete machine.workers[10]\ndelete machine.workers[11]\ndelete node.workers[10]\ndelete node.workers[11]"},
		{name: "a label", have: demo(1), file: demo(1, func(c *config.Cluster) { c.Pools[0].Labels = map[string]string{"tier": "db"} }), want: "update node.workers[0] label tier"},
		{name: "a label goes", have: demo(1), file: demo(1, func(c *config.Cluster) { c.Pools[0].Labels = nil }), want: "update node.workers[0] label tier"},
		{name: "a stranger's label stays", have: demo(1), file: demo(1), spoil: func(w *World) { w.Nodes["demo-workers-0"].Labels["theirs"] = "x" }, want: ""},
		{name: "a drain that was cut off", have: demo(1), file: demo(1), spoil: func(w *World) {
			n := w.Nodes["demo-workers-0"]
			n.Unschedulable, n.Draining = true, true
			w.Nodes["demo-workers-0"] = n
		}, want: "update node.workers[0] cordoned"},
		{name: "a taint", have: demo(1), file: demo(1, func(c *config.Cluster) {
			c.Pools[0].Taints = []config.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}}
		}), want: "update node.workers[0] taint"},
		{name: "another machine type", have: demo(1), file: demo(1, func(c *config.Cluster) { c.Pools[0].Machine = "large" }), want: "replace machine.workers[0] machine\nreplace node.workers[0]"},
		{name: "another version", have: demo(1), file: demo(1, func(c *config.Cluster) { c.Kubernetes = "1.37.3" }), want: "restart node.control-plane[0] kubernetes\nrestart node.workers[0] kubernetes"},
		{name: "a stopped machine", have: demo(1), file: demo(1), spoil: func(w *World) { w.Machines[1].State, w.Machines[1].Partial = providers.Stopped, true }, want: "create machine.workers[0]\ncreate node.workers[0]"},
		{name: "an unfinished machine", have: demo(1), file: demo(1), spoil: func(w *World) { w.Machines[1].Partial = true }, want: "create machine.workers[0]\ncreate node.workers[0]"},
		{name: "an unfinished network", have: demo(1), file: demo(1), spoil: func(w *World) { w.Networks[0].Partial = true }, want: "create network.main"},
		{name: "a silent host", have: demo(1), file: demo(1), spoil: func(w *World) { w.Hosts["demo-workers-0"] = Host{Problem: "no answer"} }, want: "create node.workers[0]"},
		{name: "a stopped agent", have: demo(1), file: demo(1), spoil: func(w *World) {
			h := w.Hosts["demo-workers-0"]
			h.Running = false
			w.Hosts["demo-workers-0"] = h
		}, want: "restart node.workers[0]"},
		{name: "never joined", have: demo(1), file: demo(1), spoil: func(w *World) { delete(w.Nodes, "demo-workers-0") }, want: "create node.workers[0]"},
		{name: "interrupted before the API was there", have: demo(1), file: demo(1), spoil: func(w *World) {
			w.API, w.Nodes, w.Addons = false, nil, nil
			for n, h := range w.Hosts {
				h.Joined = false
				w.Hosts[n] = h
			}
		}, want: "create node.control-plane[0]\ncreate node.workers[0]\nupdate addon.coredns"},
		{name: "another agent", have: demo(1), file: demo(1), spoil: func(w *World) {
			h := w.Hosts["demo-workers-0"]
			h.Agent = "old"
			w.Hosts["demo-workers-0"] = h
		}, want: "restart node.workers[0] agent"},
		{name: "another add-on", have: demo(1), file: demo(1), spoil: func(w *World) { w.Addons["coredns"] = "h0" }, want: "update addon.coredns manifest"},
		{name: "the API is away", have: demo(1), file: demo(1), spoil: func(w *World) { w.API, w.Nodes, w.Addons = false, nil, nil }, want: "restart node.control-plane[0]\nupdate addon.coredns"},
		{name: "a pool goes", have: demo(1), file: demo(0, func(c *config.Cluster) { c.Pools = nil }), want: "delete machine.workers[0]\ndelete node.workers[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w World
			if tt.have != nil {
				w = settledWorld(t, tt.have)
			}
			if tt.spoil != nil {
				tt.spoil(&w)
			}
			p := Diff(tt.file, want, w)
			if got := changes(p); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			a, _ := json.Marshal(p)
			b, _ := json.Marshal(Diff(tt.file, want, w))
			if string(a) != string(b) {
				t.Error("the same input gave two plans")
			}
		})
	}
}

func TestDestroy(t *testing.T) {
	w := settledWorld(t, demo(2))
	got := changes(Destroy("demo", w))
	want := "delete network.main\ndelete machine.control-plane[0]\ndelete machine.workers[0]\ndelete machine.workers[1]"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func BenchmarkDiff(b *testing.B) {
	c := demo(5000)
	for b.Loop() {
		if p := Diff(c, want, World{}); len(p.Changes) == 0 {
			b.Fatal("no changes")
		}
	}
}
