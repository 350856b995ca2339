package sidecars

import (
	"context"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	common "github.com/kubernetes-csi/external-snapshotter/v8/pkg/common-controller"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/metrics"
	side "github.com/kubernetes-csi/external-snapshotter/v8/pkg/sidecar-controller"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/snapshotter"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/provisionhq/provision/templates"
)

// snapshot copies volumes when a VolumeSnapshotContent asks for it.
func snapshot(_ context.Context, c *crew) (func(context.Context), error) {
	if !c.copying() {
		return nil, nil
	}
	v := c.copies.Snapshot().V1()
	main := side.NewCSISnapshotSideCarController(c.snapshots, c.client, c.Driver, v.VolumeSnapshotContents(), v.VolumeSnapshotClasses(), snapshotter.NewSnapshotter(c.conn), nil,
		callTime, resync, "snapshot", -1, "groupsnapshot", -1, false, backoff[string](), false, nil, nil, backoff[string]())
	return func(ctx context.Context) {
		if c.defined(ctx) {
			c.class(ctx)
			main.Run(threads, ctx.Done(), nil)
		}
	}, nil
}

// class makes the class of snapshots if there is none, for those who name none.
func (c *crew) class(ctx context.Context) {
	_, err := c.snapshots.SnapshotV1().VolumeSnapshotClasses().Create(ctx, &snapshots.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{
			Name: templates.StorageClass, Labels: map[string]string{templates.ManagedByLabel: templates.ManagedBy},
			Annotations: map[string]string{"snapshot.storage.kubernetes.io/is-default-class": "true"},
		},
		Driver: c.Driver, DeletionPolicy: snapshots.VolumeSnapshotContentDelete,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		klog.ErrorS(err, "Cannot make the class of snapshots", "name", templates.StorageClass)
	}
}

// control makes a VolumeSnapshotContent of each VolumeSnapshot. It is for all drivers of a cluster, and harmless twice: what it
// writes is the same, and the API server lets one of two writers win.
func control(_ context.Context, c *crew) (func(context.Context), error) {
	if !c.copying() {
		return nil, nil
	}
	v, core := c.copies.Snapshot().V1(), c.informers.Core().V1()
	main := common.NewCSISnapshotCommonController(c.snapshots, c.client, v.VolumeSnapshots(), v.VolumeSnapshotContents(), v.VolumeSnapshotClasses(), nil, nil, nil,
		core.PersistentVolumeClaims(), core.PersistentVolumes(), nil, metrics.NewMetricsManager(), resync, backoff[string](), backoff[string](), backoff[string](), backoff[string](),
		false, true, false)
	return func(ctx context.Context) {
		if c.defined(ctx) {
			main.Run(threads, ctx.Done(), nil)
		}
	}, nil
}

// copying says whether the driver's volumes can be copied.
func (c *crew) copying() bool {
	return c.can[spec.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT]
}

// defined waits until the cluster knows what snapshots are: the add-on comes after the API server. False if the context ended.
func (c *crew) defined(ctx context.Context) bool {
	err := wait.PollUntilContextCancel(ctx, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := c.snapshots.SnapshotV1().VolumeSnapshotClasses().List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			klog.V(2).InfoS("Snapshots are not defined yet", "err", err)
		}
		return err == nil, nil
	})
	return err == nil
}
