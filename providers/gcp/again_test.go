package gcp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// cluster is one of each kind, with the specs that they were made from.
type cluster struct {
	network  providers.NetworkSpec
	machine  providers.MachineSpec
	balancer providers.LoadBalancerSpec
	volume   providers.VolumeSpec
	snapshot providers.SnapshotSpec

	ids map[providers.Noun]providers.ID
}

// built makes one of each kind; the volume is at the machine.
func built(t *testing.T, p *Provider) *cluster {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tags := map[string]string{"team": "core", "Cost Center": "7"}
	c := &cluster{ids: map[providers.Noun]providers.ID{}}
	from := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	c.network = providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.20.0.0/16"), Tags: tags, Allow: []providers.Rule{{Name: "ssh", Protocol: "tcp", Port: 22, Sources: from}}}
	n, err := p.Networks().Create(t.Context(), c.network)
	must(err)
	c.machine = node(n, "demo-cp-0", controlPool)
	c.machine.Tags = tags
	m, err := p.Machines().Create(t.Context(), c.machine)
	must(err)
	c.balancer = providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Targets: []providers.ID{m.ID}, Sources: from, Tags: tags,
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 6443, TargetPort: 6443}}}
	b, err := p.LoadBalancers().Create(t.Context(), c.balancer)
	must(err)
	c.volume = providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 20, Zone: m.Zone, Tags: tags}
	v, err := p.Volumes().Create(t.Context(), c.volume)
	must(err)
	_, err = p.Volumes().Attach(t.Context(), v.ID, m.ID)
	must(err)
	c.snapshot = providers.SnapshotSpec{Owner: "demo", Name: "copy", Volume: v.ID, Tags: tags}
	s, err := p.Volumes().Snapshots().Create(t.Context(), c.snapshot)
	must(err)
	c.ids = map[providers.Noun]providers.ID{providers.NetworkNoun: n.ID, providers.MachineNoun: m.ID, providers.BalancerNoun: b.ID, providers.VolumeNoun: v.ID, providers.SnapshotNoun: s.ID}
	return c
}

// remove removes all that was built, through every verb that takes something away.
func (c *cluster) remove(t *testing.T, p *Provider) {
	t.Helper()
	for _, err := range []error{
		p.Volumes().Detach(t.Context(), c.ids[providers.VolumeNoun], c.ids[providers.MachineNoun]),
		p.Volumes().Snapshots().Delete(t.Context(), c.ids[providers.SnapshotNoun]),
		p.Volumes().Delete(t.Context(), c.ids[providers.VolumeNoun]),
		p.LoadBalancers().Delete(t.Context(), c.ids[providers.BalancerNoun]),
		p.Machines().Delete(t.Context(), c.ids[providers.MachineNoun]),
		p.Networks().Delete(t.Context(), c.ids[providers.NetworkNoun]),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestSecondApplyChangesNothing gives a provider that knows nothing the specs of what is there: it may ask, and nothing else.
func TestSecondApplyChangesNothing(t *testing.T) {
	c := built(t, open(t, gcptest.Options{}, Options{NAT: NATOne}))
	before := len(cloud.Requests())
	p := again(t, Options{NAT: NATOne})
	kinds := map[string]func() error{
		"network":  func() error { return settled(t, p.Networks(), c.network, c.ids[providers.NetworkNoun]) },
		"machine":  func() error { return settled(t, p.Machines(), c.machine, c.ids[providers.MachineNoun]) },
		"balancer": func() error { return settled(t, p.LoadBalancers(), c.balancer, c.ids[providers.BalancerNoun]) },
		"volume":   func() error { return settled(t, p.Volumes(), c.volume, c.ids[providers.VolumeNoun]) },
		"snapshot": func() error { return settled(t, p.Volumes().Snapshots(), c.snapshot, c.ids[providers.SnapshotNoun]) },
	}
	for what, again := range kinds {
		if err := again(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := p.Volumes().Attach(t.Context(), c.ids[providers.VolumeNoun], c.ids[providers.MachineNoun]); err != nil {
		t.Error(err)
	}
	checked(t, p, needed())
	all := cloud.Requests()[before:]
	for _, q := range all {
		if q.Mutating {
			t.Errorf("a second apply asks for %s %s: %s", q.Method, q.Path, q.Body)
		}
	}
	if len(all) < 20 {
		t.Errorf("a second apply asked %d times: it did not look", len(all))
	}
	t.Logf("%d requests, none of which changes something", len(all))
}

// settled lists, reads, creates and updates an object that is what its spec says.
func settled[S any, O providers.Identified](t *testing.T, w providers.Objects[S, O], spec S, id providers.ID) error {
	if all, err := w.List(t.Context(), "demo"); err != nil || len(all) != 1 || all[0].GetMeta().Partial {
		t.Errorf("List: %+v, %v", all, err)
	}
	if _, err := w.Get(t.Context(), id); err != nil {
		return err
	}
	if _, err := w.Create(t.Context(), spec); providers.KindOf(err) != providers.Exists {
		t.Errorf("Create again: %v, want exists", err)
	}
	_, err := w.Update(t.Context(), id, spec)
	return err
}

// TestAnywhere makes and removes a cluster of a project and in a region that the file names and the cloud has not heard of.
func TestAnywhere(t *testing.T) {
	cloud.Reset(gcptest.Options{Anywhere: true})
	p, err := New(t.Context(), Options{Endpoint: cloud.URL, Project: "my-project-1", Region: "us-central1", NAT: NATOne, ServiceAccount: "nodes@my-project-1.iam.gserviceaccount.com"})
	if err != nil {
		t.Fatal(err)
	}
	c := built(t, p)
	m, err := p.Machines().Get(t.Context(), c.ids[providers.MachineNoun])
	if want := "gce://my-project-1/us-central1-a/"; err != nil || !strings.HasPrefix(m.NodeID, want) {
		t.Errorf("the machine is %s, want %s… (%v)", m.NodeID, want, err)
	}
	if r := checked(t, p, needed()); len(r.Problems)+len(r.Missing)+len(r.Unseen) > 0 {
		t.Errorf("the account: %+v", r)
	}
	c.remove(t, p)
	if left := cloud.Leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
