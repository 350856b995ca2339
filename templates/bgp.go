package templates

import (
	"encoding/json"
	"net/netip"
)

// A BGP is how control-plane nodes tell routers who has the virtual address.
type BGP struct {
	ASN   uint32    `json:"asn"`   // of the nodes
	Hold  int       `json:"hold"`  // seconds without a word after which a router takes a node for dead
	Peers []BGPPeer `json:"peers"` // sorted by address
}

// A BGPPeer is a router. Its password is not here, but in BGPPath.
type BGPPeer struct {
	Address netip.Addr `json:"address"`
	ASN     uint32     `json:"asn"`
	Port    int        `json:"port,omitempty"` // 179 if 0
	Hops    int        `json:"hops,omitempty"` // how many hops away at most; 1 if 0
}

// BGPPath is the file with the routers' passwords, on control-plane nodes of a cluster that speaks BGP.
const BGPPath = "/etc/provision/bgp.json"

// BGPSecrets are the passwords by the routers' addresses.
type BGPSecrets struct {
	Passwords map[netip.Addr]string `json:"passwords"`
}

// RenderBGPSecrets returns the content of BGPPath: the same passwords give the same bytes.
func RenderBGPSecrets(s BGPSecrets) ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// ParseBGPSecrets reads what RenderBGPSecrets wrote.
func ParseBGPSecrets(b []byte) (BGPSecrets, error) {
	var s BGPSecrets
	err := json.Unmarshal(b, &s)
	return s, err
}

// A BGPPeerStatus is how a node's session with a router is.
type BGPPeerStatus struct {
	Address netip.Addr `json:"address"`
	Up      bool       `json:"up"`
	State   string     `json:"state"` // BGP's own word: "active", "established"
}
