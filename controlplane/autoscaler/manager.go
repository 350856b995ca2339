package autoscaler

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeoverlay"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

// karpenterOptions are Karpenter's own settings. Pods are waited for as little as it allows: a machine takes seconds to be a node here, and each of them
// counts.
func karpenterOptions() *options.Options {
	return &options.Options{
		KubeClientQPS: 100, KubeClientBurst: 200, CPURequests: 1000, LogLevel: "info",
		BatchMaxDuration: 10 * time.Second, BatchIdleDuration: time.Second,
		PreferencePolicy: options.PreferencePolicyRespect, MinValuesPolicy: options.MinValuesPolicyStrict,
		IgnoreDRARequests: true, DisableControllerWarmup: true, DisableClusterStateObservability: true,
		FeatureGates: options.FeatureGates{NodeRepair: true, ReservedCapacity: true, StaticCapacity: true},
	}
}

// start runs Karpenter's controllers and ours on the leader, until the context ends.
func start(ctx context.Context, o Options, c *cloud) error {
	logger := klog.NewKlogr()
	log.SetLogger(logger)
	ctx = options.ToContext(log.IntoContext(ctx, logger), karpenterOptions())
	base := context.WithoutCancel(ctx)
	again := true
	m, err := ctrl.NewManager(way(o), ctrl.Options{
		Logger: logger, BaseContext: func() context.Context { return base },
		LeaderElection: o.Elect, LeaderElectionID: "provision-autoscaler-" + o.Cloud.Vendor, LeaderElectionNamespace: "kube-system",
		LeaderElectionResourceLock: resourcelock.LeasesResourceLock, LeaderElectionReleaseOnCancel: true,
		Metrics:    server.Options{BindAddress: "0"}, // the agent serves those of all its parts
		Cache:      cache.Options{DefaultTransform: slim, ByObject: map[client.Object]cache.ByObject{&coordinationv1.Lease{}: {Field: fields.OneTermEqualSelector("metadata.namespace", "kube-node-lease")}}},
		Controller: config.Controller{SkipNameValidation: &again}, // a test may start several in one process
	})
	if err != nil {
		return err
	}
	if err := index(ctx, m); err != nil {
		return err
	}
	kube, real := m.GetClient(), clock.RealClock{}
	cluster := state.NewCluster(real, kube, c)
	//lint:ignore SA1019 Karpenter's recorder takes no other
	recorder := events.NewRecorder(m.GetEventRecorderFor("karpenter"))
	for _, each := range controllers.NewControllers(ctx, m, real, kube, recorder, c, c, cluster, nodeoverlay.NewInstanceTypeStore()) {
		if err := each.Register(ctx, m); err != nil {
			return err
		}
	}
	if err := identify(m, &identifier{kube, c}); err != nil {
		return err
	}
	for _, r := range []manager.Runnable{&pools{kube, m.GetAPIReader(), c, o.Settle}, &orphans{client: kube, cloud: c, every: orphansEvery}} {
		if err := m.Add(r); err != nil {
			return err
		}
	}
	return m.Start(ctx)
}

// identify has the identifier look at each node.
func identify(m manager.Manager, i *identifier) error {
	return ctrl.NewControllerManagedBy(m).Named("provision.identify").For(&corev1.Node{}).Complete(reconcile.Func(
		func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
			node := &corev1.Node{}
			if err := i.client.Get(ctx, r.NamespacedName, node); err != nil {
				return reconcile.Result{}, client.IgnoreNotFound(err)
			}
			return reconcile.Result{}, i.identify(ctx, node)
		}))
}

// index lets Karpenter find objects by what it looks for. It is what its own operator does, which ends the process where something is wrong.
func index(ctx context.Context, m manager.Manager) error {
	claim := func(f func(*karpv1.NodeClaim) string) client.IndexerFunc {
		return func(o client.Object) []string { return []string{f(o.(*karpv1.NodeClaim))} }
	}
	pool := func(f func(*karpv1.NodeClassReference) string) client.IndexerFunc {
		return func(o client.Object) []string {
			return []string{f(o.(*karpv1.NodePool).Spec.Template.Spec.NodeClassRef)}
		}
	}
	for _, i := range []struct {
		kind  client.Object
		field string
		f     client.IndexerFunc
	}{
		{&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }},
		{&corev1.Node{}, "spec.providerID", func(o client.Object) []string { return []string{o.(*corev1.Node).Spec.ProviderID} }},
		{&storagev1.VolumeAttachment{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*storagev1.VolumeAttachment).Spec.NodeName} }},
		{&karpv1.NodeClaim{}, "status.providerID", claim(func(c *karpv1.NodeClaim) string { return c.Status.ProviderID })},
		{&karpv1.NodeClaim{}, "spec.nodeClassRef.group", claim(func(c *karpv1.NodeClaim) string { return c.Spec.NodeClassRef.Group })},
		{&karpv1.NodeClaim{}, "spec.nodeClassRef.kind", claim(func(c *karpv1.NodeClaim) string { return c.Spec.NodeClassRef.Kind })},
		{&karpv1.NodeClaim{}, "spec.nodeClassRef.name", claim(func(c *karpv1.NodeClaim) string { return c.Spec.NodeClassRef.Name })},
		{&karpv1.NodePool{}, "spec.template.spec.nodeClassRef.group", pool(func(r *karpv1.NodeClassReference) string { return r.Group })},
		{&karpv1.NodePool{}, "spec.template.spec.nodeClassRef.kind", pool(func(r *karpv1.NodeClassReference) string { return r.Kind })},
		{&karpv1.NodePool{}, "spec.template.spec.nodeClassRef.name", pool(func(r *karpv1.NodeClassReference) string { return r.Name })},
	} {
		if err := m.GetFieldIndexer().IndexField(ctx, i.kind, i.field, i.f); err != nil {
			return err
		}
	}
	return nil
}

// way is the way to the API server. What is not built in speaks JSON only.
func way(o Options) *restclient.Config {
	c := restclient.CopyConfig(o.Config)
	c.ContentType, c.AcceptContentTypes = "", ""
	c.QPS, c.Burst = 100, 200
	return c
}

// slim drops what Karpenter does not read and what is most of a large cluster's objects: who wrote which field, a node's images, and what a pod's
// containers run. It writes nodes by patches of what differs, and pods not at all, so what is not here is not taken away.
func slim(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
	}
	switch o := object.(type) {
	case *corev1.Node:
		o.Status.Images = nil
	case *corev1.Pod:
		for _, containers := range [][]corev1.Container{o.Spec.InitContainers, o.Spec.Containers} {
			for i := range containers {
				c := &containers[i]
				c.Command, c.Args, c.Env, c.EnvFrom = nil, nil, nil, nil
				c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle, c.SecurityContext = nil, nil, nil, nil, nil
			}
		}
	}
	return object, nil
}
