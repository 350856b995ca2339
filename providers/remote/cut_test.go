package remote_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote"
)

// again makes a call until the plug-in survives it. It fails on an error that is not the plug-in's death.
func again[R any](t *testing.T, deaths *int, what string, do func() (R, error)) R {
	t.Helper()
	for {
		r, err := do()
		var f *remote.Fault
		switch {
		case err == nil || errors.Is(err, providers.Exists):
			return r
		case !errors.As(err, &f) || f.Reason != remote.Died || !errors.Is(err, providers.Unavailable):
			t.Fatalf("%s = %v, want a plug-in that died and Unavailable", what, err)
		}
		if *deaths++; *deaths > 1 {
			t.Fatalf("%s: the plug-in died %d times: %v", what, *deaths, err)
		}
	}
}

// world is what there is of an owner, as JSON.
type world map[providers.Noun]json.RawMessage

// live makes and changes some of everything, and returns how it looks then.
func live(t *testing.T, p providers.Provider, deaths *int) world {
	ctx := t.Context()
	n := again(t, deaths, "create network", func() (providers.Network, error) {
		return p.Networks().Create(ctx, providers.NetworkSpec{Owner: "demo", Name: "main", Zones: []string{"a"}})
	})
	machine := func(name string) providers.Machine {
		return again(t, deaths, "create machine", func() (providers.Machine, error) {
			return p.Machines().Create(ctx, providers.MachineSpec{Owner: "demo", Name: name, Network: n.ID, Type: "small", Zone: "a"})
		})
	}
	a, b := machine("a"), machine("b")
	spec := providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Targets: []providers.ID{a.ID},
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 443, TargetPort: 6443}}}
	l := again(t, deaths, "create balancer", func() (providers.LoadBalancer, error) { return p.LoadBalancers().Create(ctx, spec) })
	spec.Targets = append(spec.Targets, b.ID)
	again(t, deaths, "update balancer", func() (providers.LoadBalancer, error) { return p.LoadBalancers().Update(ctx, l.ID, spec) })
	v := again(t, deaths, "create volume", func() (providers.Volume, error) {
		return p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 1, Zone: "a"})
	})
	again(t, deaths, "resize volume", func() (providers.Volume, error) { return p.Volumes().Resize(ctx, v.ID, 3) })
	again(t, deaths, "attach volume", func() (providers.Volume, error) { return p.Volumes().Attach(ctx, v.ID, a.ID) })
	again(t, deaths, "create snapshot", func() (providers.Snapshot, error) {
		return p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: "demo", Name: "copy", Volume: v.ID})
	})
	again(t, deaths, "detach volume", func() (any, error) { return nil, p.Volumes().Detach(ctx, v.ID, a.ID) })
	again(t, deaths, "delete machine", func() (any, error) { return nil, p.Machines().Delete(ctx, b.ID) })
	return look(t, p)
}

// look lists everything of the owner.
func look(t *testing.T, p providers.Provider) world {
	w := world{}
	see(t, w, providers.NetworkNoun, p.Networks())
	see(t, w, providers.MachineNoun, p.Machines())
	see(t, w, providers.BalancerNoun, p.LoadBalancers())
	see(t, w, providers.VolumeNoun, p.Volumes())
	see(t, w, providers.SnapshotNoun, p.Volumes().Snapshots())
	return w
}

type lister[O any] interface {
	List(context.Context, providers.Owner) ([]O, error)
}

func see[O any](t *testing.T, w world, n providers.Noun, k lister[O]) {
	t.Helper()
	all, err := k.List(t.Context(), "demo")
	if err != nil {
		t.Fatalf("list %s: %v", n, err)
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	w[n] = blurred(data)
}

// blurred is the JSON without the moment of a snapshot.
func blurred(data []byte) []byte {
	var all []map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		panic(err)
	}
	for _, o := range all {
		delete(o, "created_unix")
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return data
}

// leave deletes everything of the owner.
func leave(t *testing.T, p providers.Provider, deaths *int) {
	remove(t, deaths, p.Volumes().Snapshots())
	remove(t, deaths, p.LoadBalancers())
	remove(t, deaths, p.Machines())
	remove(t, deaths, p.Volumes())
	remove(t, deaths, p.Networks())
	for n, left := range look(t, p) {
		if string(left) != "[]" {
			t.Errorf("%ss are left: %s", n, left)
		}
	}
}

func remove[S providers.Described, O providers.Identified](t *testing.T, deaths *int, k providers.Objects[S, O]) {
	all, err := k.List(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		again(t, deaths, "delete", func() (any, error) { return nil, k.Delete(t.Context(), o.GetMeta().ID) })
	}
}

// TestKilledAtEveryCall kills the plug-in with SIGKILL before each call that changes something, at each of its sub-calls,
// and after its effect: the same call, made again, comes to what a clean run comes to, and at the end nothing is left.
func TestKilledAtEveryCall(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, place int) (w world, places, deaths int) {
		folder := t.TempDir()
		die := filepath.Join(folder, "die")
		if err := os.WriteFile(die, fmt.Appendf(nil, `{"place":%d}`, place), 0o600); err != nil {
			t.Fatal(err)
		}
		p := open(t, map[string]any{"path": filepath.Join(folder, "cloud"), "die": die})
		w = live(t, p, &deaths)
		leave(t, p, &deaths)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		info, err := os.Stat(die + ".places")
		if err != nil {
			t.Fatal(err)
		}
		return w, int(info.Size()), deaths
	}
	clean, places, _ := run(t, 0)
	if places < 50 {
		t.Fatalf("there are %d places where the plug-in could die; the calls have more", places)
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for place := 1; place <= places; place += step {
		t.Run(fmt.Sprint(place), func(t *testing.T) {
			t.Parallel()
			w, _, deaths := run(t, place)
			if deaths != 1 {
				t.Errorf("killed at place %d of %d: it died %d times", place, places, deaths)
			}
			for n := range clean {
				if !reflect.DeepEqual(w[n], clean[n]) {
					t.Errorf("killed at place %d of %d: %ss are\n%s\nwant\n%s", place, places, n, w[n], clean[n])
				}
			}
		})
	}
}
