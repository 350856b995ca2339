// Command provision-provider-rack is a provider plug-in to copy from: a rack of machines that exist as files in a folder.
//
// Files of a folder stand where a vendor's API would be: kinds.go is what differs from one kind of objects to the next,
// objects.go the five verbs that all kinds have, account.go what is asked before them, folder.go the "vendor". Only
// this file knows of plug-ins.
package main

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote"
)

// name is the provider's: of the block in cluster.hcl, at the end of the program's name, and the scheme of node IDs.
const name = "rack"

func main() { remote.Serve(remote.Plugin{Name: name, Open: open}) }

// open returns the provider that the attributes of the block describe.
func open(_ context.Context, attributes map[string]any) (providers.Provider, error) {
	if err := providers.KnownAttributes(name, attributes, "folder", "slots"); err != nil {
		return nil, err
	}
	folder, err := providers.TextAttribute(name, attributes, "folder")
	if err != nil {
		return nil, err
	}
	if folder == "" {
		return nil, fmt.Errorf("provider %s: %w: it needs the attribute folder", name, providers.Invalid)
	}
	slots, ok := attributes["slots"].(int64)
	if _, given := attributes["slots"]; given && (!ok || slots < 1) {
		return nil, fmt.Errorf("provider %s: %w: slots must be a number from 1", name, providers.Invalid)
	}
	return &Rack{folder: folder, slots: int(slots)}, nil
}

// A Rack is the provider. Its methods are safe for concurrent use, also by several processes.
type Rack struct {
	folder string
	slots  int // that machines can be put in; 0: as many as are asked for
}

// Name returns "rack".
func (*Rack) Name() string { return name }

// Caps says that it has machines and networks. Simulated, because nothing answers SSH; a real vendor leaves that out.
func (*Rack) Caps() providers.Caps { return providers.Caps{Arch: []string{"amd64"}, Simulated: true} }

// Networks returns the networks.
func (r *Rack) Networks() providers.Networks { return networks(r) }

// Machines returns the machines.
func (r *Rack) Machines() providers.Machines { return machines{machineObjects(r)} }

// LoadBalancers returns none: a rack has no balancers, and Caps says so.
func (*Rack) LoadBalancers() providers.LoadBalancers { return providers.NoLoadBalancers{} }

// Volumes returns none.
func (*Rack) Volumes() providers.Volumes { return providers.NoVolumes{} }
