package ccm

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/provisionhq/provision/controlplane/election"
	vendorfake "github.com/provisionhq/provision/providers/fake"
)

// elected starts Run and waits until it leads.
func elected(t *testing.T, w *world) (stop func(), ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Cloud: w.cloud, Provider: w.provider(), Client: w.client, Identity: "one"})
	}()
	time.Sleep(time.Second)
	l, err := w.client.CoordinationV1().Leases("kube-system").Get(t.Context(), LeaseName("fake"), metav1.GetOptions{})
	if err != nil || *l.Spec.HolderIdentity != "one" {
		t.Fatalf("the lease is %v, %v", l, err)
	}
	return cancel, ended
}

func TestLeaderThatEndsGivesUpTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		stop, ended := elected(t, w)
		m := w.joined("w1")
		if uninitialized(w.get("w1")) || m[0].NodeID == "" {
			t.Error("the leader does nothing")
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		l, err := w.client.CoordinationV1().Leases("kube-system").Get(t.Context(), LeaseName("fake"), metav1.GetOptions{})
		if err != nil || *l.Spec.HolderIdentity != "" {
			t.Errorf("the lease is %v, %v", l, err)
		}
	})
}

func TestLostLeaseIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		var unreachable atomic.Bool
		w.client.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return unreachable.Load(), nil, errors.New("the API server is out of reach")
		})
		stop, ended := elected(t, w)
		defer stop()
		unreachable.Store(true)
		select {
		case err := <-ended:
			if !errors.Is(err, election.ErrLost) {
				t.Errorf("Run ended with %v, want %v", err, election.ErrLost)
			}
		case <-time.After(election.LeaseTime):
			t.Error("Run goes on, and another one leads by now")
		}
	})
}
