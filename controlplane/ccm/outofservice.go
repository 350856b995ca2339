package ccm

import (
	"context"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/cloud-provider/api"
	"k8s.io/klog/v2"
)

// machineStopped is the value of the taint out-of-service when it is ours: a person's has another one, and stays.
const machineStopped = "machine-stopped"

// An undertaker says of nodes whose machines are stopped that they are out of service, so that Kubernetes moves their pods with their
// volumes at once. It needs somebody who knows that nothing writes there any more, and the vendor does: upstream's taint is its
// word. A machine that only does not answer is not stopped, and keeps what it has.
type undertaker struct {
	nodes  corelisters.NodeLister
	client kubernetes.Interface
}

// run looks at the nodes every few seconds, in memory, until the context ends.
func (u *undertaker) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all, err := u.nodes.List(labels.Everything())
		if err != nil {
			continue
		}
		for _, n := range all {
			if err := u.settle(ctx, n); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Out-of-service taint not changed, tried again soon", "node", n.Name)
			}
		}
	}
}

// settle gives the node the taint, or takes it away.
func (u *undertaker) settle(ctx context.Context, n *v1.Node) error {
	stopped := slices.ContainsFunc(n.Spec.Taints, func(t v1.Taint) bool { return t.Key == api.TaintNodeShutdown })
	at := slices.IndexFunc(n.Spec.Taints, func(t v1.Taint) bool { return t.Key == v1.TaintNodeOutOfService })
	switch {
	case stopped && at < 0 && !ready(n):
		n = n.DeepCopy()
		n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: v1.TaintNodeOutOfService, Value: machineStopped, Effect: v1.TaintEffectNoExecute})
	case !stopped && at >= 0 && n.Spec.Taints[at].Value == machineStopped:
		n = n.DeepCopy()
		n.Spec.Taints = slices.Delete(n.Spec.Taints, at, at+1)
	default:
		return nil
	}
	_, err := u.client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{})
	return err
}
