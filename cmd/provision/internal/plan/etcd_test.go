package plan

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// high is a file with so many control-plane machines, and one worker.
func high(cps int, change ...func(*config.Cluster)) *config.Cluster {
	return demo(1, append([]func(*config.Cluster){func(c *config.Cluster) { c.ControlPlane.Count = cps }}, change...)...)
}

// members fills in what etcd of the world says: all of the control plane's machines vote.
func members(w *World) {
	r := templates.EtcdReport{Quorum: true}
	for _, m := range w.Machines {
		if m.Pool != ControlPlanePool {
			continue
		}
		r.Members = append(r.Members, templates.EtcdMemberInfo{ID: "id-" + m.Name, Name: m.Name, Address: m.Private, Healthy: true, Started: true})
		h := w.Hosts[m.Name]
		h.Etcd = templates.EtcdVoter
		w.Hosts[m.Name] = h
	}
	w.Etcd = &r
}

// lose takes a machine out of the world, as if somebody had deleted it at the vendor.
func lose(name string) func(*World) {
	return func(w *World) {
		var left []providers.Machine
		for _, m := range w.Machines {
			if m.Name != name {
				left = append(left, m)
			}
		}
		w.Machines = left
		delete(w.Hosts, name)
		for i := range w.Etcd.Members {
			if w.Etcd.Members[i].Name == name {
				w.Etcd.Members[i].Healthy = false
			}
		}
	}
}

// elsewhere has etcd look for the first machine where it is not.
func elsewhere(w *World, state templates.EtcdState) {
	w.Etcd.Members[0].Address, w.Etcd.Members[0].Healthy = netip.MustParseAddr("10.88.0.99"), false
	h := w.Hosts["demo-cp-0"]
	h.Etcd = state
	w.Hosts["demo-cp-0"] = h
}

// TestStopped looks at the words for machines that are stopped: that one is started is only said where that can be.
func TestStopped(t *testing.T) {
	for problem, words := range map[string]string{
		"": "stopped; it is started again",
		"its host c is not in the inventory any more": "stopped, and cannot be started as it is: its host c is not in the inventory any more",
	} {
		w := settledWorld(t, high(3))
		members(&w)
		w.Machines[0].State, w.Machines[0].Partial, w.Machines[0].Problem = providers.Stopped, true, problem
		if c := Diff(high(3), want, w).Changes[0]; c.Address != "machine.control-plane[0]" || c.Reason != words {
			t.Errorf("%q: %s %q, want %q", problem, c.Address, c.Reason, words)
		}
	}
}

func TestDiffEtcd(t *testing.T) {
	tests := []struct {
		name  string
		have  *config.Cluster
		file  *config.Cluster
		spoil func(*World)
		want  string
	}{
		{name: "three are there", have: high(3), file: high(3)},
		{name: "from one to three", have: high(1), file: high(3), want: `create machine.control-plane[1]
create machine.control-plane[2]
create etcd.control-plane[1]
create etcd.control-plane[2]
restart node.control-plane[0] endpoints
create node.control-plane[1]
create node.control-plane[2]
update node.workers[0] endpoints`},
		{name: "from three to five restarts nothing", have: high(3), file: high(5), want: `create machine.control-plane[3]
create machine.control-plane[4]
create etcd.control-plane[3]
create etcd.control-plane[4]
update node.control-plane[0] endpoints
update node.control-plane[1] endpoints
update node.control-plane[2] endpoints
create node.control-plane[3]
create node.control-plane[4]
update node.workers[0] endpoints`},
		{name: "from three to one", have: high(3), file: high(1), want: `delete machine.control-plane[1]
delete machine.control-plane[2]
delete etcd.control-plane[1]
delete etcd.control-plane[2]
restart node.control-plane[0] endpoints etcd
delete node.control-plane[1]
delete node.control-plane[2]
update node.workers[0] endpoints etcd`},
		{name: "the first is gone", have: high(3), file: high(3), spoil: lose("demo-cp-0"), want: `create machine.control-plane[0]
replace etcd.control-plane[0]
create node.control-plane[0]
update node.control-plane[1] endpoints
update node.control-plane[2] endpoints
update node.workers[0] endpoints`},
		{name: "the first is stopped", have: high(3), file: high(3), spoil: func(w *World) {
			w.Machines[0].State, w.Machines[0].Partial = providers.Stopped, true
			delete(w.Hosts, "demo-cp-0")
		}, want: "create machine.control-plane[0]\ncreate node.control-plane[0]"},
		{name: "the first is another, and etcd has it where it was", have: high(3), file: high(3), spoil: func(w *World) {
			elsewhere(w, templates.EtcdJoining)
		}, want: "replace etcd.control-plane[0]"},
		{name: "the first is another, and no node yet", have: high(3), file: high(3), spoil: func(w *World) {
			elsewhere(w, "")
			w.Hosts["demo-cp-0"] = Host{}
		}, want: "replace etcd.control-plane[0]\ncreate node.control-plane[0]"},
		{name: "the first moved with its data", have: high(3), file: high(3), spoil: func(w *World) {
			elsewhere(w, templates.EtcdVoter)
		}},
		{name: "the first cannot be asked, and etcd has it elsewhere", have: high(3), file: high(3), spoil: func(w *World) {
			elsewhere(w, "")
			w.Hosts["demo-cp-0"] = Host{Problem: "no route to host"}
		}, want: "create node.control-plane[0]"},
		{name: "a learner", have: high(3), file: high(3), spoil: func(w *World) { w.Etcd.Members[2].Learner = true }, want: "update etcd.control-plane[2]"},
		{name: "thrown out", have: high(3), file: high(3), spoil: func(w *World) {
			w.Etcd.Members = w.Etcd.Members[:2]
			h := w.Hosts["demo-cp-2"]
			h.Etcd = templates.EtcdRemoved
			w.Hosts["demo-cp-2"] = h
		}, want: "replace etcd.control-plane[2]"},
		{name: "a member of nobody", have: high(3), file: high(3), spoil: func(w *World) {
			w.Etcd.Members = append(w.Etcd.Members, templates.EtcdMemberInfo{ID: "x", Address: netip.MustParseAddr("10.88.0.99"), Learner: true})
		}, want: `delete etcd.control-plane["10.88.0.99"]`},
		{name: "founding was cut off", have: high(3), file: high(3), spoil: func(w *World) {
			w.Etcd, w.API, w.Nodes, w.Addons = nil, false, nil, nil
			for n, h := range w.Hosts {
				h.Joined, h.Founding = false, true
				if n != "demo-cp-0" {
					h = Host{}
				}
				w.Hosts[n] = h
			}
		}, want: `create etcd.control-plane[1]
create etcd.control-plane[2]
create node.control-plane[0]
create node.control-plane[1]
create node.control-plane[2]
create node.workers[0]
update addon.coredns`},
		{name: "a virtual address", have: high(3), file: high(3, func(c *config.Cluster) { c.Endpoint.Address = netip.MustParseAddr("10.88.0.100") }), want: `update node.control-plane[0] vip api_names
update node.control-plane[1] vip api_names
update node.control-plane[2] vip api_names`},
		{name: "a host got another address", have: high(3), file: high(3), spoil: func(w *World) {
			for i := range w.Machines {
				if w.Machines[i].Name == "demo-cp-1" {
					w.Machines[i].Private = netip.MustParseAddr("10.88.0.77")
				}
			}
		}, want: `update node.control-plane[0] endpoints etcd
restart node.control-plane[1] address endpoints etcd
update node.control-plane[2] endpoints etcd
update node.workers[0] endpoints etcd`},
		{name: "routers", have: high(3), file: high(3, bgp("")), spoil: func(w *World) {
			h := w.Hosts["demo-cp-1"]
			h.Stale = []string{templates.BGPPath}
			w.Hosts["demo-cp-1"] = h
		}, want: `update node.control-plane[0] vip bgp api_names
update node.control-plane[1] vip bgp api_names bgp.password
update node.control-plane[2] vip bgp api_names`},
		{name: "another plug-in", have: high(3), file: high(3), spoil: func(w *World) {
			h := w.Hosts["demo-cp-1"]
			h.Stale = []string{templates.PluginPath("rack"), templates.CloudPath}
			w.Hosts["demo-cp-1"] = h
		}, want: `update node.control-plane[1] cloud_agent.plugin cloud_agent.settings`},
		{name: "a balancer", have: high(3), file: high(3, func(c *config.Cluster) { c.Endpoint.Balancer = true }), want: `update node.control-plane[0] endpoints
update node.control-plane[1] endpoints
update node.control-plane[2] endpoints
create balancer.api`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := settledWorld(t, tt.have)
			members(&w)
			if tt.spoil != nil {
				tt.spoil(&w)
			}
			p := Diff(tt.file, want, w)
			if got := changes(p); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			for _, c := range p.Changes {
				if c.Danger != "" {
					t.Errorf("%s is a danger: %s", c.Address, c.Danger)
				}
			}
		})
	}
}

// bgp makes routers lead to the virtual address.
func bgp(password string) func(*config.Cluster) {
	return func(c *config.Cluster) {
		c.Endpoint.Address = netip.MustParseAddr("10.99.0.1")
		c.Endpoint.BGP = &config.BGP{ASN: 64512, Hold: 3 * time.Second, Peers: []config.BGPPeer{{Address: netip.MustParseAddr("10.88.0.1"), ASN: 64500, Password: password}}}
	}
}

// TestNoPassword looks for a router's password wherever a plan is kept or shown.
func TestNoPassword(t *testing.T) {
	w := settledWorld(t, high(3))
	members(&w)
	file := high(3, bgp("open-sesame"))
	b, err := Saved{Plan: Diff(file, want, w)}.Encode()
	if err != nil || strings.Contains(string(b), "open-sesame") || !strings.Contains(string(b), "AS 64512, hold 3s, to AS 64500 at 10.88.0.1") {
		t.Errorf("the saved plan is %s, %v", b, err)
	}
	with, err := Digest(file)
	without, err2 := Digest(high(3, bgp("")))
	none, err3 := Digest(high(3))
	if err = errors.Join(err, err2, err3); err != nil || with != without || with == none {
		t.Errorf("digests %s with a password, %s without, %s without routers (%v)", with, without, none, err)
	}
}

func TestDiffDanger(t *testing.T) {
	for name, spoil := range map[string]func(*config.Cluster, *World){
		"the only one is another type": func(c *config.Cluster, _ *World) { c.ControlPlane.Machine = "large" },
		"the only one is gone":         func(_ *config.Cluster, w *World) { lose("demo-cp-0")(w); w.Etcd = nil },
	} {
		c := high(1)
		w := settledWorld(t, c)
		members(&w)
		spoil(c, &w)
		dangers := 0
		for _, ch := range Diff(c, want, w).Changes {
			if ch.Danger != "" {
				dangers++
			}
		}
		if dangers != 1 {
			t.Errorf("%s: %d changes are a danger, want 1", name, dangers)
		}
	}
}
