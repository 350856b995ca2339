//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/cloudinit"
	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// google is Compute Engine in a box: gcptest keeps the API's state, the rack has the machines.
//
// An instance's public address is its private one. A balancer's address is one of its network's; where the API does not say which
// network that is, as for one that the internet reaches, there must be only one. A startup script runs at the first boot alone.
type google struct {
	rack  *rack.Rack
	cloud *gcptest.Cloud
	log   *tail

	mu    sync.Mutex
	named map[string]string         // number of an instance, by zone and name
	at    map[netip.Addr]rack.Front // balancers, by their address
}

func openGoogle(ctx context.Context, o options) (vendor, error) {
	g := &google{rack: rack.New(rack.Folder(o.folder), nil), named: map[string]string{}, at: map[netip.Addr]rack.Front{}}
	var err error
	g.cloud, err = gcptest.New(gcptest.Options{Hooks: gcptest.Hooks{
		MakeNetwork: func(n gcptest.Network) error { return g.rack.Network(ctx, n.Name, n.Range) },
		DropNetwork: func(n gcptest.Network) error { return g.rack.DropNetwork(ctx, n.Name) },
		Start:       func(i gcptest.Instance) (private, public netip.Addr, err error) { return g.start(ctx, i) },
		Stop:        func(i gcptest.Instance) error { return g.rack.StopNow(ctx, label(i.Number)) },
		Delete:      func(i gcptest.Instance) error { return g.rack.EndNow(ctx, label(i.Number)) },
		Console:     func(i gcptest.Instance) string { return g.rack.Console(label(i.Number)) },
		Reserve:     func(r gcptest.Reservation) (netip.Addr, error) { return g.reserve(ctx, r) },
		Release:     func(r gcptest.Reservation) error { return g.rack.DropFront(ctx, r.Name) },
		Forward:     func(b gcptest.Balancer) error { return g.forward(ctx, b) },
		Unforward:   func(b gcptest.Balancer) error { return g.forward(ctx, gcptest.Balancer{Address: b.Address}) },
	}})
	if err != nil {
		return nil, err
	}
	g.log = follow(o.entry, func(from int) (all []entry) {
		for _, r := range g.cloud.Requests()[from:] {
			all = append(all, entry{Service: "compute", Action: r.Method, Mutating: r.Mutating, Status: r.Status, Code: r.Reason})
		}
		return all
	})
	return g, nil
}

// label is the rack's name of an instance.
func label(number uint64) string { return fmt.Sprintf("i-%d", number) }

func (g *google) endpoint() string { return g.cloud.URL }

func (g *google) environment() map[string]string {
	return map[string]string{"GOOGLE_CLOUD_PROJECT": gcptest.Project, "CLOUDSDK_CORE_PROJECT": gcptest.Project,
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": g.cloud.URL + "/compute/v1/", "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true"}
}

func (g *google) close(ctx context.Context) error {
	g.cloud.Close()
	g.log.end()
	return g.rack.Clear(ctx)
}

// start runs the machine behind an instance.
func (g *google) start(ctx context.Context, i gcptest.Instance) (private, public netip.Addr, err error) {
	config, err := cloudinit.Parse([]byte(i.Metadata["startup-script"]))
	if err != nil {
		return private, public, err
	}
	if i.Metadata["user-data"] != "" {
		return private, public, fmt.Errorf("metadata user-data: the images that the box stands in for have no cloud-init")
	}
	config.Hostname = i.Name
	g.mu.Lock()
	g.named[i.Zone+"/"+i.Name] = label(i.Number)
	g.mu.Unlock()
	err = g.rack.RunNow(ctx, rack.Order{ID: label(i.Number), Network: i.Network.Name, Address: i.Private, CPUs: i.CPUs, Memory: i.MemoryMiB, Config: config})
	if i.Public {
		public = i.Private
	}
	return i.Private, public, err
}

// reserve makes a balancer that forwards nothing yet, for its address.
func (g *google) reserve(ctx context.Context, r gcptest.Reservation) (netip.Addr, error) {
	f := rack.Front{Name: r.Name, Network: r.Network.Name}
	if f.Network == "" {
		all := g.rack.Networks()
		if len(all) != 1 {
			return netip.Addr{}, fmt.Errorf("the box has %d networks, and an address on the internet can be in one alone", len(all))
		}
		f.Network = all[0]
	}
	a, err := g.rack.SetFront(ctx, f)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.at[a] = f
	}
	return a, err
}

// forward makes a balancer lead where the API says.
func (g *google) forward(ctx context.Context, b gcptest.Balancer) error {
	g.mu.Lock()
	f, ok := g.at[b.Address]
	for _, t := range b.Targets {
		if id := g.named[t.Zone+"/"+t.Name]; t.Running && id != "" {
			f.Targets = append(f.Targets, id)
		}
	}
	g.mu.Unlock()
	if !ok {
		return fmt.Errorf("balancer %s: %s is no address of the box's", b.Name, b.Address)
	}
	seen := map[string]bool{}
	for _, p := range b.Ports {
		for n := p.First; n <= p.Last; n++ {
			if key := fmt.Sprint(p.Protocol, n); !seen[key] {
				seen[key] = true
				f.Ports = append(f.Ports, providers.BalancerPort{Protocol: p.Protocol, Port: n, TargetPort: n, HealthPort: b.Health.Port, HealthPath: b.Health.Path})
			}
		}
	}
	_, err := g.rack.SetFront(ctx, f)
	return err
}
