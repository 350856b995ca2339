package pki

import (
	"encoding/json"
	"fmt"
)

// A Kubeconfig says how to reach a cluster, and as whom. Of Pair, the files and Token one is given.
type Kubeconfig struct {
	Cluster  string // name shown by tools
	Server   string // https://host:port
	CA       []byte // PEM; or
	CAFile   string // the file that holds it
	User     string // name shown by tools
	Pair     Pair   // in the file itself
	CertFile string // or in files, which are read again when they change
	KeyFile  string
	Token    Token // or a bootstrap token
	Others   []Way // further ways to the same cluster, each with a context of its own
}

// A Way is one way to a cluster's API.
type Way struct {
	Name string // shown by tools
	URL  string // https://host:port
}

// Format prints where the kubeconfig leads to, whatever the verb: never its keys.
func (k Kubeconfig) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "[kubeconfig of %s]", k.Server) }

// The parts of a kubeconfig's form that we use. JSON is YAML too, and so are byte slices: base64 in both.
type (
	kubeconfigFile struct {
		APIVersion     string           `json:"apiVersion"`
		Kind           string           `json:"kind"`
		Clusters       []kubeconfigItem `json:"clusters"`
		Users          []kubeconfigItem `json:"users"`
		Contexts       []kubeconfigItem `json:"contexts"`
		CurrentContext string           `json:"current-context"`
	}
	kubeconfigItem struct {
		Name    string             `json:"name"`
		Cluster *kubeconfigCluster `json:"cluster,omitempty"`
		User    *kubeconfigUser    `json:"user,omitempty"`
		Context *kubeconfigContext `json:"context,omitempty"`
	}
	kubeconfigCluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data,omitempty"`
		CAFile string `json:"certificate-authority,omitempty"`
	}
	kubeconfigUser struct {
		Cert     []byte `json:"client-certificate-data,omitempty"`
		Key      []byte `json:"client-key-data,omitempty"`
		CertFile string `json:"client-certificate,omitempty"`
		KeyFile  string `json:"client-key,omitempty"`
		Token    string `json:"token,omitempty"`
	}
	kubeconfigContext struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	}
)

// Render returns the file, with its secrets in clear.
func (k Kubeconfig) Render() ([]byte, error) {
	context := k.User + "@" + k.Cluster
	f := kubeconfigFile{
		APIVersion: "v1", Kind: "Config", CurrentContext: context,
		Clusters: []kubeconfigItem{{Name: k.Cluster, Cluster: &kubeconfigCluster{k.Server, k.CA, k.CAFile}}},
		Users: []kubeconfigItem{{Name: k.User, User: &kubeconfigUser{
			Cert: k.Pair.Cert, Key: k.Pair.Key, CertFile: k.CertFile, KeyFile: k.KeyFile, Token: k.Token.Clear(),
		}}},
		Contexts: []kubeconfigItem{{Name: context, Context: &kubeconfigContext{k.Cluster, k.User}}},
	}
	for _, o := range k.Others {
		f.Clusters = append(f.Clusters, kubeconfigItem{Name: o.Name, Cluster: &kubeconfigCluster{o.URL, k.CA, k.CAFile}})
		f.Contexts = append(f.Contexts, kubeconfigItem{Name: k.User + "@" + o.Name, Context: &kubeconfigContext{o.Name, k.User}})
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render kubeconfig of %s: %w", k.Cluster, err)
	}
	return append(b, '\n'), nil
}
