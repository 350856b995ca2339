package main

import (
	"context"

	"github.com/provisionhq/provision/controlplane/autoscaler"
	"github.com/provisionhq/provision/controlplane/ccm"
)

// A part is one of the things that a cloud agent does. Each elects its own leader where it must not run twice.
type part struct {
	name   string
	needed func(*agent) bool
	run    func(context.Context, *agent) error // until the context ends; an error ends the process
}

// parts are all of them.
func parts() []part {
	return []part{
		{"ccm", always, runCCM},
		{"csi", hasVolumes, runCSI},
		{"autoscaler", canMake, runAutoscaler},
	}
}

func always(*agent) bool { return true }

// canMake says whether machines can be made from here. Whether the cluster has a pool for that is for the part to see: one that it had may have left
// machines.
func canMake(a *agent) bool { return a.provider != nil && !a.cloud.Blind }

func runAutoscaler(ctx context.Context, a *agent) error {
	return autoscaler.Run(ctx, autoscaler.Options{Cloud: a.cloud, Provider: a.provider, Config: a.config, Elect: true})
}

func runCCM(ctx context.Context, a *agent) error {
	return ccm.Run(ctx, ccm.Options{Cloud: a.cloud, Provider: a.provider, Client: a.client, Identity: a.identity})
}
