package ccm

import (
	"context"
	"fmt"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// A form is a way in which Services get addresses. Its methods are called for different Services at once, and for one
// Service one after another.
type form interface {
	// ensure makes what the Service asks for, or changes what there is to that, and returns where it is reached.
	ensure(context.Context, *v1.Service) (*v1.LoadBalancerStatus, error)
	// retarget follows a change of nodes.
	retarget(context.Context, *v1.Service) error
	// remove takes away what there is, if there is any.
	remove(context.Context, *v1.Service) error
}

// balancers is what upstream's service controller asks.
//
// Upstream calls for one Service from two queues, with Services and nodes that may be older than what an earlier call
// saw. So calls for one Service wait for each other, and each takes what the informers have by then.
type balancers struct {
	form     form
	services corelisters.ServiceLister
	locks    locks
}

var _ cloudprovider.LoadBalancer = (*balancers)(nil)

// GetLoadBalancer says that there is a balancer as long as the Service has not been told that it is gone: whether there
// really is one, remove looks.
func (b *balancers) GetLoadBalancer(_ context.Context, _ string, s *v1.Service) (*v1.LoadBalancerStatus, bool, error) {
	return &s.Status.LoadBalancer, true, nil
}

// GetLoadBalancerName returns the name of the Service's balancer.
func (*balancers) GetLoadBalancerName(_ context.Context, _ string, s *v1.Service) string {
	return balancerName(s)
}

// EnsureLoadBalancer makes the Service's balancer what the Service says.
func (b *balancers) EnsureLoadBalancer(ctx context.Context, _ string, s *v1.Service, _ []*v1.Node) (*v1.LoadBalancerStatus, error) {
	defer b.locks.lock(s.UID)()
	now := b.newest(s)
	if now == nil {
		return nil, fmt.Errorf("the Service %s is being deleted", serviceKey(s))
	}
	return b.form.ensure(ctx, now)
}

// UpdateLoadBalancer follows a change of nodes. The Service may be long gone, and must not get its balancer back.
func (b *balancers) UpdateLoadBalancer(ctx context.Context, _ string, s *v1.Service, _ []*v1.Node) error {
	defer b.locks.lock(s.UID)()
	now := b.newest(s)
	if now == nil {
		return nil
	}
	return b.form.retarget(ctx, now)
}

// EnsureLoadBalancerDeleted takes the Service's balancer away.
func (b *balancers) EnsureLoadBalancerDeleted(ctx context.Context, _ string, s *v1.Service) error {
	defer b.locks.lock(s.UID)()
	return b.form.remove(ctx, s)
}

// newest returns the Service as the informer has it; nil if it is not to have a balancer any more.
func (b *balancers) newest(s *v1.Service) *v1.Service {
	now, err := b.services.Services(s.Namespace).Get(s.Name)
	if err != nil || now.UID != s.UID || now.DeletionTimestamp != nil || now.Spec.Type != v1.ServiceTypeLoadBalancer || now.Spec.LoadBalancerClass != nil {
		return nil
	}
	return now
}

// balancerName returns the name of a Service's balancer at the vendor: a DNS label that no other Service ever has.
func balancerName(s *v1.Service) string { return "svc-" + string(s.UID) }

// none is the form of a cluster that has no balancers: Services without a class are left to whoever else serves them,
// but let go of when they are deleted, as there may have been balancers before.
type none struct{}

func (none) ensure(_ context.Context, s *v1.Service) (*v1.LoadBalancerStatus, error) {
	return nil, cloudprovider.ImplementedElsewhere
}
func (none) retarget(context.Context, *v1.Service) error { return cloudprovider.ImplementedElsewhere }
func (none) remove(context.Context, *v1.Service) error   { return nil }

// locks are one for each Service that is worked on.
type locks struct {
	mu  sync.Mutex
	all map[types.UID]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// lock waits for the Service's turn and returns the function that ends it.
func (l *locks) lock(id types.UID) (unlock func()) {
	l.mu.Lock()
	if l.all == nil {
		l.all = map[types.UID]*lock{}
	}
	o := l.all[id]
	if o == nil {
		o = &lock{}
		l.all[id] = o
	}
	o.users++
	l.mu.Unlock()
	o.Lock()
	return func() {
		o.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if o.users--; o.users == 0 {
			delete(l.all, id)
		}
	}
}

// serviceKey names the Service for a person.
func serviceKey(s *v1.Service) string { return fmt.Sprintf("%s/%s", s.Namespace, s.Name) }
