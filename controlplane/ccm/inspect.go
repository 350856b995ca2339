package ccm

import (
	"context"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cloud-provider/service/helpers"
	"k8s.io/klog/v2"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// inspectEvery is how often the vendor's balancers are compared with what is known of them: one list each time.
const inspectEvery = 10 * time.Minute

// An inspector looks for what strangers changed at the vendor, and for balancers whose Service is gone without its
// finalizer having been waited for.
type inspector struct {
	*balancers
	vendor   *vendor
	client   kubernetes.Interface
	orphaned map[string]bool // names without a Service, the last time
}

// run inspects until the context ends.
func (i *inspector) run(ctx context.Context) {
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := i.inspect(ctx); err != nil {
			klog.ErrorS(err, "Balancers could not be inspected")
		}
	}
}

// inspect does it once.
func (i *inspector) inspect(ctx context.Context) error {
	at := time.Now()
	all, err := i.vendor.balancers.List(ctx, providers.Owner(i.vendor.cloud.Cluster))
	if err != nil {
		return err
	}
	services, err := i.services.List(labels.Everything())
	if err != nil {
		return err
	}
	there := map[string]providers.LoadBalancer{}
	for _, b := range all {
		there[b.Name] = b
	}
	uids := map[types.UID]bool{}
	for _, s := range services {
		uids[s.UID] = true
		if b, ok := there[balancerName(s)]; i.vendor.differs(balancerName(s), b, ok, at) {
			i.mend(ctx, s)
		}
	}
	i.sweep(ctx, all, uids)
	return nil
}

// differs says whether the vendor has another balancer than what is known, and makes that known. What our own calls
// changed after the list, or so shortly before it that a list may miss it, does not count.
func (v *vendor) differs(name string, b providers.LoadBalancer, there bool, at time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.known[name]
	if !ok || !v.changed[name].Add(v.caps.Lag).Before(at) {
		return false
	}
	if there && !b.Partial && b.ID == known.ID && matches(b, asSpec(known)) {
		return false
	}
	if there {
		v.known[name] = b
	} else {
		delete(v.known, name)
	}
	return true
}

func asSpec(b providers.LoadBalancer) providers.LoadBalancerSpec {
	return providers.LoadBalancerSpec{Internal: b.Internal, Address: b.Address, Ports: b.Ports, Targets: b.Targets, Sources: b.Sources, Tags: b.Tags}
}

// mend makes the Service's balancer again what it should be.
func (i *inspector) mend(ctx context.Context, s *v1.Service) {
	defer i.locks.lock(s.UID)()
	if s = i.newest(s); s == nil {
		return
	}
	klog.InfoS("The balancer was changed at the vendor: mending it", "service", serviceKey(s))
	now, err := i.form.ensure(ctx, s)
	if err == nil && !helpers.LoadBalancerStatusEqual(&s.Status.LoadBalancer, now) {
		to := s.DeepCopy()
		to.Status.LoadBalancer = *now
		_, err = helpers.PatchService(i.client.CoreV1(), s, to)
	}
	if err != nil {
		klog.ErrorS(err, "The balancer could not be mended", "service", serviceKey(s))
	}
}

// sweep deletes the cluster's balancers that had no Service the last time either.
func (i *inspector) sweep(ctx context.Context, all []providers.LoadBalancer, uids map[types.UID]bool) {
	now := map[string]bool{}
	for _, b := range all {
		uid, ours := strings.CutPrefix(b.Name, "svc-")
		if !ours || uids[types.UID(uid)] || b.Tags[templates.ServiceTag] == "" || b.Tags[templates.UIDTag] != i.vendor.cloud.UID {
			continue
		}
		if !i.orphaned[b.Name] {
			now[b.Name] = true
			continue
		}
		klog.InfoS("The balancer has no Service any more: deleting it", "balancer", b.Name, "service", b.Tags[templates.ServiceTag])
		if err := i.vendor.delete(ctx, b); err != nil {
			klog.ErrorS(err, "The balancer could not be deleted", "balancer", b.Name)
			now[b.Name] = true
		}
	}
	i.orphaned = now
}
