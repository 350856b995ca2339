//go:build e2e

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
)

// partVolumes makes at the vendor what claims of the cluster would have made, a volume that a node uses and a copy of it. It is in
// the plan of destroy, and the next part sees that it goes.
func (r *rig) partVolumes() {
	p, o := local.New(local.Options{}), providers.Owner(r.name)
	ctx := r.t.Context()
	machines, err := p.Machines().List(ctx, o)
	if err != nil || len(machines) == 0 {
		r.t.Fatalf("machines: %v, %v", machines, err)
	}
	m := machines[len(machines)-1]
	v, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: o, Name: "pvc-1", SizeGiB: 1})
	if err == nil {
		v, err = p.Volumes().Attach(ctx, v.ID, m.ID)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	node := strings.TrimPrefix(m.Name, r.name+"-")
	if got := r.on(node, fmt.Sprintf("mkfs.ext4 -q %s && mount %s /mnt && echo kept > /mnt/file && sync && cat /mnt/file", v.Device, v.Device)); !strings.Contains(got, "kept") {
		r.t.Errorf("on %s: %s", node, got)
	}
	if _, err := p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: o, Name: "pvc-1-copy", Volume: v.ID}); err != nil {
		r.t.Error(err)
	}
	if out := r.run(time.Minute, "plan", r.file, "--destroy"); !strings.Contains(out, "volume.pvc-1") || !strings.Contains(out, "snapshot.pvc-1-copy") {
		r.t.Errorf("the plan of destroy has not the volume and its copy:\n%s", out)
	}
	if out := r.run(time.Minute, "plan", r.file, "--destroy", "--keep", "volumes"); !strings.Contains(out, "Kept: volume.pvc-1, snapshot.pvc-1-copy") {
		r.t.Errorf("the plan of destroy does not keep the volume and its copy:\n%s", out)
	}
}
