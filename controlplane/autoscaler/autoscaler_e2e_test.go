//go:build e2e

package autoscaler

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/awslabs/operatorpkg/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

func burst(change func(*templates.CloudPool)) templates.CloudPool {
	p := templates.CloudPool{
		Name: "burst", Max: 4, Types: []string{"small", "medium"}, DrainSeconds: 60,
		Labels: map[string]string{"provision.sh/pool": "burst", "node-role.kubernetes.io/burst": "", "tier": "web"},
	}
	if change != nil {
		change(&p)
	}
	return p
}

// pod makes a pod that nothing but the pool's labels and its size decides on.
func (r *rig) pod(name, cpu string) {
	r.t.Helper()
	_, err := r.admin.CoreV1().Pods("default").Create(r.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{NodeSelector: map[string]string{"tier": "web"}, Containers: []corev1.Container{{
			Name: "c", Image: "x", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
}

// placed waits until a pod has a node, and returns the node's machine.
func (r *rig) placed(name string, limit time.Duration) providers.Machine {
	r.t.Helper()
	node := ""
	took := r.eventually("pod "+name+" has a node", limit, func() (bool, string) {
		p, err := r.admin.CoreV1().Pods("default").Get(r.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		node = p.Spec.NodeName
		return node != "", fmt.Sprint(p.Status.Conditions)
	})
	for _, m := range r.machines() {
		if m.Name == node {
			r.t.Logf("pod %s is on %s, of type %s, after %.1f s", name, node, m.Type, took.Seconds())
			return m
		}
	}
	r.t.Fatalf("pod %s is on %s, which is no machine", name, node)
	return providers.Machine{}
}

func (r *rig) kill(pods ...string) {
	r.t.Helper()
	for _, p := range pods {
		if err := r.admin.CoreV1().Pods("default").Delete(r.t.Context(), p, *metav1.NewDeleteOptions(0)); err != nil && !apierrors.IsNotFound(err) { // Karpenter may have moved it away
			r.t.Fatal(err)
		}
	}
}

func (r *rig) machines() []providers.Machine {
	r.t.Helper()
	ms, err := r.vendor.Machines().List(context.Background(), "demo")
	if err != nil {
		r.t.Fatal(err)
	}
	return ms
}

func (r *rig) number(what string, want int, limit time.Duration) {
	r.t.Helper()
	took := r.eventually(what, limit, func() (bool, string) { return len(r.machines()) == want, fmt.Sprint(r.machines()) })
	r.t.Logf("%s: %d machines after %.1f s", what, want, took.Seconds())
}

// TestE2EAutoscaler: pending pods get machines, and what they leave is given back, to a real API server and with no more rights than the
// cloud agent has. The parts build on one another.
func TestE2EAutoscaler(t *testing.T) {
	r := newRig(t)
	before := memory(t)
	stop := r.agent(burst(nil))
	r.karpenter()
	r.pod("a", "1")
	m := r.placed("a", 30*time.Second)
	if m.Type != "small" || m.Pool != "burst" || m.Tags[uidTag] != "u-1" || !strings.HasPrefix(m.Name, "demo-burst-") {
		t.Errorf("machine %+v, want the cheapest that fits, as the plan knows it", m)
	}
	r.invited(m)
	r.dressed(m)

	t.Logf("memory: %d MiB more than before (anonymous, of this process)", (memory(t)-before)>>10)

	r.vendor.set(func() { r.vendor.soldOut["small"] = true })
	r.pod("b", "1500m")
	if m := r.placed("b", 30*time.Second); m.Type != "medium" {
		t.Errorf("a machine of type %s, and the vendor has none of those", m.Type)
	}
	r.vendor.set(func() { delete(r.vendor.soldOut, "small") })

	r.kill("b")
	r.number("given back when its pod is gone", 1, 90*time.Second)
	r.kill("a")
	r.number("given back", 0, 60*time.Second)
	if tokens := r.tokens(); tokens > 0 {
		t.Errorf("%d tokens of machines that are gone", tokens)
	}

	r.vendor.set(func() { r.vendor.denied = fmt.Errorf("run: %w: ec2:RunInstances", providers.Denied) })
	r.pod("c", "1")
	r.eventually("the pool's class says why no machine is made", 30*time.Second, func() (bool, string) {
		c := &MachineClass{}
		err := r.kube.Get(t.Context(), ctrlclient.ObjectKey{Name: "burst"}, c)
		ready := c.StatusConditions().Get(status.ConditionReady)
		return err == nil && ready.IsFalse() && strings.Contains(ready.Message, "RunInstances"), fmt.Sprint(err, c.Status)
	})
	r.vendor.set(func() { r.vendor.denied = nil })
	r.placed("c", 2*time.Minute) // without a hand

	stop()
	r.agent(burst(func(p *templates.CloudPool) { p.Min = 2 }))
	r.number("the least number, beside the one that a pod needs", 3, time.Minute)
	r.kill("c")
	r.number("the least number is kept", 2, 90*time.Second)
}

// TestE2EAutoscalerEnds: pools that leave the file take their machines with them, also those whose making was not answered.
func TestE2EAutoscalerEnds(t *testing.T) {
	r := newRig(t)
	stop := r.agent(burst(func(p *templates.CloudPool) { p.Min, p.Max = 1, 1 }))
	r.karpenter()
	r.number("the least number", 1, 30*time.Second)
	r.eventually("its node is of the cluster", 30*time.Second, func() (bool, string) {
		var l karpv1.NodeClaimList
		err := r.kube.List(t.Context(), &l)
		return err == nil && len(l.Items) == 1 && l.Items[0].StatusConditions().Get(karpv1.ConditionTypeInitialized).IsTrue(), fmt.Sprint(err, l.Items)
	})
	stop()
	r.agent()
	r.number("the file has no pool", 0, time.Minute)
	r.eventually("no node is left", 30*time.Second, func() (bool, string) {
		nodes, err := r.admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		return err == nil && len(nodes.Items) == 0, fmt.Sprint(err, nodes.Items)
	})
}

// memory is what this process alone has, in KiB.
func memory(t *testing.T) (kib int) {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

// invited looks at what a machine was given to join with.
func (r *rig) invited(m providers.Machine) {
	r.t.Helper()
	var spec providers.MachineSpec
	r.vendor.set(func() { spec = r.vendor.asked[m.Name] })
	_, rest, _ := strings.Cut(string(spec.UserData), "cat >invitation.json <<'END'\n")
	doc, _, _ := strings.Cut(rest, "\nEND\n")
	i, err := templates.ParseInvitation([]byte(doc))
	if err != nil || i.Name != m.Name || i.Servers[0] != "10.0.0.2:7444" || len(i.Taints) != 1 {
		r.t.Fatalf("invited by %+v: %v", i, err)
	}
	id, secret, _ := strings.Cut(i.Token, ".")
	s, err := r.admin.CoreV1().Secrets("kube-system").Get(r.t.Context(), "bootstrap-token-"+id, metav1.GetOptions{})
	if err != nil || string(s.Data["token-secret"]) != secret || !strings.HasSuffix(string(s.Data["auth-extra-groups"]), ":"+m.Name) {
		r.t.Errorf("its token: %v", err)
	}
}

// dressed looks at what Karpenter made of a node.
func (r *rig) dressed(m providers.Machine) {
	r.t.Helper()
	n, err := r.admin.CoreV1().Nodes().Get(r.t.Context(), m.Name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	_, role := n.Labels["node-role.kubernetes.io/burst"]
	if n.Spec.ProviderID != m.NodeID || n.Labels[karpv1.NodePoolLabelKey] != "burst" || n.Labels[poolLabel] != "burst" || !role || n.Labels[corev1.LabelInstanceTypeStable] != m.Type || n.Labels[corev1.LabelTopologyZone] != m.Zone {
		r.t.Errorf("node %s has provider ID %q and labels %v", n.Name, n.Spec.ProviderID, n.Labels)
	}
	for _, t := range n.Spec.Taints {
		if t.Key == karpv1.UnregisteredTaintKey {
			r.t.Errorf("node %s is still tainted: %v", n.Name, n.Spec.Taints)
		}
	}
}

func (r *rig) tokens() int {
	r.t.Helper()
	l, err := r.admin.CoreV1().Secrets("kube-system").List(r.t.Context(), metav1.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
	if err != nil {
		r.t.Fatal(err)
	}
	return len(l.Items)
}
