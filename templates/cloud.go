package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// CloudSchema is the version of Cloud's form.
const CloudSchema = 1

// Where the cloud agent's things are on a control-plane node.
const (
	CloudPath       = "/etc/provision/cloud-agent.json"
	CloudKubeconfig = "/etc/kubernetes/cloud-agent.conf"
	CSISocket       = "/run/provision/csi.sock"  // of the CSI controller, for the sidecars
	DoorSocket      = "/run/provision/door.sock" // of a machine of provider local: the host behind it
	CloudHealth     = "127.0.0.1:10263"          // where the agent answers /healthz, /readyz and /metrics, without TLS
)

// CloudGroup is the group of the cloud agents' certificates; rbac.yaml says what they may do. Each is the user provision:cloud-agent:NODE.
const CloudGroup = "provision:cloud-agents"

// Tags of what the cloud agents make at the vendor.
const (
	UIDTag     = "provision.sh/uid"     // of the cluster
	ServiceTag = "provision.sh/service" // of a balancer: NAMESPACE/NAME of the Service that it is for
)

// CSIDriver is the name of a vendor's CSI driver.
func CSIDriver(vendor string) string { return vendor + ".csi.provision.sh" }

// A Cloud is what a cluster's cloud agent works with. It may hold secrets: the vendor's options are as cluster.hcl has them.
type Cloud struct {
	Schema  int            `json:"schema"`
	Cluster string         `json:"cluster"` // the owner of all that it makes
	UID     string         `json:"uid"`     // of the cluster: the tag provision.sh/uid of all that it makes
	Vendor  string         `json:"vendor"`  // as the provider block names it
	Options map[string]any `json:"options,omitempty"`
	Network string         `json:"network,omitempty"` // the vendor's ID of the cluster's network

	// Plugin is the program of a vendor that is not built in; nil: it is.
	Plugin *CloudPlugin `json:"plugin,omitempty"`

	// Balancers are the addresses that Services of type LoadBalancer get, where nodes announce them; empty: the vendor's
	// balancers are used.
	Balancers []Addresses `json:"balancers,omitempty"`
	// Blind says that the vendor cannot be asked from a node: the agent gives addresses to Services, and does nothing else.
	Blind bool `json:"blind,omitempty"`
	// Pools are those that the node autoscaler works on, sorted by name.
	Pools []CloudPool `json:"pools,omitempty"`
	// AuthorizedKeys may log in to the machines of Pools, as in providers.MachineSpec.
	AuthorizedKeys []string `json:"authorized_keys,omitempty"`
}

// A CloudPlugin is a vendor's provider that is a program of its own, in PluginDir of each control-plane node.
type CloudPlugin struct {
	SHA256    string   `json:"sha256"`              // in hexadecimal; no other program is started
	Sensitive []string `json:"sensitive,omitempty"` // names of Options whose values no log may have
}

// PluginPath is where the program of a vendor's plug-in is on a control-plane node.
func PluginPath(vendor string) string { return PluginDir + "/provision-provider-" + vendor }

// Addresses are those from First to Last, both included.
type Addresses struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// Contains reports whether a is one of them.
func (r Addresses) Contains(a netip.Addr) bool { return !a.Less(r.First) && !r.Last.Less(a) }

// A CloudPool is a pool whose number of machines the cluster itself decides on.
type CloudPool struct {
	Name    string            `json:"name"`
	Min     int               `json:"min"`
	Max     int               `json:"max"`
	Types   []string          `json:"types"` // of machines; the cheapest that fits is taken
	Image   string            `json:"image,omitempty"`
	Zones   []string          `json:"zones,omitempty"`
	DiskGiB int               `json:"disk_gib,omitempty"`
	Spot    bool              `json:"spot,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Taints  []Taint           `json:"taints,omitempty"`

	DrainSeconds int `json:"drain_seconds,omitempty"` // how long pods may take to leave a node that is given back
}

// RenderCloud returns the file's content.
func RenderCloud(c Cloud) ([]byte, error) {
	c.Schema = CloudSchema
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", CloudPath, err)
	}
	return append(b, '\n'), nil
}

// ParseCloud reads what RenderCloud wrote. Unknown fields and other schemas are errors, none of which repeats the content.
func ParseCloud(b []byte) (Cloud, error) {
	var c Cloud
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Cloud{}, fmt.Errorf("parse %s: %w", CloudPath, err)
	}
	if c.Schema != CloudSchema {
		return Cloud{}, fmt.Errorf("parse %s: it has schema %d, this program knows %d", CloudPath, c.Schema, CloudSchema)
	}
	return c, nil
}

// The ConfigMap that says which nodes announce which addresses.
const (
	AnnouncementsNamespace = "kube-system"
	AnnouncementsName      = "provision-balancers"
	AnnouncementsKey       = "announcements.json"
)

// Announcements say which nodes may have which addresses of Services. The cloud agent's leader writes them, node agents read them.
type Announcements struct {
	Addresses []Announcement `json:"addresses"` // sorted by address
}

// An Announcement is one address.
type Announcement struct {
	Address netip.Addr  `json:"address"`
	Nodes   []Announcer `json:"nodes"` // the first of them that is well has it
}

// An Announcer is a node that may have an address.
type Announcer struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"` // of the node
}

// An AddressStatus is an address of a Service as one node sees it that may have it.
type AddressStatus struct {
	Address netip.Addr `json:"address"`
	Here    bool       `json:"here"`              // this node announces it
	Holder  string     `json:"holder,omitempty"`  // name of the node that should have it, as far as this one knows
	Problem string     `json:"problem,omitempty"` // why this node cannot have it
}
