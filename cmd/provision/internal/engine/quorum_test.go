package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// TestOutvoted says of three members when they cannot have a quorum.
func TestOutvoted(t *testing.T) {
	addr := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }
	const silent = "no connection"
	for _, c := range []struct {
		name    string
		quorum  bool
		moved   string // of the machines there are: made anew, elsewhere
		gone    []string
		stopped []string
		silent  []string
		want    string // "" if nothing is said
		command bool
		kept    bool // what was moved is the same machine, at another address
	}{
		{name: "a quorum", quorum: true, gone: []string{"b", "c"}},
		{name: "all there, just starting"},
		{name: "one gone", gone: []string{"b"}},
		{name: "two gone", gone: []string{"b", "c"}, want: "gone for good", command: true},
		{name: "one gone, one made anew", gone: []string{"b"}, moved: "c", want: "c is gone at the vendor", command: true},
		{name: "two stopped: they are started", stopped: []string{"b", "c"}},
		{name: "one gone, two stopped", gone: []string{"a"}, stopped: []string{"b", "c"}},
		{name: "two gone, one stopped", gone: []string{"a", "b"}, stopped: []string{"c"}, want: "Bring back, or start"},
		{name: "two silent", silent: []string{"b", "c"}, want: "on the other side", command: true},
		{name: "one gone, one silent", gone: []string{"b"}, silent: []string{"c"}, want: "c cannot be reached: no connection", command: true},
		{name: "two have other addresses and their data", moved: "bc", kept: true, want: "b is at 10.0.0.77 now, and the others look for it at 10.0.0.1"},
		{name: "one has another address and its data", moved: "b", kept: true},
		{name: "one silent", silent: []string{"b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(Options{Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl"}})
			r := templates.EtcdReport{Quorum: c.quorum, Members: []templates.EtcdMemberInfo{{Name: "learner", Address: addr(9), Learner: true}}}
			hosts := map[string]plan.Host{}
			for i, name := range []string{"a", "b", "c"} {
				r.Members = append(r.Members, templates.EtcdMemberInfo{Name: name, Address: addr(byte(i))})
				m := providers.Machine{Meta: providers.Meta{Name: name}, State: providers.Running, Private: addr(byte(i))}
				if has(c.stopped, name) {
					m.State = providers.Stopped
					hosts[name] = plan.Host{Problem: "the machine is stopped"}
				}
				if has(c.silent, name) {
					hosts[name] = plan.Host{Problem: silent}
				}
				if strings.Contains(c.moved, name) {
					m.Private = addr(77)
				}
				if c.kept {
					hosts[name] = plan.Host{Node: &templates.Node{Address: addr(byte(i))}}
				}
				if !has(c.gone, name) {
					e.setMachine(m)
				}
			}
			err := e.outvoted(r, hosts)
			if c.want == "" {
				if err != nil {
					t.Fatalf("got %v, want nothing", err)
				}
				return
			}
			d, ok := err.(diag.Diagnostic)
			text := d.Detail + "\n" + d.Advice
			if c.kept {
				if strings.Contains(text, "gone") || !slices.Equal(d.Commands, []string{"provision apply cluster.hcl"}) {
					t.Errorf("what only moved is said to be gone: %s, %q", text, d.Commands)
				}
			}
			if !ok || d.ID != diag.EtcdNoQuorum || !strings.Contains(text, c.want) || (len(d.Commands) > 0) != (c.command || c.kept) {
				t.Errorf("got %v with %q, want %q", err, d.Commands, c.want)
			}
			if c.command && !strings.HasPrefix(d.Commands[0], "provision restore cluster.hcl --from a ") {
				t.Errorf("commands %q", d.Commands)
			}
		})
	}
}

func has(list []string, s string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
}

// TestUnasked says when control-plane machines may go.
func TestUnasked(t *testing.T) {
	for _, c := range []struct {
		name    string
		quorum  bool
		stopped int // of three
		action  plan.Action
		accept  []string
		want    string
	}{
		{name: "a quorum", quorum: true, stopped: 1, action: plan.Delete},
		{name: "two stopped, one to go", stopped: 2, action: plan.Delete, want: "are stopped"},
		{name: "all stopped, one to be another", stopped: 3, action: plan.Replace, want: "are stopped"},
		{name: "none stopped, none answers", action: plan.Delete, want: "see what is wrong"},
		{name: "two stopped, and started", stopped: 2, action: plan.Create},
		{name: "accepted", stopped: 2, action: plan.Delete, accept: []string{DataLoss}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(Options{Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl"}, Accept: c.accept})
			e.want.Nodes, e.world.Hosts = true, map[string]plan.Host{}
			if c.quorum {
				e.world.Etcd = &templates.EtcdReport{Quorum: true}
			}
			for i, name := range []string{"a", "b", "c"} {
				m := providers.Machine{Meta: providers.Meta{Name: name}, Pool: plan.ControlPlanePool, State: providers.Running}
				e.world.Hosts[name] = plan.Host{Node: &templates.Node{}}
				if i >= 3-c.stopped {
					m.State, m.Partial, e.world.Hosts[name] = providers.Stopped, true, plan.Host{Problem: "the machine is stopped"}
				}
				e.world.Machines = append(e.world.Machines, m)
			}
			p := &plan.Plan{Changes: []plan.Change{{Address: "machine.control-plane[1]", Kind: plan.Machine, Name: "b", Action: c.action, Reason: "no longer in the file"}}}
			ds := e.unasked(p)
			if c.want == "" && len(ds) > 0 || c.want != "" && (len(ds) != 1 || !strings.Contains(ds[0].Advice, c.want) || len(ds[0].Commands) != 1) {
				t.Errorf("got %+v, want %q", ds, c.want)
			}
		})
	}
}
