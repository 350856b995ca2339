package fake_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// TestStrangersHand lets one Fake play the stranger's part while another, over the same file, has opened it before.
func TestStrangersHand(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "cloud")
	f, stranger := open(t, path, fake.Options{}), open(t, path, fake.Options{Faults: []fake.Fault{{Times: -1, Error: providers.Denied}}})
	n := must[providers.Network](t)(f.Networks().Create(ctx, network("main")))
	m := must[providers.Machine](t)(f.Machines().Create(ctx, machine(n.ID, "m")))

	if err := fake.Tamper(ctx, stranger, n.ID, func(n *providers.Network) { n.Allow, n.ID = nil, "other" }); err != nil {
		t.Fatal(err)
	}
	if got := must[providers.Network](t)(f.Networks().Get(ctx, n.ID)); len(got.Allow) != 0 || got.ID != n.ID {
		t.Errorf("the network is %+v, want it without rules", got)
	}
	if got := must[providers.Network](t)(f.Networks().Update(ctx, n.ID, network("main"))); !reflect.DeepEqual(got, n) {
		t.Errorf("Update made it %+v, want %+v", got, n)
	}

	if err := stranger.Strip(ctx, m.ID); err != nil {
		t.Fatal(err)
	}
	if all := must[[]providers.Machine](t)(f.Machines().List(ctx, "demo")); len(all) != 0 {
		t.Errorf("List has what is nobody's: %+v", all)
	}
	second := must[providers.Machine](t)(f.Machines().Create(ctx, machine(n.ID, "m")))
	if second.ID == m.ID {
		t.Errorf("Create returned what is nobody's")
	}
	if _, err := f.Machines().Update(ctx, m.ID, machine(n.ID, "m")); !errors.Is(err, providers.Exists) {
		t.Errorf("Update to a name that is another's by now = %v, want Exists", err)
	}
	if err := stranger.Vanish(ctx, second.ID); err != nil {
		t.Fatal(err)
	}
	back := must[providers.Machine](t)(f.Machines().Update(ctx, m.ID, machine(n.ID, "m")))
	if !reflect.DeepEqual(back, m) {
		t.Errorf("Update made it %+v, want %+v", back, m)
	}

	for doing, err := range map[string]error{
		"what is not there":   stranger.Strip(ctx, "machine.demo.none.1"),
		"what is no ID":       stranger.Strip(ctx, "none"),
		"what has vanished":   fake.Tamper(ctx, stranger, second.ID, func(*providers.Machine) {}),
		"what is of no kind":  fake.Tamper(ctx, stranger, "planet.demo.a.1", func(*providers.Machine) {}),
		"what never was here": stranger.Strip(ctx, "volume.demo.v.1"),
	} {
		if !errors.Is(err, providers.NotFound) {
			t.Errorf("a hand at %s = %v, want NotFound", doing, err)
		}
	}
	if err := fake.Tamper(ctx, stranger, n.ID, func(*providers.Machine) {}); !errors.Is(err, providers.Invalid) {
		t.Errorf("a network as a machine = %v, want Invalid", err)
	}
}

// TestStrippedOutlivesCompaction holds a file that is made small to objects that no name leads to.
func TestStrippedOutlivesCompaction(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	spec := providers.VolumeSpec{Owner: "demo", Name: "v", SizeGiB: 1}
	v := must[providers.Volume](t)(f.Volumes().Create(ctx, spec))
	if err := f.Strip(ctx, v.ID, providers.OwnerTag); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		v := must[providers.Volume](t)(f.Volumes().Create(ctx, spec))
		if err := f.Volumes().Delete(ctx, v.ID); err != nil {
			t.Fatal(err)
		}
	}
	f = open(t, path, fake.Options{})
	if got, err := f.Volumes().Get(ctx, v.ID); err != nil || got.Owner != "" || got.Name != "v" {
		t.Errorf("Get = %+v, %v, want the volume without an owner", got, err)
	}
	if next := must[providers.Volume](t)(f.Volumes().Create(ctx, spec)); next.ID != "volume.demo.v.602" {
		t.Errorf("the 602nd volume is %s", next.ID)
	}
}

// TestStoppedInTheFile: a machine that a hand has stopped in the file, and nothing else, is Partial, and Create starts it.
func TestStoppedInTheFile(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	n := must[providers.Network](t)(f.Networks().Create(ctx, network("main")))
	m := must[providers.Machine](t)(f.Machines().Create(ctx, machine(n.ID, "m")))
	file := must[[]byte](t)(os.ReadFile(path))
	if err := os.WriteFile(path, bytes.ReplaceAll(file, []byte(`"state":"running"`), []byte(`"state":"stopped"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	f = open(t, path, fake.Options{})
	check := func() {
		t.Helper()
		if got := must[providers.Machine](t)(f.Machines().Get(ctx, m.ID)); got.State != providers.Stopped || !got.Partial {
			t.Errorf("the machine is %+v, want it stopped and Partial", got)
		}
		if got := must[providers.Machine](t)(f.Machines().Create(ctx, machine(n.ID, "m"))); !reflect.DeepEqual(got, m) {
			t.Errorf("Create returned %+v, want %+v", got, m)
		}
	}
	check()
	if err := fake.Tamper(ctx, f, m.ID, func(m *providers.Machine) { m.State = providers.Stopped }); err != nil {
		t.Fatal(err)
	}
	check()
}
