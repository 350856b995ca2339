// Package election lets one of the cloud agents of a cluster do what must not be done twice.
package election

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of the election, which are Kubernetes' own: a leader that is lost is followed after 15 s.
const (
	LeaseTime  = 15 * time.Second
	RenewTime  = 10 * time.Second // a leader that could not renew its lease for so long is none
	electEvery = 2 * time.Second
)

// ErrLost says that another agent leads. What upstream's controllers were doing cannot be waited for, so whoever gets this error
// ends its process.
var ErrLost = errors.New("another agent leads now")

// A Seat is what is stood for.
type Seat struct {
	Lease    string // name of the Lease, in kube-system
	Client   kubernetes.Interface
	Identity string // of this agent among those that may lead
}

// Run stands for the seat and calls lead when it has it, with a context that ends when it is lost. Run returns nil when its own context
// ends, the error that lead returned, or ErrLost.
func Run(ctx context.Context, s Seat, lead func(context.Context) error) error {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, metav1.NamespaceSystem, s.Lease, s.Client.CoreV1(), s.Client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: s.Identity})
	if err != nil {
		return err
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: LeaseTime, RenewDeadline: RenewTime, RetryPeriod: electEvery, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				if err := lead(ctx); err != nil {
					cancel(err)
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	e.Run(within)
	switch {
	case ctx.Err() != nil:
		return nil
	case within.Err() != nil:
		return context.Cause(within)
	}
	return ErrLost
}
