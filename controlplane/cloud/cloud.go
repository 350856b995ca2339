// Package cloud says how a control-plane node runs its cloud agent.
package cloud

import (
	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/apiserver"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// Name is the process's name.
const Name = "cloud-agent"

// Processes returns what the node runs of the cloud agent: nothing if the cluster has none.
func Processes(s controlplane.Setting) ([]controlplane.Process, error) {
	if s.Node.Cloud == nil {
		return nil, nil
	}
	cert := certificate(s.Node)
	conf, err := pki.Kubeconfig{
		Cluster: s.Node.Cluster, Server: controlplane.LocalServer, CAFile: pki.ClusterCA.File(),
		User: Name, CertFile: cert.CertFile(), KeyFile: cert.KeyFile(),
	}.Render()
	return []controlplane.Process{{
		Name: Name,
		Path: s.Program("cloud-agent"),
		Args: []string{
			"--config=" + templates.CloudPath, // it ends by itself when the file changes
			"--kubeconfig=" + templates.CloudKubeconfig,
		},
		Env:   []string{"GOGC=40"},
		Files: []templates.File{{Path: templates.CloudKubeconfig, Mode: "0600", Content: conf}},
		After: []string{apiserver.Name},
		Ready: controlplane.HTTPReady("http://"+templates.CloudHealth+"/healthz", ""),
	}}, err
}

func certificate(n templates.Node) pki.Certificate {
	return pki.Certificate{Name: Name, Issuer: pki.ClusterCA, Leaf: pki.Leaf{
		CommonName: "provision:cloud-agent:" + n.Name, Organizations: []string{templates.CloudGroup}, Usage: pki.Client,
	}}
}

// Certificates returns what the cloud agent needs.
func Certificates(n templates.Node) []pki.Certificate {
	if n.Cloud == nil {
		return nil
	}
	return []pki.Certificate{certificate(n)}
}
