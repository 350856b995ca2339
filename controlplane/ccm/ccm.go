// Package ccm is the cloud controller manager: it completes nodes with what their machines are, deletes nodes whose
// machines are gone, and gives Services of type LoadBalancer their addresses. It sees package providers and no vendor.
//
// The controllers are upstream's own (k8s.io/cloud-provider). What they ask for, every few seconds for every node, is
// answered from lists of the vendor's objects that are read anew only when something may have changed: the number of the
// vendor's calls grows with changes and not with nodes, Services or time.
package ccm

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Options are what the controllers work with.
type Options struct {
	Cloud    templates.Cloud
	Provider providers.Provider // nil: Cloud.Machines is all that there is to know
	Client   kubernetes.Interface
	Identity string // of this agent among those that may lead
}

// LeaseName is the name of the Lease, in kube-system, that the agents of a vendor elect their leader by.
func LeaseName(vendor string) string { return "provision-ccm-" + vendor }

// Times of the election: a leader that is lost is followed after 15 s; announced addresses do not wait for it.
const (
	leaseTime  = 15 * time.Second
	renewTime  = 10 * time.Second
	electEvery = 2 * time.Second
)

// errLostLease says that another agent leads. What upstream's controllers were doing cannot be waited for, so whoever
// gets this error ends its process.
var errLostLease = errors.New("cloud controller manager: another agent leads now")

// Run takes part in the election and runs the controllers while it leads. It returns nil when the context ends, and an
// error if it lost the lead: the process is to end then.
func Run(ctx context.Context, o Options) error {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, metav1.NamespaceSystem, LeaseName(o.Cloud.Vendor), o.Client.CoreV1(),
		o.Client.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: o.Identity})
	if err != nil {
		return fmt.Errorf("cloud controller manager: %w", err)
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseTime, RenewDeadline: renewTime, RetryPeriod: electEvery, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				if err := Lead(ctx, o); err != nil {
					cancel(fmt.Errorf("cloud controller manager: %w", err))
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("cloud controller manager: %w", err)
	}
	e.Run(within)
	switch {
	case ctx.Err() != nil:
		return nil
	case within.Err() != nil:
		return context.Cause(within)
	}
	return errLostLease
}
