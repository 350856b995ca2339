package templates

import (
	"errors"
	"net/netip"
)

// RenderAuthentication returns the API server's AuthenticationConfiguration: who shows no certificate and no token may
// only ask whether the server is well.
func RenderAuthentication() []byte { return static("authentication.yaml") }

// RenderAuditPolicy returns what the API server writes to its audit log.
func RenderAuditPolicy() []byte { return static("audit.yaml") }

// Kubelet is what a kubelet's configuration depends on.
type Kubelet struct {
	CAFile     string
	DNS        netip.Addr
	Domain     string
	Systemd    bool   // systemd manages cgroups
	ResolvConf string // of the host, for pods that use the host's DNS
	ProviderID string // may be empty
	Socket     string // of containerd
}

// VolumePlugins is where the kubelet looks for plug-ins.
func (Kubelet) VolumePlugins() string { return VolumePlugins }

// RenderKubelet returns a KubeletConfiguration, as YAML.
func RenderKubelet(k Kubelet) ([]byte, error) {
	if k.CAFile == "" || !k.DNS.IsValid() || k.Domain == "" || k.ResolvConf == "" || k.Socket == "" {
		return nil, errors.New("render kubelet: all but the provider ID is required")
	}
	return render("kubelet.yaml", k)
}

// Containerd is what containerd's configuration depends on.
type Containerd struct {
	Root     string   // folder of what it keeps
	State    string   // folder of what it needs until the next boot
	Bin      string   // folder of the shim and runc
	CNIBin   string   // folder of the CNI plug-ins
	CNIConf  string   // folder of their configuration
	Pause    string   // image of the sandboxes
	Keep     []string // further images that must not be removed when the disk is full: no registry has them
	Systemd  bool     // systemd manages cgroups
	OOMScore bool     // it may lower processes' OOM scores
}

// RenderContainerd returns containerd's configuration, as TOML.
func RenderContainerd(c Containerd) ([]byte, error) {
	if c.Root == "" || c.State == "" || c.Bin == "" || c.CNIBin == "" || c.CNIConf == "" || c.Pause == "" {
		return nil, errors.New("render containerd: all folders and the image are required")
	}
	return render("containerd.toml", c)
}

// Proxy is what kube-proxy's configuration depends on.
type Proxy struct {
	Kubeconfig string
	Node       string
	Pods       netip.Prefix
	Conntrack  bool // it may change the kernel's connection tracking
}

// RenderProxy returns a KubeProxyConfiguration, as YAML.
func RenderProxy(p Proxy) ([]byte, error) {
	if p.Kubeconfig == "" || p.Node == "" || !p.Pods.IsValid() {
		return nil, errors.New("render kube-proxy: kubeconfig, node and pods are required")
	}
	return render("kube-proxy.yaml", p)
}

// Flannel is what flannel's network depends on.
type Flannel struct {
	Pods    netip.Prefix
	Backend string // "vxlan" or "host-gw"
}

// RenderFlannel returns flannel's network configuration, as JSON.
func RenderFlannel(f Flannel) ([]byte, error) {
	if !f.Pods.IsValid() || (f.Backend != "vxlan" && f.Backend != "host-gw") {
		return nil, errors.New(`render flannel: pods and a backend, "vxlan" or "host-gw", are required`)
	}
	return render("flannel.json", f)
}

// CNI is what a node's pod network depends on.
type CNI struct {
	Subnet netip.Prefix // of the node's pods
	Pods   netip.Prefix // of all pods
	MTU    int
}

// RenderCNI returns a CNI configuration list, as JSON.
func RenderCNI(c CNI) ([]byte, error) {
	if !c.Subnet.IsValid() || !c.Pods.IsValid() || c.MTU < 576 {
		return nil, errors.New("render cni: two ranges and an MTU of at least 576 are required")
	}
	c.Subnet = c.Subnet.Masked()
	return render("cni.json", c)
}
