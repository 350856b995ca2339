package engine

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// A Way is a machine of the cluster, and how to get there.
type Way struct {
	Machine providers.Machine
	Role    templates.Role
	Dial    func(context.Context) (ssh.Host, error) // a connection of its own, for the caller to close
}

// Ways finds the cluster's machines that can answer SSH, without connecting to them; those that are stopped are among them, though
// nothing answers there. The engine has to stay open while they are used: it has the bastions.
func (e *Engine) Ways(ctx context.Context) ([]Way, error) {
	if err := e.find(ctx); err != nil {
		return nil, err
	}
	return e.waysThere(), nil
}

// waysThere are the ways to the machines that were found.
func (e *Engine) waysThere() (ws []Way) {
	for _, m := range e.world.Machines {
		// One that is stopped may have lost its address, and is partial to some vendors: what is missing is that it runs.
		down := m.State == providers.Stopped && !e.Provider.Caps().Simulated
		if !down && (m.Partial || !m.SSH.IsValid()) {
			continue
		}
		w := Way{Machine: m, Role: templates.Worker, Dial: func(ctx context.Context) (ssh.Host, error) { return e.dial(ctx, m) }}
		if m.Pool == plan.ControlPlanePool {
			w.Role = templates.ControlPlane
		}
		if down {
			w.Dial = func(context.Context) (ssh.Host, error) { return nil, fmt.Errorf("%s: the machine is stopped", m.Name) }
		}
		ws = append(ws, w)
	}
	return ws
}
