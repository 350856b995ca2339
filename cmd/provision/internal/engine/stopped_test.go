package engine

import (
	"io"
	"strings"
	"testing"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/graph"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// TestMachineEndsWhileItBoots: a connection that breaks is the machine's end if the vendor says so, whether it stopped or is gone.
func TestMachineEndsWhileItBoots(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*fake.Fake, providers.ID) error
		want string
	}{
		{"stopped", func(f *fake.Fake, id providers.ID) error { return f.Stop(t.Context(), id) }, "stopped while it was set up"},
		{"gone", func(f *fake.Fake, id providers.ID) error { return f.Vanish(t.Context(), id) }, "is gone at the vendor"},
		{"neither", func(*fake.Fake, providers.ID) error { return nil }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fake.New(fake.Options{})
			n, err := f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: plan.NetworkName})
			if err != nil {
				t.Fatal(err)
			}
			m, err := f.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "demo-workers-0", Type: "small", Network: n.ID})
			if err != nil {
				t.Fatal(err)
			}
			e := New(Options{Provider: f, Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl", Pools: []config.Pool{{Name: "workers", Count: 1, Machine: "small"}}}})
			e.setMachine(m)
			if err := test.end(f, m.ID); err != nil {
				t.Fatal(err)
			}
			lost := &ssh.LostError{Host: m.Name, Err: io.EOF}
			got := e.stopped(t.Context(), graph.StepResult{Address: "node.workers[0] install", Err: lost})
			d, ok := got.(diag.Diagnostic)
			if test.want == "" && got != lost || test.want != "" && (!ok || d.ID != diag.MachineDied || !strings.Contains(d.Detail, test.want) || d.Advice == "") {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

// TestMachineEndsWhileItIsAsked: a machine that was listed as running, does not answer and has stopped by then is planned as stopped.
func TestMachineEndsWhileItIsAsked(t *testing.T) {
	f := fake.New(fake.Options{})
	n, err := f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: plan.NetworkName})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{Provider: f, Cluster: &config.Cluster{Name: "demo"}})
	e.secrets, e.want.Nodes = &secrets{}, true
	for _, name := range []string{"demo-workers-0", "demo-workers-1"} {
		m, err := f.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: name, Type: "small", Network: n.ID})
		if err != nil {
			t.Fatal(err)
		}
		e.setMachine(m)
		e.world.Machines = append(e.world.Machines, m)
	}
	if err := f.Stop(t.Context(), e.world.Machines[1].ID); err != nil {
		t.Fatal(err)
	}
	for i, want := range []providers.MachineState{providers.Running, providers.Stopped} {
		m := e.lookAgain(t.Context(), e.world.Machines[i])
		if m.State != want || m.Partial != (want == providers.Stopped) {
			t.Errorf("%s: got %s, partial %v; want %s", m.Name, m.State, m.Partial, want)
		}
	}
	if err := f.Vanish(t.Context(), e.world.Machines[0].ID); err != nil {
		t.Fatal(err)
	}
	if m := e.lookAgain(t.Context(), e.world.Machines[0]); m.Name != "demo-workers-0" {
		t.Errorf("a machine that is gone: got %+v, want what it was like", m)
	}
}
