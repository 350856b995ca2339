// Package scheduler says how a node runs its kube-scheduler.
package scheduler

import (
	"fmt"
	"net/netip"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/apiserver"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// Name is the process's name.
const Name = "kube-scheduler"

const kubeconfig = "/etc/kubernetes/scheduler.conf"

// Process returns how to run the node's scheduler.
func Process(s controlplane.Setting) (controlplane.Process, error) {
	conf, err := pki.Kubeconfig{
		Cluster: s.Node.Cluster, Server: controlplane.LocalServer, CAFile: pki.ClusterCA.File(),
		User: Name, CertFile: certificate().CertFile(), KeyFile: certificate().KeyFile(),
	}.Render()
	if err != nil {
		return controlplane.Process{}, err
	}
	return controlplane.Process{
		Name: Name,
		Path: s.Program("kube-scheduler"),
		Args: []string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			"--tls-cert-file=" + certificate().CertFile(),
			"--tls-private-key-file=" + certificate().KeyFile(),
			"--client-ca-file=" + pki.ClusterCA.File(),
			"--requestheader-client-ca-file=" + pki.FrontProxyCA.File(),
			// One alone has nobody to agree with.
			fmt.Sprintf("--leader-elect=%t", len(s.Node.Etcd) > 1),
			"--profiling=false",
		},
		Env:   []string{"GOGC=60"},
		Files: []templates.File{{Path: kubeconfig, Mode: "0600", Content: conf}},
		After: []string{apiserver.Name},
		Ready: controlplane.HTTPReady("https://127.0.0.1:10259/readyz", pki.ClusterCA.File()),
	}, nil
}

func certificate() pki.Certificate {
	return pki.Certificate{Name: "scheduler", Issuer: pki.ClusterCA, Leaf: pki.Leaf{
		CommonName: "system:kube-scheduler",
		Names:      []string{"localhost"}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		Usage: pki.Client | pki.Server,
	}}
}

// Certificates returns what the scheduler needs.
func Certificates(templates.Node) []pki.Certificate { return []pki.Certificate{certificate()} }
