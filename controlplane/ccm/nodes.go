package ccm

import (
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/cloud-provider/controllers/service"
)

// disrupted is the taint of a node that the node autoscaler takes away.
const disrupted = "karpenter.sh/disrupted"

// staying says whether balancers may send traffic to the node: it stays, and its label does not exclude it. Whether it
// is well just now is not asked: balancers and announcers look themselves, and faster.
func staying(n *v1.Node) bool {
	if n.DeletionTimestamp != nil {
		return false
	}
	if v, ok := n.Labels[v1.LabelNodeExcludeBalancers]; ok {
		if excluded, err := strconv.ParseBool(v); err != nil || excluded {
			return false
		}
	}
	return !slices.ContainsFunc(n.Spec.Taints, func(t v1.Taint) bool { return t.Key == service.ToBeDeletedTaint || t.Key == disrupted })
}

// ready says whether the node says that it is well.
func ready(n *v1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == v1.NodeReady && c.Status == v1.ConditionTrue })
}

// ownNodes returns the nodes that stay and are not another vendor's, by name.
func ownNodes(l corelisters.NodeLister, scheme string) ([]*v1.Node, error) {
	all, err := l.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(all, func(n *v1.Node) bool {
		s, _, ok := strings.Cut(n.Spec.ProviderID, "://")
		return ok && s != scheme || !staying(n)
	})
	slices.SortFunc(own, func(a, b *v1.Node) int { return strings.Compare(a.Name, b.Name) })
	return own, nil
}
