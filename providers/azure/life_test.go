package azure

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// existing makes a virtual network of somebody else's, without the provider, and returns the resource ID of its subnet.
func existing(t *testing.T, c *azuretest.Cloud, group, cidr string) (subnet string) {
	t.Helper()
	put := func(path, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://management.azure.com"+path+"?api-version=2024-05-01", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.Do(req)
		if err != nil || resp.StatusCode > 299 {
			t.Fatalf("%s: %v, %v", path, resp, err)
		}
	}
	at := "/subscriptions/" + azuretest.Subscription + "/resourceGroups/" + group
	lower := strings.Replace(at, "resourceGroups", "resourcegroups", 1) // as the SDK has it for groups themselves
	put(lower, `{"location":"westeurope","tags":{"team":"network"}}`)
	put(at+"/providers/Microsoft.Network/virtualNetworks/office", fmt.Sprintf(
		`{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":[%q]},"subnets":[{"name":"machines","properties":{"addressPrefix":%q}}]}}`, cidr, cidr))
	for range 4 { // its operation ends
		_ = c.Look(at)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://management.azure.com"+lower+"?api-version=2024-05-01", nil)
		if _, err := c.Do(req); err != nil {
			t.Fatal(err)
		}
	}
	return at + "/providers/Microsoft.Network/virtualNetworks/office/subnets/machines"
}

// must returns the object, or ends the test.
func must[O any](t *testing.T, o O, err error) O {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// A brood is one of everything.
type brood struct {
	network          providers.Network
	machine          providers.Machine
	public, internal providers.LoadBalancer
	volume           providers.Volume
	copy             providers.Snapshot
}

// specs are those of the brood that plans make anew each time.
func (b *brood) specs() (n providers.NetworkSpec, m providers.MachineSpec, public, internal providers.LoadBalancerSpec, v providers.VolumeSpec) {
	n = providers.NetworkSpec{Owner: "demo", Name: "main", Allow: []providers.Rule{{Name: "ssh", Protocol: "tcp", Port: 22, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}}
	m = providers.MachineSpec{Owner: "demo", Name: "demo-cp-0", Pool: controlPool, Network: b.network.ID, Type: "Standard_D2s_v5"}
	public = providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: b.network.ID, Targets: []providers.ID{b.machine.ID},
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 443, TargetPort: 6443}, {Name: "dns", Protocol: "udp", Port: 53, TargetPort: 5353, HealthPort: 8080, HealthPath: "/ok"}}}
	internal = providers.LoadBalancerSpec{Owner: "demo", Name: "inside", Network: b.network.ID, Internal: true, Targets: []providers.ID{b.machine.ID},
		Ports: []providers.BalancerPort{{Protocol: "tcp", Port: 80, TargetPort: 8080, IdleSeconds: 600}}}
	v = providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 4, Zone: b.machine.Zone}
	return n, m, public, internal, v
}

// bear makes the brood.
func bear(t *testing.T, p *Provider) *brood {
	t.Helper()
	ctx, b := t.Context(), &brood{}
	n, _, _, _, _ := b.specs()
	o, err := p.Networks().Create(ctx, n)
	b.network = must(t, o, err)
	_, m, _, _, _ := b.specs()
	vm, err := p.Machines().Create(ctx, m)
	b.machine = must(t, vm, err)
	_, _, public, internal, v := b.specs()
	one, err := p.LoadBalancers().Create(ctx, public)
	b.public = must(t, one, err)
	two, err := p.LoadBalancers().Create(ctx, internal)
	b.internal = must(t, two, err)
	disk, err := p.Volumes().Create(ctx, v)
	b.volume = must(t, disk, err)
	cp, err := p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: "demo", Name: "copy", Volume: b.volume.ID})
	b.copy = must(t, cp, err)
	return b
}

// bury removes the brood.
func bury(ctx context.Context, t *testing.T, p *Provider, b *brood) {
	t.Helper()
	for what, drop := range []func() error{
		func() error { return p.LoadBalancers().Delete(ctx, b.public.ID) }, func() error { return p.LoadBalancers().Delete(ctx, b.internal.ID) },
		func() error { return p.Machines().Delete(ctx, b.machine.ID) }, func() error { return p.Volumes().Snapshots().Delete(ctx, b.copy.ID) },
		func() error { return p.Volumes().Delete(ctx, b.volume.ID) }, func() error { return p.Networks().Delete(ctx, b.network.ID) },
	} {
		if err := drop(); err != nil {
			t.Fatalf("delete %d: %v", what, err)
		}
	}
}

// life makes one of everything, changes it, and removes it.
func life(t *testing.T, p *Provider, c *azuretest.Cloud) {
	t.Helper()
	ctx, b := t.Context(), bear(t, p)
	if _, err := p.Volumes().Attach(ctx, b.volume.ID, b.machine.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Volumes().Resize(ctx, b.volume.ID, 8); err != nil {
		t.Fatal(err)
	}
	if err := p.Volumes().Detach(ctx, b.volume.ID, b.machine.ID); err != nil {
		t.Fatal(err)
	}
	again, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "restored", SizeGiB: 8, Zone: b.machine.Zone, Snapshot: b.copy.ID})
	must(t, 0, err)
	must(t, 0, p.Volumes().Delete(ctx, again.ID))
	n, m, public, _, _ := b.specs()
	n.Allow, n.Tags, m.Pool, public.Ports = nil, map[string]string{"team": "a"}, "workers", public.Ports[:1]
	_, err = p.Networks().Update(ctx, b.network.ID, n)
	must(t, 0, err)
	_, err = p.Machines().Update(ctx, b.machine.ID, m)
	must(t, 0, err)
	_, err = p.LoadBalancers().Update(ctx, b.public.ID, public)
	must(t, 0, err)
	if err := c.Stop(anchorOf(p, providers.MachineNoun, b.machine.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Machines().Create(ctx, m); err != nil && providers.KindOf(err) != providers.Exists {
		t.Fatal(err)
	}
	if _, err := p.Machines().Types(ctx); err != nil {
		t.Fatal(err)
	}
	bury(ctx, t, p, b)
}

// TestSecondApply asks for all again that is there: no request changes anything.
func TestSecondApply(t *testing.T) {
	for name, o := range map[string]Options{"public": {}, "private": {Addresses: Private, NAT: NATOne}} {
		t.Run(name, func(t *testing.T) {
			c := azuretest.New(azuretest.Options{Slow: 1, Page: 1})
			b := bear(t, open(t, c, o))
			before := len(c.Requests())
			p, ctx := open(t, c, o), t.Context() // another process: it remembers nothing
			n, m, public, internal, v := b.specs()
			var made []error
			_, err := p.Networks().Create(ctx, n)
			made = append(made, err)
			_, err = p.Machines().Create(ctx, m)
			made = append(made, err)
			_, err = p.LoadBalancers().Create(ctx, public)
			made = append(made, err)
			_, err = p.LoadBalancers().Create(ctx, internal)
			made = append(made, err)
			_, err = p.Volumes().Create(ctx, v)
			made = append(made, err)
			for i, err := range made {
				if providers.KindOf(err) != providers.Exists {
					t.Errorf("create %d: %v", i, err)
				}
			}
			_, err = p.Networks().Update(ctx, b.network.ID, n)
			must(t, 0, err)
			_, err = p.Machines().Update(ctx, b.machine.ID, m)
			must(t, 0, err)
			_, err = p.LoadBalancers().Update(ctx, b.public.ID, public)
			must(t, 0, err)
			_, err = p.LoadBalancers().Update(ctx, b.internal.ID, internal)
			must(t, 0, err)
			_, err = p.Volumes().Update(ctx, b.volume.ID, v)
			must(t, 0, err)
			inspect(t, p, wish())
			reads := 0
			for _, r := range c.Requests()[before:] {
				if reads++; r.Mutating {
					t.Errorf("the second apply asks for %s %s", r.Method, r.Path)
				}
			}
			t.Logf("%d requests, none of which changes anything", reads)
			bury(ctx, t, p, b)
		})
	}
}

// TestExistingSubnet lives in a subnet of somebody else's, which is never changed or deleted.
func TestExistingSubnet(t *testing.T) {
	c := azuretest.New(azuretest.Options{Slow: 1})
	subnet := existing(t, c, "shared", "10.99.0.0/24")
	vnet, _, _ := strings.Cut(subnet, "/subnets/")
	before, begun := fmt.Sprint(c.Look(vnet)), len(c.Requests())
	p := open(t, c, Options{Network: subnet})
	b := bear(t, p)
	if !netip.MustParsePrefix("10.99.0.0/24").Contains(b.machine.Private) || !netip.MustParsePrefix("10.99.0.0/24").Contains(b.internal.Address) {
		t.Errorf("machine at %s, internal balancer at %s", b.machine.Private, b.internal.Address)
	}
	bury(t.Context(), t, p, b)
	for _, r := range c.Requests()[begun:] {
		if r.Mutating && strings.Contains(strings.ToLower(r.Path), "/resourcegroups/shared") {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
	if after := fmt.Sprint(c.Look(vnet)); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	if left := c.Left(); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	for cidr, kind := range map[string]providers.Kind{"10.99.0.0/24": "", "10.98.0.0/24": providers.Invalid} {
		n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix(cidr)})
		if providers.KindOf(err) != kind {
			t.Errorf("range %s: %v", cidr, err)
		}
		if err == nil {
			must(t, 0, p.Networks().Delete(t.Context(), n.ID))
		}
	}
}

// TestBalancersAtAzure reads off the cloud what balancers are made of: UDP, probes, sides and who may come in.
func TestBalancersAtAzure(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	p := open(t, c, Options{})
	b := bear(t, p)
	got, err := p.LoadBalancers().Get(t.Context(), b.public.ID)
	must(t, 0, err)
	_, _, want, _, _ := b.specs()
	if fmt.Sprint(got.Ports) != fmt.Sprint(want.Ports) || got.Internal || !b.internal.Internal || !b.network.CIDR.Contains(b.internal.Address) || b.network.CIDR.Contains(got.Address) {
		t.Errorf("%+v and %+v", got, b.internal)
	}
	lb := fmt.Sprint(c.Look(anchorOf(p, providers.BalancerNoun, b.public.ID)))
	for _, words := range []string{"protocol:Udp", "protocol:Http", "requestPath:/ok", "disableOutboundSnat:true", "name:Standard"} {
		if !strings.Contains(lb, words) {
			t.Errorf("no %s in %s", words, lb)
		}
	}
	inside := fmt.Sprint(c.Look(anchorOf(p, providers.BalancerNoun, b.internal.ID)))
	if !strings.Contains(inside, "idleTimeoutInMinutes:10") || !strings.Contains(inside, "subnet:") || strings.Contains(inside, "publicIPAddress") {
		t.Error(inside)
	}
	rules := fmt.Sprint(c.Look(p.resource(networkGroup(providers.Key{Owner: "demo", Name: "main"}), firewallKind, nodesPart)))
	for _, name := range []string{"lb-api_tcp", "lb-api_udp", "lb-inside_tcp"} {
		if !strings.Contains(rules, "name:"+name) {
			t.Errorf("no rule %s in %s", name, rules)
		}
	}
	bury(t.Context(), t, p, b)
}

// TestSpot buys a machine that Azure may take away.
func TestSpot(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	p := open(t, c, Options{})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	must(t, 0, err)
	for name, spot := range map[string]bool{"demo-a-0": true, "demo-b-0": false} {
		m, err := p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: name, Network: n.ID, Type: "Standard_D2s_v5", Spot: spot})
		must(t, 0, err)
		doc := fmt.Sprint(c.Look(anchorOf(p, providers.MachineNoun, m.ID)))
		for _, words := range []string{"priority:Spot", "evictionPolicy:Delete", "maxPrice:-1"} {
			if strings.Contains(doc, words) != spot {
				t.Errorf("%s: %s is said or not said in %s", name, words, doc)
			}
		}
	}
}

// TestNothingThere lists what an owner has who has nothing, as often as one likes.
func TestNothingThere(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	for range 2 {
		p, ctx := open(t, c, Options{}), t.Context()
		n, err := p.Networks().List(ctx, "nobody")
		must(t, 0, err)
		m, err := p.Machines().List(ctx, "nobody")
		must(t, 0, err)
		b, err := p.LoadBalancers().List(ctx, "nobody")
		must(t, 0, err)
		v, err := p.Volumes().List(ctx, "nobody")
		must(t, 0, err)
		s, err := p.Volumes().Snapshots().List(ctx, "nobody")
		must(t, 0, err)
		if len(n)+len(m)+len(b)+len(v)+len(s) > 0 {
			t.Errorf("%v %v %v %v %v", n, m, b, v, s)
		}
	}
	report(t, c)
}

// TestTagsOfTheEngine lets a cluster's ID through, which plans put on all that they make, and not the tags that the provider writes.
func TestTagsOfTheEngine(t *testing.T) {
	for name, ok := range map[string]bool{"provision.sh/uid": true, "team": true, providers.OwnerTag: false, "Provision.SH/Owner": false, networkTag: false, "hidden-title": false} {
		if err := checkTags(map[string]string{name: "x"}); (err == nil) != ok {
			t.Errorf("tag %s: %v", name, err)
		}
	}
}

// TestBalancerGoesWithItsMachines deletes a balancer and its targets at once, as destroy does: no machine that takes itself out of the
// balancer makes it anew, or fails because parts of it are gone.
func TestBalancerGoesWithItsMachines(t *testing.T) {
	c := azuretest.New(azuretest.Options{Slow: 3})
	p := open(t, c, Options{})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	must(t, n, err)
	for round := range 5 {
		var targets []providers.ID
		for i := range 3 {
			m, err := p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: fmt.Sprintf("m-%d-%d", round, i), Network: n.ID, Type: "Standard_B2s"})
			targets = append(targets, must(t, m, err).ID)
		}
		b, err := p.LoadBalancers().Create(t.Context(), providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Targets: targets,
			Ports: []providers.BalancerPort{{Protocol: "tcp", Port: 6443, TargetPort: 6443}}})
		must(t, b, err)
		var all sync.WaitGroup
		all.Go(func() {
			if err := p.LoadBalancers().Delete(t.Context(), b.ID); err != nil {
				t.Error(err)
			}
		})
		for _, m := range targets {
			all.Go(func() {
				if err := p.Machines().Delete(t.Context(), m); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		left, err := p.LoadBalancers().List(t.Context(), "demo")
		if must(t, left, err); len(left) > 0 {
			t.Fatalf("round %d: %d balancers are left", round, len(left))
		}
	}
}
