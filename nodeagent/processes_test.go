package nodeagent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

func testNode(role templates.Role, members int) templates.Node {
	n := templates.Node{
		Schema: templates.NodeSchema, Cluster: "demo", UID: "u-1", Name: "demo-cp-0", Role: role, Address: netip.MustParseAddr("10.0.0.1"),
		Kubernetes: "1.37.2", Bundle: "b1", Pods: netip.MustParsePrefix("10.244.0.0/16"), Services: netip.MustParsePrefix("10.96.0.0/16"),
		DNS: netip.MustParseAddr("10.96.0.10"), Domain: "cluster.local", Backend: "vxlan", NodeCIDR: 24,
		Endpoints: []string{"10.0.0.1:6443"}, APINames: []string{"203.0.113.9", "api.example"},
	}
	for i := range members {
		n.Etcd = append(n.Etcd, templates.EtcdMember{Name: "demo-cp-" + string(rune('0'+i)), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)})})
	}
	return n
}

func processesOf(t *testing.T, n templates.Node, h host) map[string]controlplane.Process {
	t.Helper()
	h.resolvConf = "/etc/resolv.conf"
	f := fleet{Setting: controlplane.Setting{Node: n, Bin: "/opt/provision/b1/bin"}, host: h, pause: "pause:1", keep: []string{"dns:1", "web:1"}, images: func() string { return "" }}
	list, err := f.processes()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]controlplane.Process{}
	for _, p := range list {
		if !strings.HasPrefix(p.Path, "/opt/provision/b1/bin/") || p.Ready == nil {
			t.Errorf("process %s runs %s, probe %v", p.Name, p.Path, p.Ready != nil)
		}
		for _, a := range p.After {
			if _, ok := m[a]; !ok {
				t.Errorf("%s comes before %s, which it follows", p.Name, a)
			}
		}
		m[p.Name] = p
	}
	return m
}

func TestProcesses(t *testing.T) {
	cp := processesOf(t, testNode(templates.ControlPlane, 1), host{})
	worker := processesOf(t, testNode(templates.Worker, 0), host{})
	if len(cp) != 8 || len(worker) != 4 {
		t.Errorf("a control-plane node runs %d processes and a worker %d, want 8 and 4", len(cp), len(worker))
	}
	has := func(process string, args ...string) {
		t.Helper()
		for _, a := range args {
			if !slices.Contains(cp[process].Args, a) {
				t.Errorf("%s is not given %s: %v", process, a, cp[process].Args)
			}
		}
	}
	has("etcd", "--client-cert-auth=true", "--peer-client-cert-auth=true", "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt")
	has("kube-apiserver", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--encryption-provider-config=/etc/kubernetes/pki/encryption.json",
		"--kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt", "--kubelet-preferred-address-types=InternalIP", "--profiling=false",
		"--authentication-config=/etc/provision/apiserver/authentication.yaml", "--service-cluster-ip-range=10.96.0.0/16", "--advertise-address=10.0.0.1")
	has("kube-controller-manager", "--leader-elect=false", "--bind-address=127.0.0.1", "--cluster-cidr=10.244.0.0/16", "--node-cidr-mask-size=24", "--use-service-account-credentials=true")
	has("kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1")
	has("kubelet", "--node-ip=10.0.0.1", "--hostname-override=demo-cp-0", "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap.conf")
	for name, p := range cp {
		for _, a := range p.Args {
			if strings.Contains(a, "unsafe") || strings.Contains(a, "insecure") || strings.Contains(a, "anonymous-auth=true") {
				t.Errorf("%s is given %s", name, a)
			}
		}
	}
}

func TestProcessesOfThree(t *testing.T) {
	three := processesOf(t, testNode(templates.ControlPlane, 3), host{})
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		if !slices.Contains(three[name].Args, "--leader-elect=true") {
			t.Errorf("%s does not elect: %v", name, three[name].Args)
		}
	}
}

// restarts returns the processes that a change of the node's file would restart.
func restarts(t *testing.T, before, after templates.Node) []string {
	t.Helper()
	was, is := processesOf(t, before, host{}), processesOf(t, after, host{})
	var names []string
	for name := range was {
		if was[name].Hash() != is[name].Hash() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestWhatRestarts holds what templates.Node says of a change of each field.
func TestWhatRestarts(t *testing.T) {
	three := testNode(templates.ControlPlane, 3)
	for name, c := range map[string]struct {
		from   int
		change func(*templates.Node)
		want   string
	}{
		"one member more":    {3, func(n *templates.Node) { n.Etcd = append(n.Etcd, templates.EtcdMember{Name: "x", Address: n.DNS}) }, ""},
		"member elsewhere":   {3, func(n *templates.Node) { n.Etcd[1].Address = n.DNS }, ""},
		"three to two":       {3, func(n *templates.Node) { n.Etcd = n.Etcd[:2] }, ""},
		"endpoints":          {3, func(n *templates.Node) { n.Endpoints = []string{"10.0.0.9:6443"} }, ""},
		"names, VIP":         {3, func(n *templates.Node) { n.APINames, n.VIP, n.VIPInterface = []string{"a.example"}, n.DNS, "eth1" }, ""},
		"one to three":       {1, func(n *templates.Node) { n.Etcd = three.Etcd }, "etcd kube-controller-manager kube-scheduler"},
		"three to one":       {3, func(n *templates.Node) { n.Etcd = n.Etcd[:1] }, "etcd kube-controller-manager kube-scheduler"},
		"the node's address": {3, func(n *templates.Node) { n.Address = n.DNS }, "etcd flanneld kube-apiserver kubelet"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := testNode(templates.ControlPlane, c.from), testNode(templates.ControlPlane, c.from)
			c.change(&after)
			if got := strings.Join(restarts(t, before, after), " "); got != c.want {
				t.Errorf("restarts %q, want %q", got, c.want)
			}
		})
	}
}

// TestLabelsRestartNothing holds what editing labels, taints, endpoints and names of a cluster may touch: no process.
func TestLabelsRestartNothing(t *testing.T) {
	n := testNode(templates.ControlPlane, 1)
	before := processesOf(t, n, host{})
	n.Labels = map[string]string{"tier": "web", "a": "b"}
	n.Taints = []templates.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}}
	n.Endpoints = append(n.Endpoints, "10.0.0.2:6443")
	n.APINames = append(n.APINames, "new.example")
	after := processesOf(t, n, host{})
	for name := range before {
		if before[name].Hash() != after[name].Hash() {
			t.Errorf("%s would be restarted", name)
		}
	}
	if got := strings.Join(after["kubelet"].Once, " "); got != "--node-labels=a=b,tier=web --register-with-taints=k=v:NoSchedule" {
		t.Errorf("a new kubelet is given %q", got)
	}
}

func TestConfigurationFiles(t *testing.T) {
	for _, test := range []struct {
		host host
		want map[string][]string // file: what it holds
	}{
		{host{systemd: true, oomScore: true, conntrack: true}, map[string][]string{
			kubeletConf:    {"cgroupDriver: systemd", "shutdownGracePeriod: 30s", "failSwapOn: false", "serverTLSBootstrap: true", "anonymous: {enabled: false}"},
			containerdConf: {"SystemdCgroup = true", "restrict_oom_score_adj = false", `sandbox = "pause:1"`, "/opt/provision/current/bin/runc"},
		}},
		{host{}, map[string][]string{
			kubeletConf:    {"cgroupDriver: cgroupfs", "failCgroupV1: false"},
			containerdConf: {"SystemdCgroup = false", "restrict_oom_score_adj = true", `bundle-1 = "web:1"`},
			proxyConf:      {"mode: nftables", "maxPerCore: 0, min: 0"},
			flannelConf:    {`"Type": "vxlan"`, `"EnableNFTables": true`},
			nodeConf:       {kubeletClient, "https://127.0.0.1:7443"},
		}},
	} {
		files := map[string]templates.File{}
		for _, p := range processesOf(t, testNode(templates.ControlPlane, 1), test.host) {
			for _, f := range p.Files {
				files[f.Path] = f
			}
		}
		for path, want := range test.want {
			for _, w := range want {
				if !strings.Contains(string(files[path].Content), w) {
					t.Errorf("with %+v %s does not hold %q:\n%s", test.host, path, w, files[path].Content)
				}
			}
		}
		for path, f := range files {
			var v any
			if strings.HasSuffix(path, "yaml") || strings.HasSuffix(path, "json") || strings.HasSuffix(path, "conf") {
				if err := yaml.Unmarshal(f.Content, &v); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
}

func TestCertificatesOfANode(t *testing.T) {
	root := t.TempDir()
	now := time.Now()
	a, err := pki.NewAuthorities("demo", now)
	if err != nil {
		t.Fatal(err)
	}
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range files {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := testNode(templates.ControlPlane, 1)
	keep := func(n templates.Node, at time.Time) []string {
		t.Helper()
		issued, err := pki.Keep(root, certificates(n), at)
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	if issued := keep(n, now); len(issued) != len(certificates(n)) {
		t.Errorf("issued %v at first", issued)
	}
	if issued := keep(n, now); len(issued) != 0 {
		t.Errorf("issued %v again", issued)
	}
	b, err := os.ReadFile(filepath.Join(root, pki.CertFile("apiserver")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.ParseCertificate(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "10.96.0.1", "10.0.0.1", "203.0.113.9", "api.example", "kubernetes.default.svc.cluster.local", "demo-cp-0", "localhost"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Errorf("API server: %v", err)
		}
	}
	info, err := os.Stat(filepath.Join(root, pki.KeyFile("apiserver")))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	n.APINames = append(n.APINames, "new.example")
	if issued := keep(n, now); strings.Join(issued, " ") != "apiserver" {
		t.Errorf("after a new name issued %v, want apiserver alone", issued)
	}
	if issued := keep(n, now.Add(pki.LeafLife*3/4)); len(issued) != len(certificates(n)) {
		t.Errorf("with a quarter of their life left renewed %v, want all", issued)
	}
	list := expiries(root, n)
	if len(list) != len(certificates(n))+3 {
		t.Errorf("status shows %d certificates: %v", len(list), list)
	}
	if certificates(testNode(templates.Worker, 0)) != nil {
		t.Error("a worker issues certificates to itself")
	}
}
