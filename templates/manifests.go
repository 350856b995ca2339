package templates

import (
	"errors"
	"net/netip"
	"time"
)

// RenderRBAC returns the roles and bindings that nodes, node agents and admins need, as YAML. It is to be applied before
// the first token.
func RenderRBAC() ([]byte, error) { return render("rbac.yaml", nil) }

// RenderNetworkPolicyGuard returns a policy that refuses NetworkPolicy objects, as YAML: the pod network does not enforce
// them, and silence would be worse than a refusal. Namespaces with the label UnenforcedPolicy set to "allowed" are exempt.
func RenderNetworkPolicyGuard() ([]byte, error) { return render("networkpolicy-guard.yaml", nil) }

// RenderCloudAgent returns the roles and bindings of the cloud agents (CloudGroup), as YAML.
func RenderCloudAgent() ([]byte, error) { return render("cloud-agent.yaml", CloudGroup) }

// A Token is a bootstrap token for one node.
type Token struct {
	ID      string // six characters
	Secret  string // sixteen characters
	Node    string // the node that it is for
	Expires time.Time
	// Bound says that it lets in its own node and no other: not Kubernetes but a control-plane node's agent approves the request
	// for the node's certificate, after looking at the name. The agents serve its bearer what a node is made of.
	Bound bool
}

// Groups are those that the token's bearer is in.
func (t Token) Groups() string {
	if t.Bound {
		return InvitedGroup + "," + InvitedGroup + ":" + t.Node
	}
	return BootstrapGroup
}

// RenderToken returns the token's Secret, as YAML. It is a secret itself.
func RenderToken(t Token) ([]byte, error) {
	if len(t.ID) != 6 || len(t.Secret) != 16 {
		return nil, errors.New("render token: an ID has six characters and a secret sixteen")
	}
	t.Expires = t.Expires.UTC()
	return render("token.yaml", t)
}

// CoreDNS is what its manifest depends on.
type CoreDNS struct {
	Image    string
	Address  netip.Addr // of the service
	Domain   string     // "cluster.local"
	Replicas int
}

// RenderCoreDNS returns CoreDNS's objects, as YAML.
func RenderCoreDNS(c CoreDNS) ([]byte, error) {
	if c.Image == "" || !c.Address.IsValid() || c.Domain == "" || c.Replicas < 1 {
		return nil, errors.New("render coredns: image, address, domain and replicas are required")
	}
	return render("coredns.yaml", c)
}

// MetricsServer is what its manifest depends on.
type MetricsServer struct {
	Image string
}

// RenderMetricsServer returns metrics-server's objects, as YAML.
func RenderMetricsServer(m MetricsServer) ([]byte, error) {
	if m.Image == "" {
		return nil, errors.New("render metrics-server: image is required")
	}
	return render("metrics-server.yaml", m)
}
