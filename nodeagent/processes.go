package nodeagent

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/apiserver"
	"github.com/provisionhq/provision/controlplane/cloud"
	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/controlplane/manager"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/controlplane/scheduler"
	"github.com/provisionhq/provision/nodeagent/welcome"
	"github.com/provisionhq/provision/templates"
)

// Where the node's own processes keep things.
const (
	containerdState  = "/run/containerd"
	containerdRoot   = "/var/lib/containerd"
	containerdSocket = containerdState + "/containerd.sock"
	containerdConf   = "/etc/provision/containerd/config.toml"

	kubeletRoot   = "/var/lib/kubelet"
	kubeletConf   = "/etc/provision/kubelet/config.yaml"
	kubeletClient = kubeletRoot + "/pki/kubelet-client-current.pem" // the node's identity
	kubeletServer = kubeletRoot + "/pki/kubelet-server-current.pem"
	kubeletKube   = "/etc/kubernetes/kubelet.conf" // the kubelet writes it when it joins

	nodeConf  = "/etc/kubernetes/node.conf" // kubeconfig of kube-proxy and flanneld: the node's identity by path
	proxyConf = "/etc/provision/kube-proxy/config.yaml"

	flannelConf   = "/etc/provision/flannel/net-conf.json"
	flannelSubnet = "/run/flannel/subnet.env"
	flannelHealth = "127.0.0.1:10261"

	cniConfDir = "/etc/cni/net.d"
	cniConf    = cniConfDir + "/10-provision.conflist"
)

// Names of the node's own processes.
const (
	containerdName = "containerd"
	kubeletName    = "kubelet"
	proxyName      = "kube-proxy"
	flannelName    = "flanneld"
)

// A fleet is what the processes of one node are made from.
type fleet struct {
	controlplane.Setting
	host   host
	pause  string        // image of the sandboxes
	keep   []string      // names of the bundle's other images
	images func() string // what the images that the kubelet needs still wait for
}

// GOGC is less than Go's own 100 everywhere: these programs are idle most of the time, and what they would save in garbage
// collection is less than what they would hold in memory.

// processes returns all that the node runs, in the order in which they may start. What has no After starts at once.
func (f fleet) processes() ([]controlplane.Process, error) {
	list := []controlplane.Process{}
	if f.Node.Role == templates.ControlPlane {
		kcm, err1 := manager.Process(f.Setting)
		sched, err2 := scheduler.Process(f.Setting)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%w%w", err1, err2)
		}
		agent, err := cloud.Processes(f.Setting)
		if err != nil {
			return nil, err
		}
		list = append(list, etcd.Process(f.Setting), apiserver.Process(f.Setting), kcm, sched)
		list = append(list, agent...)
	}
	for _, make := range []func() (controlplane.Process, error){f.containerd, f.kubelet, f.flanneld, f.proxy} {
		p, err := make()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// certificates returns those that the node issues to itself.
func certificates(n templates.Node) []pki.Certificate {
	if n.Role != templates.ControlPlane {
		return nil
	}
	return slices.Concat(etcd.Certificates(n), apiserver.Certificates(n), manager.Certificates(n), scheduler.Certificates(n), cloud.Certificates(n), welcomed(n), []pki.Certificate{
		{Name: "node-agent", Issuer: pki.ClusterCA, Leaf: pki.Leaf{CommonName: "provision:node-agent:" + n.Name, Organizations: []string{templates.AgentGroup}, Usage: pki.Client}},
		// Root on a control-plane node holds the authorities' keys, so this gives nobody anything.
		{Name: "admin", Issuer: pki.ClusterCA, Leaf: pki.Leaf{CommonName: "provision:root:" + n.Name, Organizations: []string{"system:masters"}, Usage: pki.Client}},
	})
}

// welcomed is the certificate of a node that serves invited machines.
func welcomed(n templates.Node) []pki.Certificate {
	if !n.Welcome {
		return nil
	}
	return []pki.Certificate{welcome.Certificate(n)}
}

// adminConf is root's kubeconfig on a control-plane node.
func adminConf(n templates.Node) ([]byte, error) {
	return pki.Kubeconfig{
		Cluster: n.Cluster, Server: controlplane.LocalServer, CAFile: pki.ClusterCA.File(),
		User: "root", CertFile: pki.CertFile("admin"), KeyFile: pki.KeyFile("admin"),
	}.Render()
}

func (f fleet) containerd() (controlplane.Process, error) {
	conf, err := templates.RenderContainerd(templates.Containerd{
		// Containers remember where their runc and shim are, so these are the link and not this bundle's folder.
		Root: containerdRoot, State: containerdState, Bin: templates.Current + "/bin", CNIBin: templates.Current + "/cni",
		CNIConf: cniConfDir, Pause: f.pause, Keep: f.keep, Systemd: f.host.systemd, OOMScore: f.host.oomScore,
	})
	return controlplane.Process{
		Name:  containerdName,
		Path:  f.Program("containerd"),
		Args:  []string{"--config=" + containerdConf},
		Env:   []string{"GOGC=60"},
		Dirs:  []controlplane.Dir{{Path: containerdRoot, Mode: 0o711}, {Path: containerdState, Mode: 0o711}, {Path: cniConfDir, Mode: 0o755}},
		Files: []templates.File{{Path: containerdConf, Mode: "0600", Content: conf}},
		Ready: controlplane.SocketReady(containerdSocket),
	}, err
}

func (f fleet) kubelet() (controlplane.Process, error) {
	n := f.Node
	conf, err := templates.RenderKubelet(templates.Kubelet{
		CAFile: pki.ClusterCA.File(), DNS: n.DNS, Domain: n.Domain, Systemd: f.host.systemd,
		ResolvConf: f.host.resolvConf, ProviderID: n.ProviderID, Socket: containerdSocket,
	})
	args := []string{
		"--config=" + kubeletConf,
		"--kubeconfig=" + kubeletKube,
		"--bootstrap-kubeconfig=" + templates.BootstrapConf,
		"--cert-dir=" + kubeletRoot + "/pki",
		"--root-dir=" + kubeletRoot,
		"--hostname-override=" + n.Name,
		// Without it the kubelet looks its own name up in the DNS first, and may wait long for that.
		"--node-ip=" + n.Address.String(),
	}
	if n.Cloud != nil && n.Cloud.External {
		args = append(args, "--cloud-provider=external")
	}
	return controlplane.Process{
		Name:  kubeletName,
		Path:  f.Program("kubelet"),
		Args:  args,
		Once:  registration(n),
		Env:   []string{"GOGC=40"},
		Dirs:  []controlplane.Dir{{Path: kubeletRoot, Mode: 0o750}},
		Files: []templates.File{{Path: kubeletConf, Mode: "0600", Content: conf}},
		After: []string{containerdName},
		Gate: func() string {
			if joined() != "" && !exists(templates.BootstrapConf) { // it has been removed from a node that has joined
				return "a token to join with"
			}
			return f.images()
		},
		Ready: controlplane.HTTPReady("http://127.0.0.1:10248/healthz", ""),
	}, err
}

// registration is what a kubelet says of itself when it joins, and never again.
func registration(n templates.Node) []string {
	var args, labels, taints []string
	for k, v := range n.Labels {
		labels = append(labels, k+"="+v)
	}
	for _, t := range n.Taints {
		taints = append(taints, t.Key+"="+t.Value+":"+t.Effect)
	}
	slices.Sort(labels)
	if len(labels) > 0 {
		args = append(args, "--node-labels="+strings.Join(labels, ","))
	}
	if len(taints) > 0 {
		args = append(args, "--register-with-taints="+strings.Join(taints, ","))
	}
	return args
}

// identity is the kubeconfig of what runs with the node's own certificate.
func (f fleet) identity() (templates.File, error) {
	conf, err := pki.Kubeconfig{
		Cluster: f.Node.Cluster, Server: controlplane.LocalServer, CAFile: pki.ClusterCA.File(),
		User: "node", CertFile: kubeletClient, KeyFile: kubeletClient,
	}.Render()
	return templates.File{Path: nodeConf, Mode: "0600", Content: conf}, err
}

// joined lets a process wait until the node has its certificate.
func joined() string {
	if _, err := os.Stat(kubeletClient); err != nil {
		return "the node's certificate"
	}
	return ""
}

func (f fleet) flanneld() (controlplane.Process, error) {
	identity, err := f.identity()
	if err != nil {
		return controlplane.Process{}, err
	}
	conf, err := templates.RenderFlannel(templates.Flannel{Pods: f.Node.Pods, Backend: f.Node.Backend})
	return controlplane.Process{
		Name: flannelName,
		Path: f.Program("flanneld"),
		Args: []string{
			"--kubeconfig=" + nodeConf,
			"--node-name=" + f.Node.Name,
			"--public-ip=" + f.Node.Address.String(),
			"--net-conf=" + flannelConf,
			"--subnet-file=" + flannelSubnet,
			"--healthz-addr=" + flannelHealth,
			"--ip-masq=true",
		},
		Env:   []string{"GOGC=40"},
		Files: []templates.File{identity, {Path: flannelConf, Mode: "0644", Content: conf}},
		Gate:  joined,
		Ready: controlplane.HTTPReady("http://"+flannelHealth+"/readyz", ""),
	}, err
}

func (f fleet) proxy() (controlplane.Process, error) {
	identity, err := f.identity()
	if err != nil {
		return controlplane.Process{}, err
	}
	conf, err := templates.RenderProxy(templates.Proxy{Kubeconfig: nodeConf, Node: f.Node.Name, Pods: f.Node.Pods, Conntrack: f.host.conntrack})
	return controlplane.Process{
		Name:  proxyName,
		Path:  f.Program("kube-proxy"),
		Args:  []string{"--config=" + proxyConf},
		Env:   []string{"GOGC=40"},
		Files: []templates.File{identity, {Path: proxyConf, Mode: "0644", Content: conf}},
		Gate:  joined,
		Ready: controlplane.HTTPReady("http://127.0.0.1:10256/healthz", ""),
	}, err
}
