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

// ClientAddress and ClientURL are where the node's own API server reaches it.
const (
	ClientAddress = "127.0.0.1:2379"
	ClientURL     = "https://" + ClientAddress
)

// quota is the size in bytes at which etcd refuses writes: the largest that its authors suggest for ordinary machines.
const quota = 8 << 30

// Name is the process's name.
const Name = "etcd"

// learners is how many members may catch up at once, before they get a vote.
const learners = 4

// Process returns how to run the node's member. Which members there are it knows from its data, so that a change of theirs
// restarts nothing; a member without data is told when it starts, by Setting.Member.
func Process(s controlplane.Setting) controlplane.Process {
	self := s.Node.Address
	client, peer := Client(self), Peer(self)
	return controlplane.Process{
		Name: Name,
		Path: s.Program("etcd"),
		Args: append(pace(s.Node), []string{
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
			fmt.Sprintf("--max-learners=%d", learners),
			"--feature-gates=InitialCorruptCheck=true",
			"--watch-progress-notify-interval=5s",
			"--log-level=warn",
		}...),
		Late:  s.Member.Args,
		Env:   []string{"GOGC=50"},
		Dirs:  []controlplane.Dir{{Path: DataDir, Mode: 0o700}},
		Gate:  s.Member.Hold,
		Ready: controlplane.HTTPReady("http://127.0.0.1:2381/readyz", ""),
		Grace: grace(s.Node),
	}
}

// Found returns the arguments of a member that founds a new cluster with others. All of them may start at once.
func Found(n templates.Node, all []templates.EtcdMember) []string { return initial(n, all, "new") }

// Join returns the arguments of a member that has been added to a cluster, whose members are all, itself among them.
func Join(n templates.Node, all []templates.EtcdMember) []string { return initial(n, all, "existing") }

func initial(n templates.Node, all []templates.EtcdMember, state string) []string {
	return []string{
		"--initial-cluster=" + members(all),
		"--initial-cluster-state=" + state,
		"--initial-cluster-token=" + n.UID,
	}
}

// Client returns the URL at which clients on other nodes reach the member at an address.
func Client(a netip.Addr) string { return url(a, 2379) }

// Peer returns the URL at which the other members reach the member at an address.
func Peer(a netip.Addr) string { return url(a, 2380) }

// grace is how long a member may take to end. Asked to, it waits seven seconds for watches to end, which never do, before
// it gives its leadership to another; alone it has none to give, and what it has promised is on the disk.
func grace(n templates.Node) time.Duration {
	if len(n.Etcd) > 1 {
		return 15 * time.Second
	}
	return time.Second
}

// pace is how long a member waits before it stands for election. One alone has nobody to wait for.
func pace(n templates.Node) []string {
	if len(n.Etcd) > 1 {
		return nil
	}
	return []string{"--heartbeat-interval=25", "--election-timeout=250"} // milliseconds
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
