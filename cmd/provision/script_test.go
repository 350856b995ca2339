package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/metal/metaltest"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this program be provision in the scripts, and be what machines and fleets are made of where a test makes some.
func TestMain(m *testing.M) {
	if ran, code := metaltest.Part(os.Args); ran {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"provision": func() {
			os.Exit(mainCode())
		},
	})
}

// TestScript runs the command as people do, on the vendor that exists only in a file.
func TestScript(t *testing.T) {
	plugins := buildPlugin(t, "fakeplug", "../../providers/remote/fakeplugin")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"stranger": stranger},
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/.state")
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/.config")
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/.cache")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PLUGINS", plugins)
			// How a vendor behaves that gives the second worker's machine up, and one that makes the first and does not say so.
			e.Setenv("DENIED", `{"faults":[{"noun":"machine","verb":"create","name":"demo-workers-1","times":-1,"error":"denied"}]}`)
			e.Setenv("MADE", `{"faults":[{"noun":"machine","verb":"create","name":"demo-workers-0","times":-1,"error":"denied","after":true}]}`)
			return nil
		},
	})
}

// stranger is somebody else's hand at the fake vendor: "stranger FILE vanish|strip|pool|uid machine demo-workers-0",
// "stranger FILE rules network main", "stranger FILE make volume other/pvc-1"; a machine that it makes is another cluster's.
func stranger(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: stranger FILE DEED KIND NAME")
	}
	ctx := context.Background()
	f, err := fake.Open(ts.MkAbs(args[0]), fake.Options{})
	ts.Check(err)
	deed, kind, name := args[1], args[2], args[3]
	owner := providers.Owner("demo")
	if o, n, ok := strings.Cut(name, "/"); ok {
		owner, name = providers.Owner(o), n
	}
	if deed == "make" {
		makeObject(ts, f, kind, owner, name)
		return
	}
	var id providers.ID
	switch kind {
	case "machine":
		all, err := f.Machines().List(ctx, owner)
		ts.Check(err)
		id = idNamed(all, name)
	case "network":
		all, err := f.Networks().List(ctx, owner)
		ts.Check(err)
		id = idNamed(all, name)
	}
	if id == "" {
		ts.Fatalf("there is no %s %s", kind, name)
	}
	switch deed {
	case "vanish":
		ts.Check(f.Vanish(ctx, id))
	case "strip":
		ts.Check(f.Strip(ctx, id, providers.OwnerTag))
	case "uid":
		edit := func(m *providers.Meta) { m.Tags = map[string]string{plan.UIDTag: "theirs"} }
		if kind == "network" {
			ts.Check(fake.Tamper(ctx, f, id, func(n *providers.Network) { edit(&n.Meta) }))
		} else {
			ts.Check(fake.Tamper(ctx, f, id, func(m *providers.Machine) { edit(&m.Meta) }))
		}
	case "pool":
		ts.Check(fake.Tamper(ctx, f, id, func(m *providers.Machine) { m.Pool = "theirs" }))
	case "rules":
		ts.Check(fake.Tamper(ctx, f, id, func(n *providers.Network) { n.Allow = nil }))
	default:
		ts.Fatalf("no deed %q", deed)
	}
}

func idNamed[O providers.Identified](all []O, name string) providers.ID {
	for _, o := range all {
		if m := o.GetMeta(); m.Name == name {
			return m.ID
		}
	}
	return ""
}

// makeObject makes what a cluster's own agent, or another cluster, would make.
func makeObject(ts *testscript.TestScript, f *fake.Fake, kind string, owner providers.Owner, name string) {
	ctx := context.Background()
	switch kind {
	case "network":
		_, err := f.Networks().Create(ctx, providers.NetworkSpec{Owner: owner, Name: name})
		ts.Check(err)
	case "machine":
		tags := map[string]string{plan.UIDTag: "theirs"}
		n, err := f.Networks().Create(ctx, providers.NetworkSpec{Owner: owner, Name: "theirs", Tags: tags})
		ts.Check(err)
		_, err = f.Machines().Create(ctx, providers.MachineSpec{Owner: owner, Name: name, Pool: "workers", Type: "small", Network: n.ID, Tags: tags})
		ts.Check(err)
	case "volume":
		v, err := f.Volumes().Create(ctx, providers.VolumeSpec{Owner: owner, Name: name, SizeGiB: 1})
		ts.Check(err)
		_, err = f.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: owner, Name: name + "-copy", Volume: v.ID})
		ts.Check(err)
	case "balancer":
		ns, err := f.Networks().List(ctx, owner)
		ts.Check(err)
		_, err = f.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{
			Owner: owner, Name: name, Network: ns[0].ID, Ports: []providers.BalancerPort{{Name: "http", Protocol: "tcp", Port: 80, TargetPort: 30080}},
		})
		ts.Check(err)
	}
}
