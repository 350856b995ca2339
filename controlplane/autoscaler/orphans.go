package autoscaler

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
)

const (
	orphansEvery = 2 * time.Minute
	orphanGrace  = time.Minute // a claim is there before its machine, and may be seen a moment later
)

// orphans gives back machines whose claim is gone: a vendor may make one and not say so before the claim is given up. Karpenter looks
// after claims without machines, and leaves machines without claims to whoever knows the vendor.
type orphans struct {
	client client.Client
	cloud  *cloud
	every  time.Duration
	seen   map[string]time.Time // by the claim's UID
}

// Start works until the context ends, on the leader.
func (o *orphans) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.every):
		}
		if err := o.collect(ctx, time.Now()); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Cannot look for machines without claims")
		}
	}
}

func (o *orphans) collect(ctx context.Context, now time.Time) error {
	machines, err := o.cloud.list(ctx, listAge)
	if err != nil {
		return err
	}
	var claims karpv1.NodeClaimList
	if err := o.client.List(ctx, &claims); err != nil {
		return err
	}
	there := map[string]bool{}
	for _, c := range claims.Items {
		there[string(c.UID)] = true
	}
	seen := map[string]time.Time{}
	for _, m := range machines {
		uid := m.Tags[claimTag]
		if there[uid] {
			continue
		}
		first, known := o.seen[uid]
		if !known {
			first = now
		}
		seen[uid] = first
		if now.Sub(first) >= orphanGrace {
			klog.InfoS("A machine has no claim", "machine", m.Name)
			if err := o.cloud.delete(ctx, m); err != nil {
				return err
			}
		}
	}
	o.seen = seen
	return nil
}

// An identifier tells nodes which machine they are, where no cloud controller manager did: a kubelet that was invited does not know it, and
// Karpenter finds a claim's node by it.
type identifier struct {
	client client.Client
	cloud  *cloud
}

// identify sets the provider ID of a node that has none and is a claim's machine.
func (i *identifier) identify(ctx context.Context, node *corev1.Node) error {
	if node.Spec.ProviderID != "" {
		return nil
	}
	machines, err := i.cloud.list(ctx, listAge)
	if err != nil {
		return err
	}
	for _, m := range machines {
		if m.Name == node.Name && m.NodeID != "" {
			was := node.DeepCopy()
			node.Spec.ProviderID = m.NodeID
			return client.IgnoreNotFound(i.client.Patch(ctx, node, client.MergeFrom(was)))
		}
	}
	return nil
}
