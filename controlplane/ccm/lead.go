package ccm

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	v1core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/cloud-provider/controllers/node"
	"k8s.io/cloud-provider/controllers/nodelifecycle"
	"k8s.io/cloud-provider/controllers/service"
	"k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/provisionhq/provision/templates"
)

// How often and how many at once. Each round over the nodes costs one list at most; what is looked at anew every
// half minute without need is in memory.
const (
	resync         = 30 * time.Second
	addressesEvery = 5 * time.Minute
	lookEvery      = 5 * time.Second
	nodesAtOnce    = 10
	servicesAtOnce = 10
)

// Lead runs the controllers until the context ends; an error if they cannot be run.
func Lead(ctx context.Context, o Options) error {
	m, err := newManager(o)
	if err != nil {
		return err
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(&v1core.EventSinkImpl{Interface: o.Client.CoreV1().Events("")})
	defer events.Shutdown()
	run, err := m.controllers(events.NewRecorder(scheme.Scheme, v1.EventSource{Component: "cloud-agent"}))
	if err != nil {
		return err
	}
	m.factory.Start(ctx.Done())
	defer m.factory.Shutdown()
	if r := m.factory.WaitForCacheSyncWithContext(ctx); r.Err != nil {
		return nil // the context ended
	}
	for _, r := range run {
		go r(ctx)
	}
	<-ctx.Done()
	return nil
}

// A manager is the controllers of one leader and what they share.
type manager struct {
	Options
	factory informers.SharedInformerFactory
	cloud   *cloud
	metrics *controllers.ControllerManagerMetrics
}

func newManager(o Options) (*manager, error) {
	m := &manager{Options: o, metrics: controllers.NewControllerManagerMetrics("cloud-agent")}
	m.factory = informers.NewSharedInformerFactoryWithOptions(o.Client, resync, informers.WithTransform(unclassed(o.Cloud.Vendor)))
	i := &instances{scheme: o.Cloud.Vendor, region: regionOf(o.Cloud)}
	switch {
	case o.Provider != nil:
		i.scheme, i.lag, i.get = o.Provider.Name(), o.Provider.Caps().Lag, o.Provider.Machines().Get
		i.machines = machinesOf(o.Cloud, o.Provider)
		if o.Provider.Caps().Volumes {
			i.types = o.Provider.Machines().Types
		}
	case !o.Cloud.Blind: // nobody asks i of a machine then
		return nil, fmt.Errorf("vendor %s: its API is not at hand", o.Cloud.Vendor)
	}
	m.cloud = &cloud{name: o.Cloud.Vendor, nodes: i}
	return m, nil
}

// controllers are what is to run, once the informers are in step.
func (m *manager) controllers(events record.EventRecorder) (run []func(context.Context), err error) {
	nodes, services := m.factory.Core().V1().Nodes(), m.factory.Core().V1().Services()
	b := &balancers{services: services.Lister(), form: none{}}
	m.cloud.balancer = b
	switch {
	case len(m.Cloud.Balancers) > 0:
		b.form = newAnnounced(m.Cloud.Balancers, services.Lister())
		a, err := newAnnouncer(m.Client, m.cloud.nodes.scheme, m.Cloud.Balancers, followed{nodes.Informer(), services.Informer(),
			m.factory.Discovery().V1().EndpointSlices().Informer()})
		if err != nil {
			return nil, err
		}
		run = append(run, a.run)
	case m.Provider != nil && m.Provider.Caps().LoadBalancers:
		v := newVendor(m.Cloud, m.Provider, m.cloud.nodes, nodes.Lister())
		b.form = v
		run = append(run, (&inspector{balancers: b, vendor: v, client: m.Client}).run)
	}
	t := &teller{vendor: m.Cloud.Vendor, none: b.form == none{}, recorder: events}
	if _, err := services.Informer().AddEventHandler(t.handler()); err != nil {
		return nil, err
	}
	upstream, err := m.upstream()
	return append(run, upstream...), err
}

// upstream are upstream's controllers.
func (m *manager) upstream() (run []func(context.Context), err error) {
	nodes, services := m.factory.Core().V1().Nodes(), m.factory.Core().V1().Services()
	s, err := service.New(m.cloud, m.Client, services, nodes, m.Cloud.Cluster, nil)
	if err != nil {
		return nil, fmt.Errorf("service controller: %w", err)
	}
	run = append(run, func(ctx context.Context) { s.Run(ctx, servicesAtOnce, m.metrics) })
	if m.Cloud.Blind { // kubelets say themselves where they are, and nobody knows which machines are gone
		return run, nil
	}
	n, err := node.NewCloudNodeController(nodes, m.Client, m.cloud, addressesEvery, nodesAtOnce, nodesAtOnce)
	if err != nil {
		return nil, fmt.Errorf("node controller: %w", err)
	}
	l, err := nodelifecycle.NewCloudNodeLifecycleController(nodes, m.Client, m.cloud, lookEvery, nodesAtOnce)
	if err != nil {
		return nil, fmt.Errorf("node lifecycle controller: %w", err)
	}
	return append(run,
		func(ctx context.Context) { n.RunWithContext(ctx, m.metrics) },
		func(ctx context.Context) { l.Run(ctx, m.metrics) },
		(&undertaker{nodes.Lister(), m.Client}).run,
	), nil
}

// regionOf returns the region, as the provider's block names it.
func regionOf(c templates.Cloud) string {
	for _, name := range []string{"region", "location"} {
		if s, ok := c.Options[name].(string); ok {
			return s
		}
	}
	return ""
}

// slim drops what nobody here reads and what is most of an object: who wrote which field, and a node's images.
func slim(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
	}
	if n, ok := object.(*v1.Node); ok {
		n.Status.Images = nil
	}
	return object, nil
}
