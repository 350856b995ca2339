package plan

import (
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// A World is what is there, as the vendor, the machines and the cluster's API told it.
type World struct {
	Networks  []providers.Network
	Machines  []providers.Machine
	Balancers []providers.LoadBalancer
	Volumes   []providers.Volume
	Snapshots []providers.Snapshot

	Types  []providers.MachineType // on offer
	Prices *providers.Prices       // nil if they are not known

	// Known is what the journal says was made and not removed since, by address. It tells what somebody else changed from
	// what the file changed, and nothing more: without it the same is done.
	Known map[string]Known

	Keys   Keys                  // whether the cluster's secrets are at hand
	Etcd   *templates.EtcdReport // as a control-plane node tells it; nil if none did
	Hosts  map[string]Host       // by machine name; a machine without SSH has none
	API    bool                  // the cluster's API answered, so Nodes and Addons are true
	Nodes  map[string]KubeNode   // by node name
	Addons map[string]string     // add-on name to the hash of what was applied
}

// Known is what the journal says of one object.
type Known struct {
	ID      providers.ID
	Network *providers.NetworkSpec // what it was asked to be
	Machine *providers.MachineSpec
}

// Keys says whether the secrets that make their holder the cluster's owner are at hand.
type Keys string

// The values of Keys.
const (
	NoKeys      Keys = ""          // there are none yet: the cluster is new
	HaveKeys    Keys = "have"      // they are in the state
	RecoverKeys Keys = "recovered" // they were read back from the cluster, and are to be saved
)

// A Host is what a machine said over SSH.
type Host struct {
	Problem  string              // why it could not be asked; empty if it answered
	Node     *templates.Node     // what its node agent runs; nil if it has none
	Agent    string              // SHA-256 of its node agent
	Running  bool                // the node agent runs
	Joined   bool                // its kubelet has been let in by the cluster
	Stale    []string            // secret files that differ from what they should be
	Etcd     templates.EtcdState // of a control-plane node's member; empty if it does not say
	Founding bool                // it was told to found the cluster's etcd, and has not seen a quorum yet
	Due      []string            // certificates that its node agent should have renewed and did not
}

// A KubeNode is a node as Kubernetes' API has it.
type KubeNode struct {
	Version       string // of its kubelet: "v1.37.2"
	Revision      string // changes whenever the node does
	Ready         bool
	Unschedulable bool
	Draining      bool // provision cordoned it, to move its pods away
	Labels        map[string]string
	Taints        []string // key=value:effect
	Managed       Managed  // what provision has set on it before
}

// Managed are labels and taints that provision set, kept as annotations on the node, so that what a person added is left
// alone and what left the file is removed.
type Managed struct {
	Labels []string // keys
	Taints []string // key=value:effect
}

// DrainAnnotation marks a node that provision cordoned, and CordonField is the field of a plan that says that it is to be
// let free again.
const (
	DrainAnnotation = "provision.sh/draining"
	CordonField     = "cordoned"
)

// Annotations of a node that hold its Managed.
const (
	LabelsAnnotation = "provision.sh/labels"
	TaintsAnnotation = "provision.sh/taints"
)

// A Want is what the file and the programs at hand ask for.
type Want struct {
	Identity
	Agent   string            // SHA-256 of the node agent
	Addons  map[string]string // add-on name to hash
	Replace map[string]bool   // addresses of machines to replace whatever they are like
	// Renumber says that the vendor changes addresses in place (providers.Caps).
	Renumber bool
	Nodes    bool // machines become nodes: false for a vendor whose machines have no SSH
}
