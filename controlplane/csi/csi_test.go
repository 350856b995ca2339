package csi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// A rig is a driver over a fake vendor with three machines, of which two are in zone a and one is in zone b.
type rig struct {
	*Driver
	t    *testing.T
	fake *fake.Fake
}

func newRig(t *testing.T, o fake.Options) rig {
	t.Helper()
	f := fake.New(o)
	n, err := f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "c", Name: "net"})
	if err != nil {
		t.Fatal(err)
	}
	r := rig{New(Options{Name: "fake.csi.provision.sh", Owner: "c", Provider: f, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}), t, f}
	for name, zone := range map[string]string{"one": "a", "two": "a", "three": "b"} {
		r.machine(n.ID, name, zone)
	}
	return r
}

func (r rig) machine(network providers.ID, name, zone string) providers.Machine {
	r.t.Helper()
	m, err := r.fake.Machines().Create(r.t.Context(), providers.MachineSpec{Owner: "c", Name: name, Network: network, Type: "small", Zone: zone})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

var mounted = &spec.VolumeCapability{AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{}},
	AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}

// request asks for a volume of so many GiB in a zone.
func request(name string, size int64, zone string) *spec.CreateVolumeRequest {
	return &spec.CreateVolumeRequest{Name: name, CapacityRange: &spec.CapacityRange{RequiredBytes: size * gib}, VolumeCapabilities: []*spec.VolumeCapability{mounted},
		AccessibilityRequirements: &spec.TopologyRequirement{Preferred: []*spec.Topology{{Segments: map[string]string{templates.VolumeZone: zone}}}}}
}

func (r rig) create(q *spec.CreateVolumeRequest) *spec.Volume {
	r.t.Helper()
	out, err := r.CreateVolume(r.t.Context(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return out.Volume
}

func (r rig) publish(volume, node string) error {
	_, err := r.ControllerPublishVolume(r.t.Context(), &spec.ControllerPublishVolumeRequest{VolumeId: volume, NodeId: node, VolumeCapability: mounted})
	return err
}

func (r rig) unpublish(volume, node string) error {
	_, err := r.ControllerUnpublishVolume(r.t.Context(), &spec.ControllerUnpublishVolumeRequest{VolumeId: volume, NodeId: node})
	return err
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code is %s, want %s: %v", got, want, err)
	}
}

func TestEachKindHasACode(t *testing.T) {
	for _, k := range providers.Kinds() {
		err := failure(fmt.Errorf("create volume: %w: no", k))
		if _, ok := kinds[k]; !ok || status.Code(err) == codes.OK || status.Code(err) == codes.Unknown {
			t.Errorf("kind %q has no code", k)
		}
		if !strings.Contains(err.Error(), "create volume") {
			t.Errorf("kind %q: the vendor's words are lost: %v", k, err)
		}
	}
	if len(kinds) != len(providers.Kinds()) {
		t.Errorf("%d kinds have codes, there are %d", len(kinds), len(providers.Kinds()))
	}
	wantCode(t, failure(fmt.Errorf("no kind")), codes.Internal)
	wantCode(t, failure(fmt.Errorf("cut off: %w", context.DeadlineExceeded)), codes.DeadlineExceeded)
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		need, limit int64
		least, got  int
		code        codes.Code
	}{
		{0, 0, 0, defaultSize, codes.OK},
		{1, 0, 0, 1, codes.OK},
		{gib, 0, 0, 1, codes.OK},
		{gib + 1, 0, 0, 2, codes.OK},
		{gib + 1, 2 * gib, 0, 2, codes.OK},
		{gib + 1, 2*gib - 1, 0, 0, codes.OutOfRange},
		{0, gib / 2, 0, 0, codes.OutOfRange},
		{0, 3 * gib, 0, 3, codes.OK},
		{gib, 0, 5, 5, codes.OK},
		{gib, 4 * gib, 5, 0, codes.OutOfRange},
		{2 * gib, gib, 0, 0, codes.InvalidArgument},
		{-1, 0, 0, 0, codes.InvalidArgument},
		{math.MaxInt64, 0, 0, 0, codes.OutOfRange},
	} {
		s, err := sizeOf(&spec.CapacityRange{RequiredBytes: c.need, LimitBytes: c.limit})
		got := 0
		if err == nil {
			got, err = s.choose(c.least)
		}
		if got != c.got || status.Code(err) != c.code {
			t.Errorf("%d to %d bytes, at least %d GiB: got %d %v, want %d %s", c.need, c.limit, c.least, got, err, c.got, c.code)
		}
	}
}

func TestWhatIsNotAccepted(t *testing.T) {
	r := newRig(t, fake.Options{})
	many, none, disk := request("v", 1, "a"), request("v", 1, "a"), request("v", 1, "a")
	many.VolumeCapabilities = []*spec.VolumeCapability{{AccessType: mounted.AccessType, AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER}}}
	none.VolumeCapabilities = []*spec.VolumeCapability{{AccessMode: mounted.AccessMode}}
	disk.VolumeCapabilities = []*spec.VolumeCapability{{AccessMode: mounted.AccessMode, AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{FsType: "btrfs"}}}}
	word := request("v", 1, "a")
	word.Parameters = map[string]string{"encrypted": "maybe"}
	for q, want := range map[*spec.CreateVolumeRequest]codes.Code{many: codes.InvalidArgument, none: codes.InvalidArgument, disk: codes.InvalidArgument, word: codes.InvalidArgument,
		request("v", 1, "mars"): codes.ResourceExhausted} {
		_, err := r.CreateVolume(t.Context(), q)
		wantCode(t, err, want)
	}
}

func TestParameters(t *testing.T) {
	s, err := wished(map[string]string{"type": "io2", "iops": "100", "encrypted": "true", "csi.storage.k8s.io/pvc/name": "data"})
	if err != nil || s.Type != "io2" || !s.Encrypted || len(s.Params) != 1 || s.Params["iops"] != "100" || s.Tags["kubernetes.io/created-for/pvc/name"] != "data" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestCreateIsTheSameAgain(t *testing.T) {
	r := newRig(t, fake.Options{})
	v := r.create(request("pvc-1", 5, "b"))
	if v.CapacityBytes != 5*gib || v.AccessibleTopology[0].Segments[templates.VolumeZone] != "b" {
		t.Errorf("got %v", v)
	}
	if again := r.create(request("pvc-1", 5, "b")); again.VolumeId != v.VolumeId {
		t.Errorf("another volume was made: %s and %s", v.VolumeId, again.VolumeId)
	}
	larger := request("pvc-1", 6, "b")
	_, err := r.CreateVolume(t.Context(), larger)
	wantCode(t, err, codes.AlreadyExists)
}

// TestCreateGoesOn cuts the vendor's answer off after the volume was made.
func TestCreateGoesOn(t *testing.T) {
	r := newRig(t, fake.Options{Faults: []fake.Fault{{Noun: providers.VolumeNoun, Verb: providers.CreateVerb, Error: providers.Unavailable, After: true}}})
	_, err := r.CreateVolume(t.Context(), request("pvc-1", 5, "a"))
	wantCode(t, err, codes.Unavailable)
	r.create(request("pvc-1", 5, "a"))
	if all, _ := r.fake.Volumes().List(t.Context(), "c"); len(all) != 1 {
		t.Errorf("%d volumes are there, want 1", len(all))
	}
}

// TestAnotherZone lets the first zone have no room.
func TestAnotherZone(t *testing.T) {
	r := newRig(t, fake.Options{Faults: []fake.Fault{{Noun: providers.VolumeNoun, Verb: providers.CreateVerb, Error: providers.Capacity}}})
	q := request("pvc-1", 5, "a")
	q.AccessibilityRequirements.Requisite = []*spec.Topology{{Segments: map[string]string{templates.VolumeZone: "b"}}}
	if v := r.create(q); v.AccessibleTopology[0].Segments[templates.VolumeZone] != "b" {
		t.Errorf("got %v", v)
	}
}

func TestAttachedElsewhere(t *testing.T) {
	r := newRig(t, fake.Options{})
	v := r.create(request("pvc-1", 5, "a"))
	if err := r.publish(v.VolumeId, "one"); err != nil {
		t.Fatal(err)
	}
	err := r.publish(v.VolumeId, "two")
	wantCode(t, err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), "node one") {
		t.Errorf("it is not said where the volume is: %v", err)
	}
	wantCode(t, r.publish(v.VolumeId, "nobody"), codes.NotFound)
	wantCode(t, r.publish(v.VolumeId, "three"), codes.FailedPrecondition)
	if err := r.unpublish(v.VolumeId, "two"); err != nil { // it is not there
		t.Fatal(err)
	}
	if out, err := r.ControllerGetVolume(t.Context(), &spec.ControllerGetVolumeRequest{VolumeId: v.VolumeId}); err != nil || !slices.Equal(out.Status.PublishedNodeIds, []string{"one"}) {
		t.Errorf("the volume left its node: %v, %v", out, err)
	}
}

// TestNodeDies takes the machine of a volume away: its volume goes to another, also to one of the same name.
func TestNodeDies(t *testing.T) {
	r := newRig(t, fake.Options{})
	v := r.create(request("pvc-1", 5, "a"))
	if err := r.publish(v.VolumeId, "one"); err != nil {
		t.Fatal(err)
	}
	machines, _ := r.fake.Machines().List(t.Context(), "c")
	dead := machines[slices.IndexFunc(machines, func(m providers.Machine) bool { return m.Name == "one" })]
	if err := r.fake.Machines().Delete(t.Context(), dead.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.unpublish(v.VolumeId, "one"); err != nil {
		t.Fatal(err)
	}
	if err := r.publish(v.VolumeId, "two"); err != nil {
		t.Fatal(err)
	}
	if err := r.unpublish(v.VolumeId, "two"); err != nil {
		t.Fatal(err)
	}
	r.machine(dead.Network, "one", "a")
	if err := r.publish(v.VolumeId, "one"); err != nil { // the driver remembers the dead one
		t.Fatal(err)
	}
}

// TestStoppedNode detaches a volume from a machine that runs no more.
func TestStoppedNode(t *testing.T) {
	r := newRig(t, fake.Options{Dies: []string{"four"}})
	n, _ := r.fake.Networks().List(t.Context(), "c")
	r.machine(n[0].ID, "four", "a")
	v := r.create(request("pvc-1", 5, "a"))
	if err := r.publish(v.VolumeId, "four"); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"four", "four", ""} {
		if err := r.unpublish(v.VolumeId, node); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.publish(v.VolumeId, "two"); err != nil {
		t.Fatal(err)
	}
}

// TestStrangers keeps the driver's hands off what it did not make.
func TestStrangers(t *testing.T) {
	r := newRig(t, fake.Options{})
	v, err := r.fake.Volumes().Create(t.Context(), providers.VolumeSpec{Owner: "c", Name: "by-hand", SizeGiB: 1, Zone: "a"})
	if err != nil {
		t.Fatal(err)
	}
	id := string(v.ID)
	wantCode(t, r.publish(id, "one"), codes.NotFound)
	_, err = r.DeleteVolume(t.Context(), &spec.DeleteVolumeRequest{VolumeId: id})
	wantCode(t, err, codes.FailedPrecondition)
	_, err = r.CreateSnapshot(t.Context(), &spec.CreateSnapshotRequest{Name: "s", SourceVolumeId: id})
	wantCode(t, err, codes.NotFound)
	_, err = r.CreateVolume(t.Context(), request("by-hand", 1, "a"))
	wantCode(t, err, codes.AlreadyExists)
	if l, err := r.ListVolumes(t.Context(), &spec.ListVolumesRequest{}); err != nil || len(l.Entries) > 0 {
		t.Errorf("got %v, %v", l, err)
	}
	if all, _ := r.fake.Volumes().List(t.Context(), "c"); len(all) != 1 {
		t.Error("the stranger's volume is gone")
	}
}

func TestExpand(t *testing.T) {
	r := newRig(t, fake.Options{})
	v := r.create(request("pvc-1", 5, "a"))
	grow := func(least, most int64) (*spec.ControllerExpandVolumeResponse, error) {
		return r.ControllerExpandVolume(t.Context(), &spec.ControllerExpandVolumeRequest{VolumeId: v.VolumeId, VolumeCapability: mounted, CapacityRange: &spec.CapacityRange{RequiredBytes: least, LimitBytes: most}})
	}
	for range 2 {
		if out, err := grow(6*gib+1, 0); err != nil || out.CapacityBytes != 7*gib || !out.NodeExpansionRequired {
			t.Errorf("got %v, %v", out, err)
		}
	}
	_, err := grow(gib, 2*gib)
	wantCode(t, err, codes.OutOfRange)
}

// clone asks for a copy of a volume.
func clone(name string, size int64, of string) *spec.CreateVolumeRequest {
	q := request(name, size, "a")
	q.VolumeContentSource = &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Volume{Volume: &spec.VolumeContentSource_VolumeSource{VolumeId: of}}}
	return q
}

// TestCloneCutAnywhere fails each call of a clone in turn, before and after its effect. Asked again, there is one volume and no
// snapshot.
func TestCloneCutAnywhere(t *testing.T) {
	for _, f := range []fake.Fault{
		{Noun: providers.SnapshotNoun, Verb: providers.CreateVerb}, {Noun: providers.SnapshotNoun, Verb: providers.DeleteVerb},
		{Noun: providers.VolumeNoun, Verb: providers.CreateVerb, Name: "copy"}, {Noun: providers.VolumeNoun, Verb: providers.ListVerb},
	} {
		for _, f.After = range []bool{false, true} {
			t.Run(fmt.Sprint(f.Noun, ".", f.Verb, ".", f.After), func(t *testing.T) {
				f.Error = providers.Unavailable
				r := newRig(t, fake.Options{Faults: []fake.Fault{f}})
				v := r.create(request("pvc-1", 5, "a"))
				if _, err := r.CreateVolume(t.Context(), clone("copy", 5, v.VolumeId)); status.Code(err) != codes.Unavailable {
					t.Fatalf("it was not cut: %v", err)
				}
				c := r.create(clone("copy", 5, v.VolumeId))
				if again := r.create(clone("copy", 5, v.VolumeId)); again.VolumeId != c.VolumeId || c.VolumeId == v.VolumeId {
					t.Errorf("volumes %s, %s and %s", v.VolumeId, c.VolumeId, again.VolumeId)
				}
				if all, _ := r.fake.Volumes().Snapshots().List(t.Context(), "c"); len(all) > 0 {
					t.Errorf("left: %v", all)
				}
			})
		}
	}
}

// TestCloneThatCannotBe leaves no snapshot when the vendor's no is final.
func TestCloneThatCannotBe(t *testing.T) {
	r := newRig(t, fake.Options{Faults: []fake.Fault{{Noun: providers.VolumeNoun, Verb: providers.CreateVerb, Name: "copy", Error: providers.Quota}}})
	v := r.create(request("pvc-1", 5, "a"))
	_, err := r.CreateVolume(t.Context(), clone("copy", 5, v.VolumeId))
	wantCode(t, err, codes.ResourceExhausted)
	if all, _ := r.fake.Volumes().Snapshots().List(t.Context(), "c"); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
	_, err = r.CreateVolume(t.Context(), clone("other", 5, "no-such-volume"))
	wantCode(t, err, codes.NotFound)
}

// TestOneAtATime starts a call while another of the same volume goes on.
func TestOneAtATime(t *testing.T) {
	r := newRig(t, fake.Options{})
	v := r.create(request("pvc-1", 5, "a"))
	done, err := r.busy.take("volume " + v.VolumeId)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.publish(v.VolumeId, "one"), codes.Aborted)
	_, err = r.DeleteVolume(t.Context(), &spec.DeleteVolumeRequest{VolumeId: v.VolumeId})
	wantCode(t, err, codes.Aborted)
	done()
	if err := r.publish(v.VolumeId, "one"); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce makes, attaches and removes volumes side by side; the race detector watches.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, fake.Options{})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			out, err := r.CreateVolume(t.Context(), request(fmt.Sprint("pvc-", i), 1, "a"))
			if err != nil {
				t.Error(err)
				return
			}
			id := out.Volume.VolumeId
			if err := r.publish(id, "one"); err != nil {
				t.Error(err)
			}
			if err := r.unpublish(id, "one"); err != nil {
				t.Error(err)
			}
			if _, err := r.DeleteVolume(t.Context(), &spec.DeleteVolumeRequest{VolumeId: id}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if left, _ := r.fake.Volumes().List(t.Context(), "c"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPages lists volumes while some come and go between the pages.
func TestPages(t *testing.T) {
	r := newRig(t, fake.Options{})
	ids := map[string]string{}
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		ids[n] = r.create(request(n, 1, "a")).VolumeId
	}
	list := func(token string) ([]string, string) {
		out, err := r.ListVolumes(t.Context(), &spec.ListVolumesRequest{MaxEntries: 2, StartingToken: token})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range out.Entries {
			got = append(got, e.Volume.VolumeId)
		}
		return got, out.NextToken
	}
	first, token := list("")
	if _, err := r.DeleteVolume(t.Context(), &spec.DeleteVolumeRequest{VolumeId: ids["b"]}); err != nil {
		t.Fatal(err)
	}
	second, token := list(token)
	third, end := list(token)
	if got := slices.Concat(first, second, third); !slices.Equal(got, []string{ids["a"], ids["b"], ids["c"], ids["d"], ids["e"]}) || end != "" {
		t.Errorf("got %v and token %q", got, end)
	}
}

// TestMachinesAreListedOnce counts what attaching asks of the vendor.
func TestMachinesAreListedOnce(t *testing.T) {
	r := newRig(t, fake.Options{})
	lists := 0
	list := r.nodes.list
	r.nodes.list = func(ctx context.Context) ([]providers.Machine, error) { lists++; return list(ctx) }
	for i := range 10 {
		v := r.create(request(fmt.Sprint("pvc-", i), 1, "a"))
		if err := r.publish(v.VolumeId, "one"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.ListVolumes(t.Context(), &spec.ListVolumesRequest{}); err != nil {
		t.Fatal(err)
	}
	if lists != 1 {
		t.Errorf("machines were listed %d times for 10 volumes, want 1", lists)
	}
}

func TestNames(t *testing.T) {
	for _, n := range []string{"pvc-0c7b38a1-6e4b-4d1c-b0f9-3b9e1a2c4d5e", "a"} {
		if got := nameOf(n); got != n {
			t.Errorf("%q became %q", n, got)
		}
	}
	for _, n := range []string{"A", "x_y", "-a", "a-", strings.Repeat("n", 64), strings.Repeat("n", 128)} {
		k := providers.Key{Owner: "c", Name: nameOf(n)}
		if err := k.Validate(0); err != nil {
			t.Errorf("%q: %v", n, err)
		}
	}
	if nameOf("A") == nameOf("B") {
		t.Error("two names are one")
	}
}
