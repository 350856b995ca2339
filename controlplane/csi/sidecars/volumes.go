package sidecars

import (
	"context"
	"errors"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/external-attacher/v4/pkg/attacher"
	attaching "github.com/kubernetes-csi/external-attacher/v4/pkg/controller"
	provisioning "github.com/kubernetes-csi/external-provisioner/v6/pkg/controller"
	resizing "github.com/kubernetes-csi/external-resizer/v2/pkg/controller"
	resizerclient "github.com/kubernetes-csi/external-resizer/v2/pkg/csi"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/resizer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/util/workqueue"
	csitrans "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// defaultFS is the file system of volumes whose class names none. It has to be named for fsGroup to work.
const defaultFS = "ext4"

// provision makes volumes for claims, and removes them.
func provision(ctx context.Context, c *crew) (func(context.Context), error) {
	var nodes corelisters.NodeLister
	var csiNodes storagelisters.CSINodeLister
	var selected *provisioning.InMemoryStore
	if provisioning.SupportsTopology(c.plugin) {
		nodes, csiNodes, selected = c.informers.Core().V1().Nodes().Lister(), c.informers.Storage().V1().CSINodes().Lister(), provisioning.NewInMemoryStore()
	}
	volumes, classes := c.informers.Core().V1().PersistentVolumes().Informer(), c.informers.Storage().V1().StorageClasses().Informer()
	claims, lister := c.informers.Core().V1().PersistentVolumeClaims().Informer(), c.informers.Core().V1().PersistentVolumeClaims().Lister()
	p := provisioning.NewCSIProvisioner(c.client, callTime, c.Identity, "pvc", -1, c.conn, c.snapshots, c.Driver, c.plugin, c.can, "",
		true, // the volume is where its pod will be, and not in another zone of its cluster
		true, csitrans.New(), c.informers.Storage().V1().StorageClasses().Lister(), csiNodes, nodes, lister, c.informers.Storage().V1().VolumeAttachments().Lister(), nil,
		true, // the claim's name becomes tags of the volume
		defaultFS, nil, false,
		true, // what is in a snapshot does not become a file system of a kernel's by somebody's wish alone
		selected)
	main := controller.NewProvisionController(ctx, c.client, c.Driver, p,
		controller.LeaderElection(false),                                            // there is one for all
		controller.FailedProvisionThreshold(0), controller.FailedDeleteThreshold(0), // never given up
		controller.RateLimiter(backoff[string]()), controller.RetryIntervalMax(retryLater), controller.Threadiness(threads),
		controller.CreateProvisionedPVLimiter(workqueue.DefaultTypedControllerRateLimiter[string]()),
		controller.ClaimsInformer(claims), controller.VolumesInformer(volumes), controller.ClassesInformer(classes), controller.AddFinalizer(true))
	sources := provisioning.NewCloningProtectionController(c.client, lister, claims,
		workqueue.NewTypedRateLimitingQueueWithConfig(backoff[string](), workqueue.TypedRateLimitingQueueConfig[string]{Name: "claims"}), c.can)
	orphans := provisioning.NewSnapshotFinalizerController(c.snapshots, lister, c.can, resync)
	return func(ctx context.Context) {
		if sources != nil {
			go sources.Run(ctx, 1, nil)
		}
		if orphans != nil && c.copying() {
			go orphans.Run(ctx, nil)
		}
		main.Run(ctx)
	}, nil
}

// attach attaches volumes to the machines of nodes, and detaches them.
func attach(ctx context.Context, c *crew) (func(context.Context), error) {
	storage, volumes := c.informers.Storage().V1(), c.informers.Core().V1().PersistentVolumes()
	patience := callTime
	h := attaching.NewCSIHandler(c.client, c.Driver, attacher.NewAttacher(c.conn), attacher.NewVolumeLister(c.conn, 0), volumes.Lister(),
		storage.CSINodes().Lister(), storage.VolumeAttachments().Lister(), &patience,
		c.can[spec.ControllerServiceCapability_RPC_PUBLISH_READONLY], c.can[spec.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER], csitrans.New(), defaultFS)
	main := attaching.NewCSIAttachController(klog.FromContext(ctx), c.client, c.Driver, h, storage.VolumeAttachments(), volumes, backoff[string](), backoff[string](),
		c.can[spec.ControllerServiceCapability_RPC_LIST_VOLUMES_PUBLISHED_NODES], lookEvery)
	return func(ctx context.Context) { main.Run(ctx, threads, nil) }, nil
}

// resize lets volumes grow when their claims do.
func resize(ctx context.Context, c *crew) (func(context.Context), error) {
	client, err := resizerclient.New(ctx, c.Socket, callTime, c.metrics)
	if err != nil {
		return nil, err
	}
	r, err := resizer.NewResizerFromClient(client, callTime, c.client, c.Driver)
	if errors.Is(err, resizer.ResizeNotSupportErr) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	main := resizing.NewResizeController(c.Driver, r, c.client, resync, c.informers, backoff[string](), true, retryLater)
	return func(ctx context.Context) { main.Run(threads, ctx, nil) }, nil
}

// slim drops what no controller here reads and what is most of an object: who wrote which field, and a node's images.
func slim(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
	}
	if n, ok := object.(*corev1.Node); ok {
		n.Status.Images = nil
	}
	return object, nil
}
