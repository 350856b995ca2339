package main

import (
	"context"
	"errors"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// named is the fake under this plug-in's name, which its node IDs begin with. It may lie.
type named struct {
	providers.Provider
	lie  string
	path string
}

// Name returns "fakeplug".
func (named) Name() string { return name }

// Caps says besides that a cloud agent can use the file, if there is one.
func (n named) Caps() providers.Caps {
	c := n.Provider.Caps()
	if n.path != "" {
		c.Inside = &providers.Inside{Attributes: map[string]any{"path": n.path}}
	}
	return c
}

// Machines returns the fake's, with node IDs of this provider.
func (n named) Machines() providers.Machines { return machines{n.Provider.Machines(), n.lie} }

type machines struct {
	providers.Machines
	lie string
}

func renamed(m providers.Machine, err error) (providers.Machine, error) {
	if path, ok := strings.CutPrefix(m.NodeID, "fake://"); ok {
		m.NodeID = name + "://" + path
	}
	return m, err
}

func (m machines) Create(ctx context.Context, s providers.MachineSpec) (providers.Machine, error) {
	got, err := renamed(m.Machines.Create(ctx, s))
	switch {
	case m.lie == "owner":
		got.Owner = "somebody"
	case m.lie == "kind" && err == nil:
		err = errors.New("something odd happened")
	}
	return got, err
}

func (m machines) Get(ctx context.Context, id providers.ID) (providers.Machine, error) {
	return renamed(m.Machines.Get(ctx, id))
}

func (m machines) Update(ctx context.Context, id providers.ID, s providers.MachineSpec) (providers.Machine, error) {
	return renamed(m.Machines.Update(ctx, id, s))
}

func (m machines) List(ctx context.Context, o providers.Owner) ([]providers.Machine, error) {
	all, err := m.Machines.List(ctx, o)
	for i := range all {
		all[i], _ = renamed(all[i], nil)
	}
	return all, err
}
