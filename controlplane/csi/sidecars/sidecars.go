// Package sidecars runs the controllers of Kubernetes' CSI sidecars: external-provisioner, -attacher, -resizer and -snapshotter,
// and the snapshot controller. They are upstream's own packages; what is here is what their mains do, for one driver.
//
// Upstream runs each as a process of its own. Here they are goroutines of one, with one election, one set of caches and one
// connection (ADR 31).
package sidecars

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubernetes-csi/csi-lib-utils/connection"
	"github.com/kubernetes-csi/csi-lib-utils/metrics"
	"github.com/kubernetes-csi/csi-lib-utils/rpc"
	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotscheme "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/scheme"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"github.com/provisionhq/provision/controlplane/election"
	"github.com/provisionhq/provision/templates"
)

// Options are what the controllers work with.
type Options struct {
	Driver   string // its name
	Socket   string // where it answers, in this process or another
	Config   *rest.Config
	Identity string // of this agent among those that may lead
}

// Times. A call of the vendor's may take minutes (a volume of Azure's, a snapshot of a large one): one that is cut off goes on
// where it was when it is made again, but each time costs the vendor's calls.
const (
	callTime   = 5 * time.Minute
	retryFirst = time.Second
	retryLater = time.Minute // a vendor that said no for ten minutes is asked again within one
	resync     = 15 * time.Minute
	lookEvery  = 5 * time.Minute // at where the vendor has volumes attached: one call of the vendor's
	threads    = 10
)

// Run takes part in the election and runs the controllers while it leads. It returns nil when the context ends, and an error if
// it lost the lead or could not run: the process is to end then.
func Run(ctx context.Context, o Options) error {
	client, err := kubernetes.NewForConfig(quickly(o.Config))
	if err != nil {
		return err
	}
	seat := election.Seat{Lease: templates.CSILease(o.Driver), Client: client, Identity: o.Identity}
	if err := election.Run(ctx, seat, func(ctx context.Context) error { return Lead(ctx, o) }); err != nil {
		return fmt.Errorf("CSI sidecars: %w", err)
	}
	return nil
}

// quickly is a way to the API server that elections do not share with controllers' bursts.
func quickly(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.Timeout = election.RenewTime / 2
	return c
}

// A crew is what the controllers share.
type crew struct {
	Options
	client    kubernetes.Interface
	snapshots snapshots.Interface
	conn      *grpc.ClientConn
	metrics   metrics.CSIMetricsManager
	plugin    rpc.PluginCapabilitySet
	can       rpc.ControllerCapabilitySet
	informers informers.SharedInformerFactory
	copies    snapshotinformers.SharedInformerFactory
}

// A sidecar makes its controller ready, and returns what runs it until the context ends; nil if the driver does not need it.
type sidecar func(context.Context, *crew) (func(context.Context), error)

// Lead runs the controllers until the context ends; an error if they cannot be run.
func Lead(ctx context.Context, o Options) error {
	c, err := muster(ctx, o)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	var all []func(context.Context)
	for _, s := range []sidecar{provision, attach, resize, snapshot, control} {
		run, err := s(ctx, c)
		if err != nil {
			return err
		}
		if run != nil {
			all = append(all, run)
		}
	}
	c.informers.Start(ctx.Done())
	c.copies.Start(ctx.Done())
	c.informers.WaitForCacheSync(ctx.Done())
	for _, run := range all {
		go run(ctx)
	}
	<-ctx.Done()
	return nil
}

// muster connects to the driver and the API server.
func muster(ctx context.Context, o Options) (c *crew, err error) {
	config := rest.CopyConfig(o.Config)
	config.ContentType = runtime.ContentTypeProtobuf
	plain := rest.CopyConfig(o.Config)
	plain.ContentType, plain.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // custom resources have no other
	c = &crew{Options: o, metrics: metrics.NewCSIMetricsManagerForSidecar(o.Driver)}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.snapshots, err = snapshots.NewForConfig(plain); err != nil {
		return nil, err
	}
	if err := snapshotscheme.AddToScheme(scheme.Scheme); err != nil { // for events about them
		return nil, err
	}
	if c.conn, err = connection.Connect(ctx, o.Socket, c.metrics); err != nil {
		return nil, err
	}
	if err = rpc.ProbeForever(ctx, c.conn, callTime); err == nil {
		c.plugin, err = rpc.GetPluginCapabilities(ctx, c.conn)
	}
	if err == nil {
		c.can, err = rpc.GetControllerCapabilities(ctx, c.conn)
	}
	if err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	c.informers = informers.NewSharedInformerFactoryWithOptions(c.client, resync, informers.WithTransform(slim))
	c.copies = snapshotinformers.NewSharedInformerFactory(c.snapshots, resync)
	return c, nil
}

// backoff is how often something that fails is tried again.
func backoff[T comparable]() workqueue.TypedRateLimiter[T] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[T](retryFirst, retryLater)
}
