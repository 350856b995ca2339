package main

import (
	"context"

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
	}
}

func always(*agent) bool { return true }

func runCCM(ctx context.Context, a *agent) error {
	return ccm.Run(ctx, ccm.Options{Cloud: a.cloud, Provider: a.provider, Client: a.client, Identity: a.identity})
}
