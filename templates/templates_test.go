package templates

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// objects reads the objects of a manifest, as kind/name, and the manifest as one tree.
func objects(t *testing.T, manifest []byte, err error) map[string]map[string]any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]any{}
	d := yaml.NewDecoder(bytes.NewReader(manifest))
	for {
		var o map[string]any
		if err := d.Decode(&o); err != nil {
			if err.Error() == "EOF" {
				return found
			}
			t.Fatalf("%v in\n%s", err, manifest)
		}
		name, _ := at(o, "metadata", "name").(string)
		kind, _ := o["kind"].(string)
		if at(o, "metadata", "labels", ManagedByLabel) != ManagedBy || name == "" || o["apiVersion"] == nil {
			t.Errorf("%s/%s has no name, version or the label %s", kind, name, ManagedByLabel)
		}
		found[kind+"/"+name] = o
	}
}

// at walks down maps and lists.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestManifests(t *testing.T) {
	b, err := RenderRBAC()
	rbac := objects(t, b, err)
	for _, name := range []string{"ClusterRoleBinding/provision:join", "ClusterRoleBinding/provision:admins", "ClusterRole/provision:node-agent", "Role/provision:token-cleaner", "Role/provision:announcements", "RoleBinding/provision:announcements"} {
		if rbac[name] == nil {
			t.Errorf("RBAC has no %s", name)
		}
	}
	for _, group := range []string{BootstrapGroup, AdminGroup, AgentGroup, KubeletClient} {
		if !bytes.Contains(b, []byte(`name: "`+group+`"`)) {
			t.Errorf("RBAC gives %s nothing", group)
		}
	}

	table := at(rbac["Role/provision:announcements"], "rules", 0, "resourceNames", 0)
	place := at(rbac["Role/provision:announcements"], "metadata", "namespace")
	if table != AnnouncementsName || place != AnnouncementsNamespace {
		t.Errorf("nodes may read %v in %v, want %s in %s", table, place, AnnouncementsName, AnnouncementsNamespace)
	}

	b, err = RenderNetworkPolicyGuard()
	guard := objects(t, b, err)
	label := at(guard["ValidatingAdmissionPolicyBinding/provision-network-policy-guard"], "spec", "matchResources", "namespaceSelector", "matchExpressions", 0, "key")
	if label != UnenforcedPolicy || !bytes.Contains(b, []byte(UnenforcedPolicy+"=allowed")) {
		t.Errorf("the guard's label is %v, want %s", label, UnenforcedPolicy)
	}

	b, err = RenderMetricsServer(MetricsServer{Image: "m:1"})
	metrics := objects(t, b, err)
	if got := at(metrics["Deployment/metrics-server"], "spec", "template", "spec", "containers", 0, "image"); got != "m:1" {
		t.Errorf("metrics-server's image is %v", got)
	}
}

func TestCoreDNS(t *testing.T) {
	b, err := RenderCoreDNS(CoreDNS{Image: "dns:1", Address: netip.MustParseAddr("10.96.0.10"), Domain: "cluster.local", Replicas: 2})
	dns := objects(t, b, err)
	for _, test := range []struct {
		object string
		path   []any
		want   any
	}{
		{"Service/kube-dns", []any{"spec", "clusterIP"}, "10.96.0.10"},
		{"Deployment/coredns", []any{"spec", "replicas"}, 2},
		{"Deployment/coredns", []any{"spec", "template", "spec", "containers", 0, "image"}, "dns:1"},
	} {
		if got := at(dns[test.object], test.path...); got != test.want {
			t.Errorf("%s %v: got %v, want %v", test.object, test.path, got, test.want)
		}
	}
	if corefile, _ := at(dns["ConfigMap/coredns"], "data", "Corefile").(string); !strings.Contains(corefile, "kubernetes cluster.local in-addr.arpa") {
		t.Errorf("Corefile is %s", corefile)
	}
	for _, bad := range []CoreDNS{{}, {Image: "x", Domain: "y", Replicas: 1}, {Image: "x", Address: netip.MustParseAddr("1.1.1.1"), Domain: "y"}} {
		if _, err := RenderCoreDNS(bad); err == nil {
			t.Errorf("rendered %+v", bad)
		}
	}
}

// TestQuoting puts what would break YAML into every string.
func TestQuoting(t *testing.T) {
	evil := "a: b\"\n- c #'{{"
	b, err := RenderToken(Token{ID: "abcdef", Secret: "0123456789abcdef", Node: evil, Expires: time.Unix(1e9, 0)})
	token := objects(t, b, err)["Secret/bootstrap-token-abcdef"]
	if got := at(token, "metadata", "labels", TokenNodeLabel); got != evil {
		t.Errorf("the node's name came out as %q", got)
	}
	if got := at(token, "stringData", "expiration"); got != "2001-09-09T01:46:40Z" {
		t.Errorf("expires %v", got)
	}
	if _, err := RenderToken(Token{ID: "abc", Secret: "0123456789abcdef"}); err == nil {
		t.Error("rendered a token with a short ID")
	}
}

func TestPayload(t *testing.T) {
	p := Payload{Node: Node{Name: "demo-cp-0", Address: netip.MustParseAddr("10.0.0.1")}, Files: []File{{"/etc/kubernetes/pki/ca.crt", "0600", []byte("pem")}}}
	b, err := RenderPayload(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePayload(b)
	if err != nil || got.Node.Name != "demo-cp-0" || string(got.Files[0].Content) != "pem" {
		t.Fatalf("got %+v, %v", got, err)
	}
	secret := []byte("hush")
	for _, test := range []struct {
		why   string
		files []File
	}{
		{"outside", []File{{"/etc/passwd", "0600", secret}}},
		{"up and out", []File{{"/etc/kubernetes/../passwd", "0600", secret}}},
		{"relative", []File{{"etc/kubernetes/x", "0600", secret}}},
		{"the folder itself", []File{{"/etc/kubernetes/", "0600", secret}}},
		{"node.json", []File{{NodePath, "0600", secret}}},
		{"no mode", []File{{"/etc/kubernetes/x", "", secret}}},
		{"setuid", []File{{"/etc/kubernetes/x", "4755", secret}}},
		{"twice", []File{{"/etc/kubernetes/x", "0600", secret}, {"/etc/kubernetes/x", "0600", secret}}},
	} {
		b, err := RenderPayload(Payload{Files: test.files})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePayload(b); err == nil {
			t.Errorf("%s: accepted", test.why)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: error holds the content: %v", test.why, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", `{"node":{}}`, `{"node":{"schema":1},"more":1}`, `{"node":{"schema":2}}`} {
		if _, err := ParsePayload([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestNode(t *testing.T) {
	n := Node{Cluster: "demo", Name: "demo-cp-0", Role: ControlPlane, Labels: map[string]string{"b": "1", "a": "2"}}
	first, err := RenderNode(n)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseNode(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := RenderNode(again)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("rendered, parsed and rendered again, %v:\n%s\n%s", err, first, second)
	}
}

func TestStatus(t *testing.T) {
	b, err := RenderStatus(Status{Node: "x", Ready: true, Processes: []ProcessStatus{{Name: "etcd", State: Running, Ready: true}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseStatus(b)
	if err != nil || !s.Ready || s.Processes[0].State != Running {
		t.Errorf("got %+v, %v", s, err)
	}
	var newer map[string]any
	if err := json.Unmarshal(b, &newer); err != nil {
		t.Fatal(err)
	}
	newer["more"] = 1
	b, _ = json.Marshal(newer)
	if _, err := ParseStatus(b); err != nil {
		t.Errorf("a newer agent's status: %v", err)
	}
	newer["schema"] = 2
	b, _ = json.Marshal(newer)
	if _, err := ParseStatus(b); err == nil {
		t.Error("another schema was accepted")
	}
}

// TestEviction: a kubelet takes none of its default thresholds once one is named, and a share of a large disk is too much.
func TestEviction(t *testing.T) {
	b, err := RenderKubelet(Kubelet{CAFile: "/ca.crt", DNS: netip.MustParseAddr("10.96.0.10"), Domain: "cluster.local", ResolvConf: "/etc/resolv.conf", Socket: "/run/containerd.sock"})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Hard map[string]string `yaml:"evictionHard"`
	}
	if err := yaml.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []string{"memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"} {
		threshold := got.Hard[signal]
		if threshold == "" || strings.HasSuffix(signal, "fs.available") && strings.HasSuffix(threshold, "%") {
			t.Errorf("%s is %q, want a threshold, and of a disk no share", signal, threshold)
		}
	}
}
