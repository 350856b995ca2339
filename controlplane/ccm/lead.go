package ccm

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/cloud-provider/controllers/node"
	"k8s.io/cloud-provider/controllers/nodelifecycle"
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
	c, err := newCloud(o)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(o.Client, resync, informers.WithTransform(slim))
	nodes := factory.Core().V1().Nodes()
	metrics := controllers.NewControllerManagerMetrics("cloud-agent")
	initializer, err := node.NewCloudNodeController(nodes, o.Client, c, addressesEvery, nodesAtOnce, nodesAtOnce)
	if err != nil {
		return fmt.Errorf("node controller: %w", err)
	}
	lifecycle, err := nodelifecycle.NewCloudNodeLifecycleController(nodes, o.Client, c, lookEvery, nodesAtOnce)
	if err != nil {
		return fmt.Errorf("node lifecycle controller: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return nil // the context ended
	}
	go initializer.RunWithContext(ctx, metrics)
	go lifecycle.Run(ctx, metrics)
	<-ctx.Done()
	return nil
}

// newCloud returns what upstream's controllers ask.
func newCloud(o Options) (*cloud, error) {
	c := &cloud{name: o.Cloud.Vendor, nodes: &instances{scheme: o.Cloud.Vendor, region: regionOf(o.Cloud), machines: machinesOf(o.Cloud, o.Provider)}}
	if o.Provider != nil {
		c.name, c.nodes.scheme, c.nodes.lag = o.Provider.Name(), o.Provider.Name(), o.Provider.Caps().Lag
		c.nodes.get = o.Provider.Machines().Get
	} else if o.Cloud.Machines == nil {
		return nil, fmt.Errorf("vendor %s: neither its API nor a list of its machines is at hand", o.Cloud.Vendor)
	}
	return c, nil
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

// slim drops what nobody here reads and what is most of an object: who wrote which field.
func slim(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
	}
	return object, nil
}
