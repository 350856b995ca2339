package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// recordName is the ConfigMap in kube-system that holds which add-ons were applied.
const recordName = "provision"

// kube is the cluster's API as seen through a control-plane machine: kubectl of the bundle, run there over SSH. So the
// command needs no route to the API, and no second copy of Kubernetes' client.
type kube struct {
	host  ssh.Host
	other func(context.Context) (ssh.Host, error) // one to go on with when that is lost; nil: there is none
}

// run runs kubectl. A machine may be replaced while it serves: another one goes on. All that is done here may be done twice.
func (k kube) run(ctx context.Context, args []string, stdin []byte) ([]byte, error) {
	for try := 1; ; try++ {
		out, err := bootstrap.Kubectl(ctx, k.host, args, stdin)
		var lost *ssh.LostError
		if !errors.As(err, &lost) || k.other == nil || try == 4 {
			return out, err
		}
		if k.host, err = k.other(ctx); err != nil {
			return nil, err
		}
	}
}

// change runs kubectl to change something, again while the API does not answer: among several API servers that have just
// started, connections are moved from one to another.
func (k kube) change(ctx context.Context, args []string, stdin []byte) error {
	patient, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	for {
		_, err := k.run(ctx, args, stdin)
		if !passing(err) {
			return err
		}
		select {
		case <-patient.Done():
			return err
		case <-time.After(changePause):
		}
	}
}

// How long the API may be away while something is changed, and how often that is tried.
const (
	changePatience = time.Minute
	changePause    = 500 * time.Millisecond
)

// passing says whether kubectl failed because the API did not answer or was not ready, and not because of what was asked.
func passing(err error) bool {
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	return slices.ContainsFunc([]string{
		"Unable to connect to the server", "The connection to the server", "connection refused", "connection reset", "unexpected EOF", ": EOF", "TLS handshake timeout",
		"(ServiceUnavailable)", "(InternalError)", "(Timeout)", "(ServerTimeout)", "(TooManyRequests)", "etcdserver: ",
	}, func(s string) bool { return bytes.Contains(exit.Stderr, []byte(s)) })
}

// answers asks the API server of this very machine whether it is ready.
func (k kube) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := bootstrap.Kubectl(ctx, k.host, []string{"get", "--raw", "/readyz"}, nil)
	return err
}

// nodeList is the part of Kubernetes' NodeList that plans need.
type nodeList struct {
	Items []struct {
		Metadata struct {
			Name        string            `json:"name"`
			Version     string            `json:"resourceVersion"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			Unschedulable bool `json:"unschedulable"`
			Taints        []struct{ Key, Value, Effect string }
		} `json:"spec"`
		Status struct {
			Conditions []struct{ Type, Status string }
			NodeInfo   struct {
				KubeletVersion string `json:"kubeletVersion"`
			} `json:"nodeInfo"`
		} `json:"status"`
	} `json:"items"`
}

// nodes asks for all nodes.
func (k kube) nodes(ctx context.Context) (map[string]plan.KubeNode, error) {
	out, err := k.run(ctx, []string{"get", "--raw", "/api/v1/nodes"}, nil)
	if err != nil {
		return nil, err
	}
	return parseNodes(out)
}

func parseNodes(b []byte) (map[string]plan.KubeNode, error) {
	var l nodeList
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("read the node list: %w", err)
	}
	nodes := map[string]plan.KubeNode{}
	for _, i := range l.Items {
		n := plan.KubeNode{
			Unschedulable: i.Spec.Unschedulable, Labels: i.Metadata.Labels, Version: i.Status.NodeInfo.KubeletVersion, Revision: i.Metadata.Version,
			Draining: i.Metadata.Annotations[plan.DrainAnnotation] != "",
			Managed:  plan.Managed{Labels: split(i.Metadata.Annotations[plan.LabelsAnnotation]), Taints: split(i.Metadata.Annotations[plan.TaintsAnnotation])},
		}
		for _, t := range i.Spec.Taints {
			n.Taints = append(n.Taints, plan.TaintString(t.Key, t.Value, t.Effect))
		}
		for _, c := range i.Status.Conditions {
			n.Ready = n.Ready || c.Type == "Ready" && c.Status == "True"
		}
		nodes[i.Metadata.Name] = n
	}
	return nodes, nil
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// addons returns the hashes of the add-ons that were applied, by name.
func (k kube) addons(ctx context.Context) (map[string]string, error) {
	out, err := k.run(ctx, []string{"-n", "kube-system", "get", "configmap", recordName, "--ignore-not-found", "-o", "json"}, nil)
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return nil, err
	}
	var cm struct{ Data map[string]string }
	if err := json.Unmarshal(out, &cm); err != nil {
		return nil, fmt.Errorf("read the add-ons' record: %w", err)
	}
	return cm.Data, nil
}

// record renders the ConfigMap that addons reads.
func record(addons map[string]string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": recordName, "namespace": "kube-system", "labels": map[string]string{"app.kubernetes.io/managed-by": "provision"}},
		"data":     addons,
	})
}

// apply makes the objects of the manifests as they say, by server-side apply.
func (k kube) apply(ctx context.Context, manifests []byte) error {
	return k.change(ctx, []string{"apply", "--server-side", "--force-conflicts", "--field-manager=provision", "-f", "-"}, manifests)
}

// drain cordons a node and moves its pods away, honouring disruption budgets until the context's deadline.
func (k kube) drain(ctx context.Context, node string, seconds int) error {
	// Marked, so that a node that is wanted again is known from one that a person cordoned.
	if err := k.change(ctx, []string{"annotate", "node", node, plan.DrainAnnotation + "=true", "--overwrite"}, nil); err != nil {
		return err
	}
	return k.change(ctx, []string{"drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", fmt.Sprintf("--timeout=%ds", seconds)}, nil)
}

func (k kube) uncordon(ctx context.Context, node string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}},"spec":{"unschedulable":null}}`, plan.DrainAnnotation)
	return k.change(ctx, []string{"patch", "node", node, "--type=merge", "-p", patch}, nil)
}

func (k kube) forget(ctx context.Context, node string) error {
	return k.change(ctx, []string{"delete", "node", node, "--ignore-not-found", "--wait=false"}, nil)
}

// A patch is a merge patch of one node's labels, taints and annotations. It holds the revision that it was made from, as
// it replaces the list of taints, which Kubernetes' controllers change too.
type patch struct {
	Metadata struct {
		Version     string             `json:"resourceVersion"`
		Labels      map[string]*string `json:"labels,omitempty"`
		Annotations map[string]string  `json:"annotations,omitempty"`
	} `json:"metadata"`
	Spec *patchSpec `json:"spec,omitempty"`
}

type patchSpec struct {
	Taints []taint `json:"taints"`
}

type taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// dress sets the member's labels and taints on its node, removes those that provision set before and the file no longer
// names, and leaves all others alone.
func (k kube) dress(ctx context.Context, m plan.Member, have plan.KubeNode) error {
	p := dressing(m, have)
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return k.change(ctx, []string{"patch", "node", m.Name, "--type=merge", "--patch-file=/dev/stdin"}, b)
}

func dressing(m plan.Member, have plan.KubeNode) patch {
	var p patch
	p.Metadata.Version = have.Revision
	labels := m.Labels()
	p.Metadata.Labels = map[string]*string{}
	for _, k := range have.Managed.Labels {
		p.Metadata.Labels[k] = nil
	}
	for k, v := range labels {
		p.Metadata.Labels[k] = &v
	}
	want := m.Taints()
	keep := slices.DeleteFunc(slices.Clone(have.Taints), func(t string) bool { return slices.Contains(have.Managed.Taints, t) })
	all := slices.Compact(slices.Sorted(slices.Values(append(keep, want...))))
	if !slices.Equal(all, slices.Sorted(slices.Values(have.Taints))) {
		p.Spec = &patchSpec{Taints: []taint{}}
		for _, t := range all {
			p.Spec.Taints = append(p.Spec.Taints, parseTaint(t))
		}
	}
	p.Metadata.Annotations = map[string]string{
		plan.LabelsAnnotation: strings.Join(slices.Sorted(maps.Keys(labels)), ","),
		plan.TaintsAnnotation: strings.Join(want, ","),
	}
	return p
}

// parseTaint reads what plan.TaintString wrote.
func parseTaint(s string) taint {
	keyValue, effect, _ := strings.Cut(s, ":")
	key, value, _ := strings.Cut(keyValue, "=")
	return taint{key, value, effect}
}
