package azure

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
	"github.com/provisionhq/provision/providers/providertest"
)

// open returns a provider at a cloud.
func open(t *testing.T, c *azuretest.Cloud, o Options) *Provider {
	t.Helper()
	o.Subscription, o.Location, o.Transport, o.Credential = azuretest.Subscription, azuretest.Location, c, azuretest.Credential{}
	if o.Pace == 0 {
		o.Pace, o.Patience, o.Lag = time.Millisecond, 20*time.Second, 100*time.Millisecond
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// anchorOf is the resource that bears the tags of an object.
func anchorOf(p *Provider, n providers.Noun, of providers.ID) string {
	i, _ := parse(n, of)
	switch n {
	case providers.NetworkNoun:
		return p.scope(i.group)
	case providers.MachineNoun:
		return p.resource(i.group, vmKind, i.name)
	case providers.BalancerNoun:
		return p.resource(i.group, lbKind, i.name)
	case providers.VolumeNoun:
		return p.resource(i.group, diskKind, i.name)
	}
	return p.resource(i.group, snapshotKind, i.name)
}

// fixture is all that the suite can use of the provider.
func fixture(p *Provider, c *azuretest.Cloud) providertest.Fixture {
	return providertest.Fixture{
		Provider: p,
		Type:     "Standard_B2s",
		Writes:   c.Writes,
		Stop:     func(_ context.Context, id providers.ID) error { return c.Stop(anchorOf(p, providers.MachineNoun, id)) },
		Strip: func(_ context.Context, n providers.Noun, id providers.ID, tags ...string) error {
			var names []string
			for _, t := range tags {
				names = append(names, encode(t))
			}
			return c.Strip(anchorOf(p, n, id), names...)
		},
	}
}

// TestProvider holds the provider to the contract, at a cloud that is like Azure.
func TestProvider(t *testing.T) {
	for name, o := range map[string]Options{"public": {}, "private": {Addresses: Private, NAT: NATOne}} {
		t.Run(name, func(t *testing.T) {
			c := azuretest.New(azuretest.Options{Page: 3, Slow: 6, Late: 3, Rate: 40})
			p := open(t, c, o)
			providertest.Run(t, func(*testing.T) providertest.Fixture { return fixture(p, c) })
			t.Cleanup(func() { report(t, c) })
		})
	}
}

// report logs what was asked of the cloud, and fails if it is not empty or was asked what it cannot do.
func report(t *testing.T, c *azuretest.Cloud) {
	t.Helper()
	reads, writes, throttled := 0, 0, 0
	for _, r := range c.Requests() {
		switch {
		case r.Status == 429:
			throttled++
		case r.Mutating:
			writes++
		default:
			reads++
		}
		if r.API == "" || r.Status == 500 {
			t.Errorf("the cloud cannot do %s %s", r.Method, r.Path)
		}
	}
	t.Logf("%d requests that read, %d that write, %d throttled", reads, writes, throttled)
}

// TestCutAnywhere runs the suite with every place cut where the connection can break: before the effect of each request that
// changes something, and after it.
func TestCutAnywhere(t *testing.T) {
	c := azuretest.New(azuretest.Options{Slow: 3, Late: 1})
	p := open(t, c, Options{NAT: NATOne})
	cuts := 0
	providertest.Run(t, func(*testing.T) providertest.Fixture {
		f := fixture(p, c)
		f.Cut = func(n int) func() bool {
			heal := c.Cut(n)
			return func() bool {
				reached := heal()
				if reached {
					cuts++
				}
				return reached
			}
		}
		return f
	})
	t.Logf("%d cuts, each before or after the effect of a request", cuts)
	if cuts < 100 {
		t.Errorf("%d cuts are fewer than there are places", cuts)
	}
	report(t, c)
}

// TestNothingIsLeft deletes all that there can be, and looks at the cloud itself.
func TestNothingIsLeft(t *testing.T) {
	c := azuretest.New(azuretest.Options{Slow: 2, Late: 1})
	p := open(t, c, Options{NAT: NATOne})
	ctx := t.Context()
	n, err := p.Networks().Create(ctx, providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Machines().Create(ctx, providers.MachineSpec{Owner: "demo", Name: "demo-cp-0", Pool: controlPool, Network: n.ID, Type: "Standard_B2s"})
	if err != nil {
		t.Fatal(err)
	}
	data := c.CustomData(anchorOf(p, providers.MachineNoun, m.ID))
	if data == "" || strings.Contains(m.HostKeys[0], "PRIVATE") {
		t.Errorf("custom data %q, host keys %v", data, m.HostKeys)
	}
	v, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 4, Zone: m.Zone})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Machines().Delete(ctx, m.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.Networks().Delete(ctx, n.ID); err != nil {
		t.Fatal(err)
	}
	if left := c.Left(); len(left) != 2 { // the volume and its group
		t.Errorf("beside a volume there is %v", left)
	}
	if err := p.Volumes().Delete(ctx, v.ID); err != nil {
		t.Fatal(err)
	}
	if left := c.Left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCapacity lets Azure find no room, at the end of an operation, and makes the machine at the next try.
func TestCapacity(t *testing.T) {
	c := azuretest.New(azuretest.Options{Slow: 2})
	p := open(t, c, Options{})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	c.NoCapacity(1)
	spec := providers.MachineSpec{Owner: "demo", Name: "demo-a-0", Network: n.ID, Type: "Standard_B2s"}
	if _, err := p.Machines().Create(t.Context(), spec); providers.KindOf(err) != providers.Capacity || !strings.Contains(err.Error(), "ZonalAllocationFailed") {
		t.Errorf("without room: %v", err)
	}
	if m, err := p.Machines().Create(t.Context(), spec); err != nil || m.State != providers.Running {
		t.Errorf("with room: %+v, %v", m, err)
	}
}
