package ccm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/provisionhq/provision/templates"
)

// Times of the announcer: changes that come together are written together, what somebody did to the ConfigMap is put right.
const (
	gather  = 50 * time.Millisecond
	recheck = 30 * time.Second
)

// byService is the index of EndpointSlices by their Service.
const byService = "service"

// An announcer keeps the table of announced addresses right.
type announcer struct {
	client    kubernetes.Interface
	scheme    string
	ranges    []templates.Addresses
	nodes     corelisters.NodeLister
	services  corelisters.ServiceLister
	endpoints cache.Indexer
	queue     workqueue.TypedRateLimitingInterface[string]
}

// followed are the informers that the announcer listens to.
type followed struct{ nodes, services, endpoints cache.SharedIndexInformer }

// newAnnouncer returns an announcer that hears of all that changes; it is to be made before the informers start.
func newAnnouncer(client kubernetes.Interface, scheme string, ranges []templates.Addresses, from followed) (*announcer, error) {
	a := &announcer{client: client, scheme: scheme, ranges: ranges, nodes: corelisters.NewNodeLister(from.nodes.GetIndexer()),
		services: corelisters.NewServiceLister(from.services.GetIndexer()), endpoints: from.endpoints.GetIndexer(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 10*time.Second))}
	if err := from.endpoints.AddIndexers(cache.Indexers{byService: serviceOf}); err != nil {
		return nil, fmt.Errorf("announcer: %w", err)
	}
	hear := func(any) { a.queue.AddAfter(templates.AnnouncementsName, gather) }
	for _, i := range []cache.SharedIndexInformer{from.services, from.endpoints} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: hear, UpdateFunc: func(_, o any) { hear(o) }, DeleteFunc: hear}); err != nil {
			return nil, fmt.Errorf("announcer: %w", err)
		}
	}
	_, err := from.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: hear, DeleteFunc: hear, UpdateFunc: func(was, is any) {
		if !same(was.(*v1.Node), is.(*v1.Node)) {
			hear(is)
		}
	}})
	return a, err
}

// serviceOf is the Service that an EndpointSlice is of.
func serviceOf(object any) ([]string, error) {
	if s, ok := object.(*discovery.EndpointSlice); ok {
		return []string{s.Namespace + "/" + s.Labels[discovery.LabelServiceName]}, nil
	}
	return nil, nil
}

// run keeps the table right until the context ends. The informers have to be in step.
func (a *announcer) run(ctx context.Context) {
	go func() {
		<-ctx.Done()
		a.queue.ShutDown()
	}()
	a.queue.Add(templates.AnnouncementsName)
	for {
		key, quit := a.queue.Get()
		if quit {
			return
		}
		if err := a.write(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "The table of announced addresses could not be written")
			a.queue.AddRateLimited(key)
		} else {
			a.queue.Forget(key)
			a.queue.AddAfter(key, recheck)
		}
		a.queue.Done(key)
	}
}

// write makes the ConfigMap say what the table says now.
func (a *announcer) write(ctx context.Context) error {
	t, err := a.table()
	if err != nil {
		return err
	}
	content, err := json.Marshal(t)
	if err != nil {
		return err
	}
	maps := a.client.CoreV1().ConfigMaps(templates.AnnouncementsNamespace)
	have, err := maps.Get(ctx, templates.AnnouncementsName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = maps.Create(ctx, &v1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: templates.AnnouncementsName, Namespace: templates.AnnouncementsNamespace,
				Labels: map[string]string{templates.ManagedByLabel: templates.ManagedBy}},
			Data: map[string]string{templates.AnnouncementsKey: string(content)},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil || have.Data[templates.AnnouncementsKey] == string(content) {
		return err
	}
	have.Data = map[string]string{templates.AnnouncementsKey: string(content)}
	_, err = maps.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// table is what the informers have by now.
func (a *announcer) table() (t templates.Announcements, err error) {
	nodes, err := ownNodes(a.nodes, a.scheme)
	if err != nil {
		return t, err
	}
	services, err := a.services.List(labels.Everything())
	if err != nil {
		return t, err
	}
	// Services that another controller serves keep a class, and ours lose it on the way here: see unclassed.
	services = slices.DeleteFunc(services, func(s *v1.Service) bool {
		return s.Spec.Type != v1.ServiceTypeLoadBalancer || s.Spec.LoadBalancerClass != nil || s.DeletionTimestamp != nil
	})
	return table(services, nodes, a.slices, a.ranges), nil
}

func (a *announcer) slices(s *v1.Service) (all []*discovery.EndpointSlice) {
	found, err := a.endpoints.ByIndex(byService, s.Namespace+"/"+s.Name)
	if err != nil {
		return nil
	}
	for _, o := range found {
		all = append(all, o.(*discovery.EndpointSlice))
	}
	return all
}
