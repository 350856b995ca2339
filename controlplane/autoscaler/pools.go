package autoscaler

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/awslabs/operatorpkg/object"
	"github.com/awslabs/operatorpkg/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"

	"github.com/provisionhq/provision/templates"
)

const (
	fieldOwner = client.FieldOwner("provision")
	poolsEvery = time.Minute // how often what people may have changed is changed back
	settleTime = 30 * time.Second
)

// pools keeps Karpenter's NodePools as cluster.hcl has its pools.
type pools struct {
	client client.Client
	now    client.Reader // past the cache, which does not have what was made a moment ago
	cloud  *cloud
	settle time.Duration
}

// Start works until the context ends, on the leader.
func (p *pools) Start(ctx context.Context) error {
	p.rest(ctx)
	for {
		wait := poolsEvery
		if err := p.keep(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Cannot keep the pools as the file has them")
			wait = 5 * time.Second
		}
		if d, any := p.cloud.broken.any(); any {
			wait = min(wait, d+time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.cloud.broken.changed:
		case <-time.After(wait):
		}
	}
}

// rest lets a cluster that has just been made get the machines that the file counts: until they are nodes, pods fit nowhere, and would be
// given machines that nobody needs a moment later.
func (p *pools) rest(ctx context.Context) {
	var system corev1.Namespace
	if err := p.now.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(system.CreationTimestamp.Add(2 * p.settle))):
	}
}

// keep makes what the file has, and removes what it no longer has: Karpenter gives the machines back then.
func (p *pools) keep(ctx context.Context) error {
	wanted := map[string]bool{}
	for _, pool := range p.cloud.conf.Pools {
		if err := p.apply(ctx, class(pool)); err != nil {
			return err
		}
		if err := p.judge(ctx, pool); err != nil {
			return err
		}
		for _, np := range nodePools(pool, p.settle) {
			wanted[np.Name] = true
			if err := p.apply(ctx, np); err != nil {
				return err
			}
		}
	}
	var have karpv1.NodePoolList
	if err := p.client.List(ctx, &have, client.MatchingLabels{templates.ManagedByLabel: templates.ManagedBy}); err != nil {
		return err
	}
	for _, np := range have.Items {
		if !wanted[np.Name] && np.DeletionTimestamp.IsZero() {
			klog.InfoS("The file no longer has the pool", "pool", np.Name)
			if err := p.client.Delete(ctx, &np); client.IgnoreNotFound(err) != nil {
				return err
			}
		}
	}
	return nil
}

// apply writes an object, and takes over what others wrote into it.
func (p *pools) apply(ctx context.Context, o client.Object) error {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: raw}
	u.SetGroupVersionKind(object.GVK(o))
	unstructured.RemoveNestedField(raw, "status")
	unstructured.RemoveNestedField(raw, "metadata", "creationTimestamp")
	if err := p.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// judge says on the pool's class whether the vendor can be asked for its machines.
func (p *pools) judge(ctx context.Context, pool templates.CloudPool) error {
	c := &MachineClass{}
	if err := p.now.Get(ctx, client.ObjectKey{Name: pool.Name}, c); err != nil {
		return err
	}
	was := c.DeepCopyObject().(*MachineClass)
	why, broken := p.cloud.broken.is(pool.Name)
	if !broken { // or no more: it is tried again
		why = p.missing(ctx, pool)
	}
	if why != "" {
		c.StatusConditions().SetFalse(status.ConditionReady, problem, why)
	} else {
		c.StatusConditions().SetTrue(status.ConditionReady)
	}
	return p.client.Status().Patch(ctx, c, client.MergeFrom(was))
}

// missing says which of the pool's types the vendor does not offer, if it offers none of them.
func (p *pools) missing(ctx context.Context, pool templates.CloudPool) string {
	types, err := p.cloud.market.instanceTypes(ctx, pool)
	if err != nil {
		return "list machine types: " + err.Error()
	}
	if len(types) == 0 {
		return fmt.Sprintf("the vendor has none of the machine types %v", pool.Types)
	}
	return ""
}

func class(p templates.CloudPool) *MachineClass {
	return &MachineClass{ObjectMeta: named(p.Name), Spec: MachineClassSpec{Image: p.Image, DiskGiB: int64(p.DiskGiB)}}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{templates.ManagedByLabel: templates.ManagedBy}}
}

// nodePools are a pool's machines that are always there, and those that come and go. Karpenter keeps a fixed number in one kind of NodePool
// and decides on it in another; both bear the pool's labels. A dot cannot be in a pool's name, so the two are nobody else's.
func nodePools(p templates.CloudPool, settle time.Duration) []*karpv1.NodePool {
	var all []*karpv1.NodePool
	if p.Min > 0 {
		np := nodePool(p, p.Name+".min", settle)
		n := int64(p.Min)
		np.Spec.Replicas = &n
		np.Spec.Limits = karpv1.Limits{"nodes": resource.MustParse(strconv.Itoa(p.Min + 1))} // one more while one is replaced
		all = append(all, np)
	}
	if p.Max > p.Min {
		np := nodePool(p, p.Name, settle)
		np.Spec.Limits = karpv1.Limits{"nodes": resource.MustParse(strconv.Itoa(p.Max - p.Min))}
		all = append(all, np)
	}
	return all
}

func nodePool(p templates.CloudPool, name string, settle time.Duration) *karpv1.NodePool {
	np := &karpv1.NodePool{ObjectMeta: named(name)}
	np.Spec.Disruption = karpv1.Disruption{
		ConsolidationPolicy: karpv1.ConsolidationPolicyWhenEmptyOrUnderutilized, ConsolidateAfter: karpv1.NillableDuration{Duration: &settle},
		Budgets: []karpv1.Budget{{Nodes: "10%"}},
	}
	t := &np.Spec.Template
	t.Labels = p.Labels
	t.Spec.NodeClassRef = &karpv1.NodeClassReference{Group: classGroup.Group, Kind: "MachineClass", Name: p.Name}
	t.Spec.Requirements = []karpv1.NodeSelectorRequirementWithMinValues{
		{Key: corev1.LabelInstanceTypeStable, Operator: corev1.NodeSelectorOpIn, Values: slices.Sorted(slices.Values(p.Types))},
		{Key: karpv1.CapacityTypeLabelKey, Operator: corev1.NodeSelectorOpIn, Values: []string{capacityType(p.Spot)}},
	}
	if len(p.Zones) > 0 {
		t.Spec.Requirements = append(t.Spec.Requirements, karpv1.NodeSelectorRequirementWithMinValues{
			Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: slices.Sorted(slices.Values(p.Zones)),
		})
	}
	for _, taint := range p.Taints {
		t.Spec.Taints = append(t.Spec.Taints, corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: corev1.TaintEffect(taint.Effect)})
	}
	if p.DrainSeconds > 0 {
		t.Spec.TerminationGracePeriod = &metav1.Duration{Duration: time.Duration(p.DrainSeconds) * time.Second}
	}
	never := karpv1.MustParseNillableDuration("Never")
	t.Spec.ExpireAfter = never
	return np
}
