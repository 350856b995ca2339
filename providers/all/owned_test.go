package all

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/providertest"
	"github.com/provisionhq/provision/providers/remote"
	"github.com/provisionhq/provision/templates"
)

// TestDoorSocket: package local may not know where package templates says that the socket is.
func TestDoorSocket(t *testing.T) {
	if local.DoorSocket != templates.DoorSocket {
		t.Errorf("the host puts the socket to %s, the cloud agent looks at %s", local.DoorSocket, templates.DoorSocket)
	}
}

// through serves a provider on a socket, as a door does, and opens it from the other side.
func through(t *testing.T, p providers.Provider) *remote.Provider {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "door.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := remote.NewServer(p)
	go s.Serve(l)
	r, err := remote.Open(t.Context(), remote.Options{Name: p.Name(), Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); s.Stop() })
	return r
}

// TestDoorConformance runs the suite through a door. The suite is two owners, so this one is for both.
func TestDoorConformance(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		f := fake.New(fake.Options{})
		p := through(t, owned{f, func(providers.Owner) bool { return true }, ""})
		return providertest.Fixture{Provider: p, Stop: f.Stop, Strip: func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
			return f.Strip(ctx, id, tags...)
		}}
	})
}

// A belonging is one of everything that an owner has.
type belonging struct {
	network  providers.Network
	machine  providers.Machine
	balancer providers.LoadBalancer
	volume   providers.Volume
	snapshot providers.Snapshot
}

// furnish makes one of everything for an owner.
func furnish(t *testing.T, p providers.Provider, o providers.Owner) (b belonging) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var err error
	b.network, err = p.Networks().Create(ctx, providers.NetworkSpec{Owner: o, Name: "main", Zones: []string{"a"}})
	must(err)
	b.machine, err = p.Machines().Create(ctx, providers.MachineSpec{Owner: o, Name: "m", Network: b.network.ID, Type: "small", Zone: "a"})
	must(err)
	b.balancer, err = p.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{Owner: o, Name: "b", Network: b.network.ID, Targets: []providers.ID{b.machine.ID}})
	must(err)
	b.volume, err = p.Volumes().Create(ctx, providers.VolumeSpec{Owner: o, Name: "v", SizeGiB: 1, Zone: "a"})
	must(err)
	b.snapshot, err = p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: o, Name: "s", Volume: b.volume.ID})
	must(err)
	return b
}

// attempts are all calls that have to do with what is another's, by name.
func attempts(ctx context.Context, p providers.Provider, me, you providers.Owner, mine, theirs belonging) map[string]error {
	all := map[string]error{}
	try := func(name string, err error) { all[name] = err }
	one := func(name string, do func(id providers.ID) error, id providers.ID) { try(name, do(id)) }
	owners(ctx, p, you, theirs, try)
	one("get network", func(id providers.ID) error { _, err := p.Networks().Get(ctx, id); return err }, theirs.network.ID)
	one("get machine", func(id providers.ID) error { _, err := p.Machines().Get(ctx, id); return err }, theirs.machine.ID)
	one("get balancer", func(id providers.ID) error { _, err := p.LoadBalancers().Get(ctx, id); return err }, theirs.balancer.ID)
	one("get volume", func(id providers.ID) error { _, err := p.Volumes().Get(ctx, id); return err }, theirs.volume.ID)
	one("get snapshot", func(id providers.ID) error { _, err := p.Volumes().Snapshots().Get(ctx, id); return err }, theirs.snapshot.ID)
	one("delete network", func(id providers.ID) error { return p.Networks().Delete(ctx, id) }, theirs.network.ID)
	one("delete machine", func(id providers.ID) error { return p.Machines().Delete(ctx, id) }, theirs.machine.ID)
	one("delete balancer", func(id providers.ID) error { return p.LoadBalancers().Delete(ctx, id) }, theirs.balancer.ID)
	one("delete volume", func(id providers.ID) error { return p.Volumes().Delete(ctx, id) }, theirs.volume.ID)
	one("delete snapshot", func(id providers.ID) error { return p.Volumes().Snapshots().Delete(ctx, id) }, theirs.snapshot.ID)
	one("resize", func(id providers.ID) error { _, err := p.Volumes().Resize(ctx, id, 9); return err }, theirs.volume.ID)
	one("attach theirs", func(id providers.ID) error { _, err := p.Volumes().Attach(ctx, id, mine.machine.ID); return err }, theirs.volume.ID)
	one("attach to theirs", func(id providers.ID) error { _, err := p.Volumes().Attach(ctx, mine.volume.ID, id); return err }, theirs.machine.ID)
	one("detach theirs", func(id providers.ID) error { return p.Volumes().Detach(ctx, id, mine.machine.ID) }, theirs.volume.ID)
	one("detach from theirs", func(id providers.ID) error { return p.Volumes().Detach(ctx, mine.volume.ID, id) }, theirs.machine.ID)

	// As its own, but of what is another's.
	m := providers.MachineSpec{Owner: me, Name: "n", Network: theirs.network.ID, Type: "small", Zone: "a"}
	_, err := p.Machines().Create(ctx, m)
	try("machine in their network", err)
	b := providers.LoadBalancerSpec{Owner: me, Name: "c", Network: theirs.network.ID}
	_, err = p.LoadBalancers().Create(ctx, b)
	try("balancer in their network", err)
	b.Network, b.Targets = mine.network.ID, []providers.ID{mine.machine.ID, theirs.machine.ID}
	_, err = p.LoadBalancers().Create(ctx, b)
	try("balancer to their machine", err)
	b.Name = "b"
	_, err = p.LoadBalancers().Update(ctx, mine.balancer.ID, b)
	try("balancer that is led to their machine", err)
	_, err = p.LoadBalancers().Update(ctx, theirs.balancer.ID, providers.LoadBalancerSpec{Owner: me, Name: "b", Network: mine.network.ID})
	try("balancer of theirs that becomes mine", err)
	_, err = p.Volumes().Create(ctx, providers.VolumeSpec{Owner: me, Name: "w", SizeGiB: 1, Zone: "a", Snapshot: theirs.snapshot.ID})
	try("volume of their snapshot", err)
	_, err = p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: me, Name: "t", Volume: theirs.volume.ID})
	try("snapshot of their volume", err)
	try("the machine itself", p.Machines().Delete(ctx, mine.machine.ID))
	return all
}

// owners tries what is done in the name of another.
func owners(ctx context.Context, p providers.Provider, you providers.Owner, theirs belonging, try func(string, error)) {
	_, err := p.Networks().List(ctx, you)
	try("list networks", err)
	_, err = p.Machines().List(ctx, you)
	try("list machines", err)
	_, err = p.LoadBalancers().List(ctx, you)
	try("list balancers", err)
	_, err = p.Volumes().List(ctx, you)
	try("list volumes", err)
	_, err = p.Volumes().Snapshots().List(ctx, you)
	try("list snapshots", err)
	_, err = p.Account().Check(ctx, providers.Need{Owner: you})
	try("check", err)
	_, err = p.Networks().Create(ctx, providers.NetworkSpec{Owner: you, Name: "new", Zones: []string{"a"}})
	try("create network", err)
	_, err = p.Networks().Update(ctx, theirs.network.ID, providers.NetworkSpec{Owner: you, Name: "main", Zones: []string{"a"}})
	try("update network", err)
	m := providers.MachineSpec{Owner: you, Name: "m", Network: theirs.network.ID, Type: "small", Zone: "a"}
	_, err = p.Machines().Update(ctx, theirs.machine.ID, m)
	try("update machine", err)
	m.Name = "new"
	_, err = p.Machines().Create(ctx, m)
	try("create machine", err)
	_, err = p.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{Owner: you, Name: "new", Network: theirs.network.ID})
	try("create balancer", err)
	_, err = p.Volumes().Create(ctx, providers.VolumeSpec{Owner: you, Name: "new", SizeGiB: 1, Zone: "a"})
	try("create volume", err)
	_, err = p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: you, Name: "new", Volume: theirs.volume.ID})
	try("create snapshot", err)
}

// TestOwned tries through a door everything that has to do with another owner's objects: it is Denied, and nothing is changed.
func TestOwned(t *testing.T) {
	f := fake.New(fake.Options{})
	mine, theirs := furnish(t, f, "mine"), furnish(t, f, "theirs")
	before := count(t, f)
	p := through(t, Owned(f, "mine", "m"))
	all := attempts(t.Context(), p, "mine", "theirs", mine, theirs)
	for name, err := range all {
		if providers.KindOf(err) != providers.Denied {
			t.Errorf("%s: %v, want %s", name, err, providers.Denied)
		}
	}
	if len(all) != 36 {
		t.Errorf("%d attempts, want 36: two have one name", len(all))
	}
	if after := count(t, f); after != before {
		t.Errorf("there are %v of machines and volumes, before there were %v", after, before)
	}
	ownStays(t, p, mine)
}

// ownStays does with what is one's own what Owned must not be in the way of.
func ownStays(t *testing.T, p providers.Provider, mine belonging) {
	t.Helper()
	ctx := t.Context()
	if _, err := p.Volumes().Attach(ctx, mine.volume.ID, mine.machine.ID); err != nil {
		t.Error(err)
	}
	if err := p.Volumes().Detach(ctx, mine.volume.ID, mine.machine.ID); err != nil {
		t.Error(err)
	}
	if err := p.Volumes().Delete(ctx, "there-is-none"); err != nil {
		t.Errorf("deleting what there is not: %v", err)
	}
	_, err := p.Machines().Create(ctx, providers.MachineSpec{Owner: "mine", Name: "q", Network: "there-is-none", Type: "small", Zone: "a"})
	if k := providers.KindOf(err); k != providers.NotFound && k != providers.Invalid {
		t.Errorf("a machine in a network that there is not: %v", err)
	}
	if all, err := p.Machines().List(ctx, "mine"); err != nil || len(all) != 1 {
		t.Errorf("its machines: %v, %v", all, err)
	}
}

// count counts what both owners have.
func count(t *testing.T, p providers.Provider) (n [2]int) {
	t.Helper()
	for _, o := range []providers.Owner{"mine", "theirs"} {
		ms, err := p.Machines().List(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		vs, err := p.Volumes().List(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		n[0], n[1] = n[0]+len(ms), n[1]+len(vs)
	}
	return n
}
