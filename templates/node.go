package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// NodeSchema is the version of Node's JSON form. A node agent refuses a schema it does not know.
const NodeSchema = 1

// A Role is what a node does in its cluster.
type Role string

// The roles.
const (
	ControlPlane Role = "control-plane"
	Worker       Role = "worker"
)

// A Node is everything that a node agent must know to run its machine's share of a cluster, but for secrets: those are
// files beside it. It is written to /etc/provision/node.json by the bootstrapper and read by the node agent. Its bytes
// are canonical, so that their hash says whether a node is as the plan wants it.
//
// What an agent does when a running node's file changes: Bundle restarts everything. Address restarts etcd (after its peer
// URL was changed in the cluster), kube-apiserver, kubelet and flanneld. Etcd restarts etcd, kube-controller-manager and
// kube-scheduler when it grows from one to more or shrinks to one, and nothing otherwise: etcd itself knows its members.
// Endpoints, APINames, VIP, VIPInterface, BGP and Welcome restart nothing: the agent follows, and the API server
// reads its new certificate while it runs. Labels and Taints only matter to a node that has not joined yet.
type Node struct {
	Schema     int        `json:"schema"`
	Cluster    string     `json:"cluster"`
	UID        string     `json:"uid"` // of the cluster; two clusters of one name differ here
	Name       string     `json:"name"`
	Role       Role       `json:"role"`
	Address    netip.Addr `json:"address"`               // other nodes reach it here
	ProviderID string     `json:"provider_id,omitempty"` // Kubernetes' spec.providerID
	Kubernetes string     `json:"kubernetes"`            // version without v: "1.37.2"
	Bundle     string     `json:"bundle"`                // ID of the bundle to run

	Pods      netip.Prefix      `json:"pods"`
	Services  netip.Prefix      `json:"services"`
	DNS       netip.Addr        `json:"dns"`              // service address of the cluster's DNS
	Domain    string            `json:"domain"`           // "cluster.local"
	Backend   string            `json:"backend"`          // pod network: "vxlan" or "host-gw"
	NodeCIDR  int               `json:"node_cidr"`        // bits of the pod range that one node gets: 24
	Endpoints []string          `json:"endpoints"`        // host:port of every API server, sorted
	APINames  []string          `json:"api_names"`        // further names and addresses that the API server's certificate is for
	Etcd      []EtcdMember      `json:"etcd"`             // the control plane as it shall be, sorted by name
	Labels    map[string]string `json:"labels,omitempty"` // that the kubelet registers with
	Taints    []Taint           `json:"taints,omitempty"` // that the kubelet registers with

	VIP          netip.Addr `json:"vip,omitzero"`            // control plane only: address that moves to a node whose API server is well
	VIPInterface string     `json:"vip_interface,omitempty"` // the link to announce it on; "": the one that has Address
	BGP          *BGP       `json:"bgp,omitempty"`           // not nil: no link, but routers are told of VIP, by each node whose API server is well

	Cloud *NodeCloud `json:"cloud,omitempty"` // not nil: a cloud agent serves the cluster

	// Welcome, on the control plane only, serves invited machines what a node is made of (see Invitation).
	Welcome bool `json:"welcome,omitempty"`
}

// A NodeCloud is what a node must know of its cluster's cloud agent.
type NodeCloud struct {
	Vendor    string `json:"vendor"`              // the agent's
	External  bool   `json:"external,omitempty"`  // the node's kubelet leaves it to the agent to say where the node is, and takes no pods before
	Volumes   bool   `json:"volumes,omitempty"`   // the node mounts volumes of the vendor
	Announced bool   `json:"announced,omitempty"` // the node announces addresses of Services
}

// An EtcdMember is one member of the cluster's etcd.
type EtcdMember struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

// A Taint keeps pods away that do not tolerate it.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"` // NoSchedule, PreferNoSchedule or NoExecute
}

// RenderNode returns the canonical JSON of the node: the same node gives the same bytes.
func RenderNode(n Node) ([]byte, error) {
	n.Schema = NodeSchema
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render node %s: %w", n.Name, err)
	}
	return append(b, '\n'), nil
}

// ParseNode reads what RenderNode wrote. Unknown fields and other schemas are errors.
func ParseNode(b []byte) (Node, error) {
	var n Node
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&n); err != nil {
		return Node{}, fmt.Errorf("parse node: %w", err)
	}
	if n.Schema != NodeSchema {
		return Node{}, fmt.Errorf("parse node: schema %d, this program knows %d", n.Schema, NodeSchema)
	}
	return n, nil
}
