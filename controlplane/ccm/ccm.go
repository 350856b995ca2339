// Package ccm is the cloud controller manager: it completes nodes with what their machines are, deletes nodes whose
// machines are gone, and gives Services of type LoadBalancer their addresses. It sees package providers and no vendor.
//
// The controllers are upstream's own (k8s.io/cloud-provider). What they ask for, every few seconds for every node, is
// answered from lists of the vendor's objects that are read anew only when something may have changed: the number of the
// vendor's calls grows with changes and not with nodes, Services or time.
package ccm

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"

	"github.com/provisionhq/provision/controlplane/election"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Options are what the controllers work with.
type Options struct {
	Cloud    templates.Cloud
	Provider providers.Provider // nil if Cloud is Blind
	Client   kubernetes.Interface
	Identity string // of this agent among those that may lead
}

// LeaseName is the name of the Lease, in kube-system, that the agents of a vendor elect their leader by.
func LeaseName(vendor string) string { return "provision-ccm-" + vendor }

// Run takes part in the election and runs the controllers while it leads. It returns nil when the context ends, and an
// error if it lost the lead: the process is to end then.
func Run(ctx context.Context, o Options) error {
	seat := election.Seat{Lease: LeaseName(o.Cloud.Vendor), Client: o.Client, Identity: o.Identity}
	if err := election.Run(ctx, seat, func(ctx context.Context) error { return Lead(ctx, o) }); err != nil {
		return fmt.Errorf("cloud controller manager: %w", err)
	}
	return nil
}
