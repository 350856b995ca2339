//go:build !linux

package local

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/provisionhq/provision/providers"
)

// Machine runs what a machine is made of; on this system there are none.
func Machine([]string) (ran bool, code int) { return false, 0 }

// Clear has nothing to remove.
func Clear(context.Context, string, func(providers.Owner) bool) (int, error) { return 0, nil }

// A Door is what DoorMain serves.
type Door struct {
	Provider *Provider
	Machine  providers.Key
}

// DoorMain is the process of a door; on this system there is none.
func DoorMain([]string, func(Door, net.Listener) error) int { return 1 }

func unsupported() error {
	return fmt.Errorf("provider local: %w: machines on the host at hand need Linux, this is %s", providers.Unsupported, runtime.GOOS)
}

type networks struct{ p *Provider }

// Create returns Unsupported.
func (networks) Create(context.Context, providers.NetworkSpec) (providers.Network, error) {
	return providers.Network{}, unsupported()
}

// Get returns Unsupported.
func (networks) Get(context.Context, providers.ID) (providers.Network, error) {
	return providers.Network{}, unsupported()
}

// List returns Unsupported.
func (networks) List(context.Context, providers.Owner) ([]providers.Network, error) {
	return nil, unsupported()
}

// Delete returns Unsupported.
func (networks) Delete(context.Context, providers.ID) error { return unsupported() }

// Update returns Unsupported.
func (networks) Update(context.Context, providers.ID, providers.NetworkSpec) (providers.Network, error) {
	return providers.Network{}, unsupported()
}

type machines struct{ p *Provider }

// Create returns Unsupported.
func (machines) Create(context.Context, providers.MachineSpec) (providers.Machine, error) {
	return providers.Machine{}, unsupported()
}

// Get returns Unsupported.
func (machines) Get(context.Context, providers.ID) (providers.Machine, error) {
	return providers.Machine{}, unsupported()
}

// List returns Unsupported.
func (machines) List(context.Context, providers.Owner) ([]providers.Machine, error) {
	return nil, unsupported()
}

// Delete returns Unsupported.
func (machines) Delete(context.Context, providers.ID) error { return unsupported() }

// Update returns Unsupported.
func (machines) Update(context.Context, providers.ID, providers.MachineSpec) (providers.Machine, error) {
	return providers.Machine{}, unsupported()
}

// Types returns Unsupported.
func (machines) Types(context.Context) ([]providers.MachineType, error) { return nil, unsupported() }

// Volumes returns a value whose methods return Unsupported.
func (*Provider) Volumes() providers.Volumes { return providers.NoVolumes{} }

type balancers struct{ p *Provider }

// Create returns Unsupported.
func (balancers) Create(context.Context, providers.LoadBalancerSpec) (providers.LoadBalancer, error) {
	return providers.LoadBalancer{}, unsupported()
}

// Get returns Unsupported.
func (balancers) Get(context.Context, providers.ID) (providers.LoadBalancer, error) {
	return providers.LoadBalancer{}, unsupported()
}

// List returns Unsupported.
func (balancers) List(context.Context, providers.Owner) ([]providers.LoadBalancer, error) {
	return nil, unsupported()
}

// Delete returns Unsupported.
func (balancers) Delete(context.Context, providers.ID) error { return unsupported() }

// Update returns Unsupported.
func (balancers) Update(context.Context, providers.ID, providers.LoadBalancerSpec) (providers.LoadBalancer, error) {
	return providers.LoadBalancer{}, unsupported()
}
