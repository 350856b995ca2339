//go:build linux

package local

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
)

// rehearseVolumesEnv makes the test's program take volumes through their lives in that folder, to be killed meanwhile.
const rehearseVolumesEnv = "PROVISION_LOCAL_TEST_REHEARSE_VOLUMES"

func rehearseVolumes(folder string) int {
	ctx, p := context.Background(), New(Options{Folder: folder})
	ms, err := p.Machines().List(ctx, "demo")
	if err != nil || len(ms) != 1 {
		return complain(errors.Join(err, errors.New("there is no machine")))
	}
	if err := errors.Join(liveVolumes(ctx, p, ms[0].ID), endVolumes(ctx, p)); err != nil {
		return complain(err)
	}
	return 0
}

// liveVolumes makes a volume, attaches it to the machine, lets it grow, copies it, and attaches the copy, too. It may be repeated.
func liveVolumes(ctx context.Context, p *Provider, machine providers.ID) error {
	v, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "v", SizeGiB: 1})
	if err == nil || providers.KindOf(err) == providers.Exists {
		_, err = p.Volumes().Attach(ctx, v.ID, machine)
	}
	if err == nil {
		_, err = p.Volumes().Resize(ctx, v.ID, 2)
	}
	if err != nil {
		return err
	}
	s, err := p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: "demo", Name: "s", Volume: v.ID})
	if err != nil && providers.KindOf(err) != providers.Exists {
		return err
	}
	c, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "c", Snapshot: s.ID})
	if err == nil || providers.KindOf(err) == providers.Exists {
		_, err = p.Volumes().Attach(ctx, c.ID, machine)
	}
	return err
}

// endVolumes detaches and deletes all volumes and snapshots.
func endVolumes(ctx context.Context, p *Provider) error {
	vs, err := p.Volumes().List(ctx, "demo")
	for _, v := range vs {
		if v.Machine != "" {
			err = errors.Join(err, p.Volumes().Detach(ctx, v.ID, v.Machine))
		}
		err = errors.Join(err, p.Volumes().Delete(ctx, v.ID))
	}
	ss, listErr := p.Volumes().Snapshots().List(ctx, "demo")
	for _, s := range ss {
		err = errors.Join(err, p.Volumes().Snapshots().Delete(ctx, s.ID))
	}
	return errors.Join(err, listErr)
}

// TestVolumesKilledAnywhere kills a process that takes volumes through their lives, a little later each time. What it leaves must be
// listed, be gone on with, and be removed.
func TestVolumesKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	m := w.create(w.spec("demo", "a"))
	began := time.Now()
	if !w.killed(rehearseVolumesEnv, time.Minute) {
		t.Fatal("the rehearsal does not end")
	}
	pace := time.Since(began) / 24
	kept := false
	for after, rounds := pace, 1; ; after, rounds = after+pace, rounds+1 {
		if w.killed(rehearseVolumesEnv, after) {
			t.Logf("killed at each %s up to %s", pace, after)
			break
		}
		if rounds%2 == 0 { // every other time what is left is removed as it is
			if err := liveVolumes(t.Context(), w.Provider, m.ID); err != nil {
				t.Fatalf("after a kill at %s: %v", after, err)
			}
			if vs, err := w.Volumes().List(t.Context(), "demo"); err != nil || len(vs) != 2 || vs[0].Partial || vs[1].Partial || vs[1].SizeGiB != 2 || !w.sees(m, vs[0].Device) || !w.sees(m, vs[1].Device) {
				t.Fatalf("after a kill at %s there are %+v, %v", after, vs, err)
			}
		}
		if err := endVolumes(t.Context(), w.Provider); err != nil {
			t.Fatalf("after a kill at %s: %v", after, err)
		}
		vs, err := records[providers.VolumeSpec](w.Provider, providers.VolumeNoun, "")
		if left := w.loops(); len(left)+len(vs) > 0 || err != nil {
			t.Fatalf("after a kill at %s and the end of all volumes there is %q, %v, %v", after, left, vs, err)
		}
		kept = w.sees(m, "/dev/disk/by-id/*") || kept
	}
	if kept {
		t.Error("the machine kept a device")
	}
	if err := liveVolumes(t.Context(), w.Provider, m.ID); err != nil { // the end of the test removes the machine with volumes attached
		t.Fatal(err)
	}
}
