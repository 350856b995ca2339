//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/cloudinit"
	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// microsoft is Azure in a box: azuretest keeps the API's state, the rack has the machines.
//
// A machine's public address is its private one, and a balancer's is one of its network's.
type microsoft struct {
	rack   *rack.Rack
	cloud  *azuretest.Cloud
	server *http.Server
	at     string
}

func openMicrosoft(_ context.Context, o options) (vendor, error) {
	m := &microsoft{rack: rack.New(rack.Folder(o.folder), nil)}
	m.cloud = azuretest.New(azuretest.Options{Anywhere: true, Hardware: azuretest.Hardware{
		Network:     func(ctx context.Context, n azuretest.Network) error { return m.rack.Network(ctx, n.Label, n.CIDR) },
		DropNetwork: m.rack.DropNetwork,
		Start:       m.start,
		Stop:        m.rack.StopNow,
		Drop:        m.rack.EndNow,
		Balance:     m.balance,
		DropBalance: m.rack.DropFront,
	}, Log: func(r azuretest.Request) {
		o.entry(entry{Service: "arm", Action: r.API, Mutating: r.Mutating, Status: r.Status})
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m.at = "http://" + l.Addr().String()
	m.server = &http.Server{Handler: m.cloud, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = m.server.Serve(l) }() // until close
	return m, nil
}

func (m *microsoft) endpoint() string { return m.at }

func (m *microsoft) environment() map[string]string {
	return map[string]string{"AZURE_RESOURCE_MANAGER_ENDPOINT": m.at, "AZURE_SUBSCRIPTION_ID": azuretest.Subscription}
}

func (m *microsoft) close(ctx context.Context) error {
	err := m.server.Close()
	m.cloud.Close()
	return errors.Join(err, m.rack.Clear(ctx))
}

// start runs a machine.
func (m *microsoft) start(ctx context.Context, v azuretest.Machine) (netip.Addr, error) {
	config, err := cloudinit.Parse(v.CustomData)
	if err != nil {
		return netip.Addr{}, err
	}
	if config.Hostname == "" {
		config.Hostname = v.Hostname
	}
	return v.Private, m.rack.RunNow(ctx, rack.Order{ID: v.Label, Network: v.Network, Address: v.Private, CPUs: v.CPUs, Memory: v.MemoryMiB, Config: config})
}

// balance makes a balancer what the API says.
func (m *microsoft) balance(ctx context.Context, b azuretest.Balancer) (netip.Addr, error) {
	f := rack.Front{Name: b.Label, Network: b.Network}
	if f.Network == "" {
		all := m.rack.Networks()
		if len(all) != 1 {
			return netip.Addr{}, fmt.Errorf("the box has %d networks, and balancer %s says not which it is in", len(all), b.Name)
		}
		f.Network = all[0]
	}
	if b.Internal {
		f.Address = b.Address
	}
	for _, p := range b.Ports {
		f.Ports = append(f.Ports, providers.BalancerPort{Protocol: p.Protocol, Port: p.Port, TargetPort: p.TargetPort, HealthPort: p.HealthPort, HealthPath: p.HealthPath})
	}
	for _, t := range b.Backends {
		if t.Machine != "" {
			f.Targets = append(f.Targets, t.Machine)
		}
	}
	return m.rack.SetFront(ctx, f)
}
