// Package manager says how a node runs its kube-controller-manager.
package manager

import (
	"fmt"
	"net/netip"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/apiserver"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// Name is the process's name.
const Name = "kube-controller-manager"

const kubeconfig = "/etc/kubernetes/controller-manager.conf"

// Process returns how to run the node's controller manager.
func Process(s controlplane.Setting) (controlplane.Process, error) {
	conf, err := pki.Kubeconfig{
		Cluster: s.Node.Cluster, Server: controlplane.LocalServer, CAFile: pki.ClusterCA.File(),
		User: Name, CertFile: certificate().CertFile(), KeyFile: certificate().KeyFile(),
	}.Render()
	if err != nil {
		return controlplane.Process{}, err
	}
	return controlplane.Process{
		Name:  Name,
		Path:  s.Program("kube-controller-manager"),
		Args:  args(s.Node),
		Env:   []string{"GOGC=60"},
		Files: []templates.File{{Path: kubeconfig, Mode: "0600", Content: conf}},
		After: []string{apiserver.Name},
		Ready: controlplane.HTTPReady("https://127.0.0.1:10257/healthz", pki.ClusterCA.File()),
	}, nil
}

func args(n templates.Node) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--tls-cert-file=" + certificate().CertFile(),
		"--tls-private-key-file=" + certificate().KeyFile(),
		"--client-ca-file=" + pki.ClusterCA.File(),
		"--requestheader-client-ca-file=" + pki.FrontProxyCA.File(),
		"--controllers=*,bootstrap-signer-controller,token-cleaner-controller",
		"--use-service-account-credentials=true",
		"--cluster-name=" + n.Cluster,
		"--cluster-signing-cert-file=" + pki.ClusterCA.File(),
		"--cluster-signing-key-file=" + pki.KeyFile(string(pki.ClusterCA)),
		"--root-ca-file=" + pki.ClusterCA.File(),
		"--service-account-private-key-file=" + pki.Dir + "/sa.key",
		"--allocate-node-cidrs=true",
		"--cluster-cidr=" + n.Pods.String(),
		fmt.Sprintf("--node-cidr-mask-size=%d", n.NodeCIDR),
		"--service-cluster-ip-range=" + n.Services.String(),
		// One alone has nobody to agree with, and need not write that it is there every other second.
		fmt.Sprintf("--leader-elect=%t", len(n.Etcd) > 1),
		// Each controller gets an account and a token before it starts: about 120 calls, which the default of 20 a second
		// spreads over five seconds of every start.
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--profiling=false",
		"--flex-volume-plugin-dir=" + templates.VolumePlugins, // it makes the folder, as the kubelet does
	}
}

func certificate() pki.Certificate {
	return pki.Certificate{Name: "controller-manager", Issuer: pki.ClusterCA, Leaf: pki.Leaf{
		CommonName: "system:kube-controller-manager",
		Names:      []string{"localhost"}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		Usage: pki.Client | pki.Server,
	}}
}

// Certificates returns what the controller manager needs.
func Certificates(templates.Node) []pki.Certificate { return []pki.Certificate{certificate()} }
