package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/providertest"
	"github.com/provisionhq/provision/providers/remote"
)

// stopped switches a machine off behind the provider's back.
func stopped(r *Rack) func(context.Context, providers.ID) error {
	return func(ctx context.Context, id providers.ID) error {
		return machineObjects(r).locked(ctx, "stop", func() error {
			m, err := machineObjects(r).find(id)
			if err != nil {
				return err
			}
			m.State, m.Partial = providers.Stopped, true
			return r.write(id, m)
		})
	}
}

// stripped takes an owner, a name or other tags away behind the provider's back.
func stripped(r *Rack) func(context.Context, providers.Noun, providers.ID, ...string) error {
	return func(ctx context.Context, noun providers.Noun, id providers.ID, tags ...string) error {
		if noun == providers.NetworkNoun {
			return strip(ctx, networks(r), id, tags)
		}
		return strip(ctx, machineObjects(r), id, tags)
	}
}

func strip[S providers.Described, O providers.Identified](ctx context.Context, k objects[S, O], id providers.ID, tags []string) error {
	return k.locked(ctx, "strip", func() error {
		o, err := k.find(id)
		if err != nil {
			return err
		}
		m := k.meta(&o)
		for _, t := range tags {
			switch t {
			case providers.OwnerTag:
				m.Owner = ""
			case providers.NameTag:
				m.Name = ""
			default:
				delete(m.Tags, t)
			}
		}
		return k.write(o)
	})
}

// TestConformance runs the suite on the provider itself.
func TestConformance(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		r := &Rack{folder: t.TempDir(), slots: 1000}
		return providertest.Fixture{Provider: r, Stop: stopped(r), Strip: stripped(r)}
	})
}

// TestConformanceAsPlugin runs the suite on the program, as provision will use it.
func TestConformanceAsPlugin(t *testing.T) {
	program := filepath.Join(t.TempDir(), "provision-provider-"+name)
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		folder := t.TempDir()
		p, err := remote.Open(t.Context(), remote.Options{Path: program, Name: name, Attributes: map[string]any{"folder": folder}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		same := &Rack{folder: folder}
		return providertest.Fixture{Provider: p, Stop: stopped(same), Strip: stripped(same)}
	})
}

// TestFullRack refuses the machine that has no slot.
func TestFullRack(t *testing.T) {
	p, err := open(t.Context(), map[string]any{"folder": t.TempDir(), "slots": int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	need := providers.Need{Owner: "demo", Machines: make([]providers.MachineSpec, 2)}
	if r, err := p.Account().Check(t.Context(), need); err != nil || len(r.Limits) != 1 || !r.Limits[0].Exceeded() {
		t.Errorf("Check of two machines = %+v, %v, want that there are not so many slots", r, err)
	}
	for _, c := range []struct {
		name string
		want providers.Kind
	}{{"a", ""}, {"b", providers.Quota}} {
		spec := providers.MachineSpec{Owner: "demo", Name: c.name, Network: n.ID, Type: "1u"}
		if _, err := p.Machines().Create(t.Context(), spec); providers.KindOf(err) != c.want {
			t.Errorf("Create of %s = %v, want %q", c.name, err, c.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	for _, bad := range []map[string]any{nil, {"folder": ""}, {"folder": 3}, {"folder": "x", "slots": "many"}, {"folder": "x", "slots": int64(0)}, {"fodler": "x"}} {
		if _, err := open(t.Context(), bad); !errors.Is(err, providers.Invalid) {
			t.Errorf("open(%v) = %v, want Invalid", bad, err)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("open made a folder")
	}
}
