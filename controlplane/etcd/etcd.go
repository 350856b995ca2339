// Package etcd says how a node runs its member of etcd.
package etcd

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// DataDir is where the member keeps its data.
const DataDir = "/var/lib/etcd"

// ClientURL is where the node's own API server reaches it.
const ClientURL = "https://127.0.0.1:2379"

// quota is the size in bytes at which etcd refuses writes: the largest that its authors suggest for ordinary machines.
const quota = 8 << 30

// Name is the process's name.
const Name = "etcd"

// Process returns how to run the node's member. All members of a new cluster may start at once.
func Process(s controlplane.Setting) controlplane.Process {
	self := s.Node.Address
	client, peer := url(self, 2379), url(self, 2380)
	return controlplane.Process{
		Name: Name,
		Path: s.Program("etcd"),
		Args: []string{
			"--name=" + s.Node.Name,
			"--data-dir=" + DataDir,
			"--listen-client-urls=" + ClientURL + "," + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--listen-metrics-urls=http://127.0.0.1:2381",
			"--client-cert-auth=true",
			"--trusted-ca-file=" + pki.EtcdCA.File(),
			"--cert-file=" + pki.CertFile("etcd/server"),
			"--key-file=" + pki.KeyFile("etcd/server"),
			"--peer-client-cert-auth=true",
			"--peer-trusted-ca-file=" + pki.EtcdCA.File(),
			"--peer-cert-file=" + pki.CertFile("etcd/peer"),
			"--peer-key-file=" + pki.KeyFile("etcd/peer"),
			"--tls-min-version=TLS1.2",
			fmt.Sprintf("--quota-backend-bytes=%d", quota),
			"--feature-gates=InitialCorruptCheck=true",
			"--watch-progress-notify-interval=5s",
			"--log-level=warn",
		},
		Once: []string{
			"--initial-cluster=" + members(s.Node.Etcd),
			"--initial-cluster-state=new",
			"--initial-cluster-token=" + s.Node.UID,
		},
		Env:   []string{"GOGC=50"},
		Dirs:  []controlplane.Dir{{Path: DataDir, Mode: 0o700}},
		Ready: controlplane.HTTPReady("http://127.0.0.1:2381/readyz", ""),
		Grace: 20 * time.Second,
	}
}

func url(a netip.Addr, port uint16) string { return "https://" + netip.AddrPortFrom(a, port).String() }

func members(list []templates.EtcdMember) string {
	var parts []string
	for _, m := range list {
		parts = append(parts, m.Name+"="+url(m.Address, 2380))
	}
	return strings.Join(parts, ",")
}

// Certificates returns what the member needs. Towards other members it is a client too, and the API server and a person
// with etcdctl are clients.
func Certificates(n templates.Node) []pki.Certificate {
	both := func(name string) pki.Certificate {
		return pki.Certificate{Name: name, Issuer: pki.EtcdCA, Leaf: pki.Leaf{
			CommonName: n.Name, Names: []string{"localhost", n.Name},
			Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), n.Address}, Usage: pki.Client | pki.Server,
		}}
	}
	return []pki.Certificate{
		both("etcd/server"),
		both("etcd/peer"),
		{Name: "etcd/client", Issuer: pki.EtcdCA, Leaf: pki.Leaf{CommonName: "etcdctl", Usage: pki.Client}},
	}
}
