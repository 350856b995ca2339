// Package apiserver says how a node runs its kube-apiserver.
package apiserver

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// Name is the process's name.
const Name = "kube-apiserver"

// Files that the server reads.
const (
	authenticationFile = "/etc/provision/apiserver/authentication.yaml"
	auditFile          = "/etc/provision/apiserver/audit.yaml"
)

// AuditLog is where every change to the cluster is written down.
const AuditLog = templates.LogDir + "/audit.log"

// Process returns how to run the node's API server.
func Process(s controlplane.Setting) controlplane.Process {
	return controlplane.Process{
		Name: Name,
		Path: s.Program("kube-apiserver"),
		Args: slices.Concat(serving(s.Node), storage(), identities(s.Node), kubelets()),
		Env:  []string{"GOGC=60"},
		Dirs: []controlplane.Dir{{Path: templates.LogDir, Mode: 0o755}},
		Files: []templates.File{
			{Path: authenticationFile, Mode: "0600", Content: templates.RenderAuthentication()},
			{Path: auditFile, Mode: "0600", Content: templates.RenderAuditPolicy()},
		},
		// It need not wait until etcd serves: connections to an open port wait there, and it has enough to do meanwhile.
		Gate:  controlplane.All(s.Member.Serve, controlplane.Listening(etcd.ClientAddress, etcd.Name)),
		Uses:  []string{etcd.Name},
		Ready: controlplane.HTTPReady(fmt.Sprintf("https://127.0.0.1:%d/readyz", templates.APIPort), pki.ClusterCA.File()),
		Grace: 20 * time.Second,
	}
}

func serving(n templates.Node) []string {
	return []string{
		"--advertise-address=" + n.Address.String(),
		fmt.Sprintf("--secure-port=%d", templates.APIPort),
		"--tls-cert-file=" + pki.CertFile("apiserver"),
		"--tls-private-key-file=" + pki.KeyFile("apiserver"),
		"--tls-min-version=VersionTLS12",
		"--service-cluster-ip-range=" + n.Services.String(),
		"--allow-privileged=true",
		"--profiling=false",
		// When it is asked to end, it closes watches itself: else it would wait a minute for their clients to.
		"--shutdown-watch-termination-grace-period=1s",
		// Spreads connections over several servers: HTTP/2 clients would else stay with the first for ever. One alone does it
		// too, at the price of a connection made anew now and then, and need not be restarted when it gets company.
		"--goaway-chance=0.001",
	}
}

func storage() []string {
	return []string{
		// Only the member of its own node: when that fails, the server is unwell and its clients go to another.
		"--etcd-servers=" + etcd.ClientURL,
		"--etcd-cafile=" + pki.EtcdCA.File(),
		"--etcd-certfile=" + pki.CertFile("apiserver-etcd-client"),
		"--etcd-keyfile=" + pki.KeyFile("apiserver-etcd-client"),
		"--encryption-provider-config=" + pki.Dir + "/encryption.json",
	}
}

// identities are who may come in, as whom, and what is written down about it.
func identities(n templates.Node) []string {
	return []string{
		"--client-ca-file=" + pki.ClusterCA.File(),
		"--authentication-config=" + authenticationFile,
		"--enable-bootstrap-token-auth=true",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc." + n.Domain,
		"--service-account-key-file=" + pki.Dir + "/sa.pub",
		"--service-account-signing-key-file=" + pki.Dir + "/sa.key",
		"--requestheader-client-ca-file=" + pki.FrontProxyCA.File(),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--audit-policy-file=" + auditFile,
		"--audit-log-path=" + AuditLog,
		"--audit-log-maxsize=20",
		"--audit-log-maxbackup=4",
		"--audit-log-maxage=30",
	}
}

// kubelets are how it reaches kubelets, and the API servers that it fronts.
func kubelets() []string {
	return []string{
		"--kubelet-certificate-authority=" + pki.ClusterCA.File(),
		"--kubelet-client-certificate=" + pki.CertFile("apiserver-kubelet-client"),
		"--kubelet-client-key=" + pki.KeyFile("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + pki.CertFile("front-proxy-client"),
		"--proxy-client-key-file=" + pki.KeyFile("front-proxy-client"),
		"--enable-aggregator-routing=true",
	}
}

// Certificates returns what the server needs. The names it serves under are all by which anybody may reach it.
func Certificates(n templates.Node) []pki.Certificate {
	names, addresses := subjects(n)
	return []pki.Certificate{
		{Name: "apiserver", Issuer: pki.ClusterCA, Leaf: pki.Leaf{CommonName: "kube-apiserver", Names: names, Addresses: addresses, Usage: pki.Server}},
		{Name: "apiserver-kubelet-client", Issuer: pki.ClusterCA, Leaf: pki.Leaf{CommonName: templates.KubeletClient, Usage: pki.Client}},
		{Name: "apiserver-etcd-client", Issuer: pki.EtcdCA, Leaf: pki.Leaf{CommonName: "kube-apiserver", Usage: pki.Client}},
		{Name: "front-proxy-client", Issuer: pki.FrontProxyCA, Leaf: pki.Leaf{CommonName: "front-proxy-client", Usage: pki.Client}},
	}
}

func subjects(n templates.Node) (names []string, addresses []netip.Addr) {
	names = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + n.Domain, n.Name}
	addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1"), controlplane.Nth(n.Services, 1), n.Address}
	hosts := slices.Clone(n.APINames)
	if n.VIP.IsValid() {
		hosts = append(hosts, n.VIP.String())
	}
	for _, e := range n.Endpoints {
		if host, _, err := net.SplitHostPort(e); err == nil {
			hosts = append(hosts, host)
		}
	}
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h); err == nil {
			addresses = append(addresses, a)
		} else {
			names = append(names, h)
		}
	}
	slices.Sort(names)
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(names), slices.Compact(addresses)
}
