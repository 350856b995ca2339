package templates

// Where things are on a node.
const (
	AgentPath     = "/usr/local/bin/node-agent"
	NodePath      = "/etc/provision/node.json"
	BundleDir     = "/opt/provision"         // one folder per bundle, named by its ID
	Current       = "/opt/provision/current" // link to the one in use
	PluginDir     = "/opt/provision/plugins" // programs of vendors that are not built in, on control-plane nodes
	PKIDir        = "/etc/kubernetes/pki"
	AdminConf     = "/etc/kubernetes/admin.conf"     // kubeconfig of root on a control-plane node
	BootstrapConf = "/etc/kubernetes/bootstrap.conf" // kubeconfig that a kubelet joins with
	AgentSocket   = "/run/provision/agent.sock"
	LogDir        = "/var/log/provision"
	VolumePlugins = "/var/lib/kubelet/volume-plugins" // of flexvolume, by which Kubernetes can still be extended
	UnitPath      = "/etc/systemd/system/node-agent.service"
	OpenRCPath    = "/etc/init.d/node-agent"
	ServiceDir    = "/etc/service/node-agent" // of runit and its likes

	LocalEndpoint = "127.0.0.1:7443" // where every node's agent forwards to a healthy API server
	APIPort       = 6443
	WelcomePort   = 7444 // where agents of control-plane nodes serve invited machines
)

// BootstrapGroup is the group that a bootstrap token's bearer is in.
const BootstrapGroup = "system:bootstrappers:provision"

// InvitedGroup is the group that the bearer of a bound token is in, beside the one that ends in a colon and its node's name.
const InvitedGroup = "system:bootstrappers:provision-invited"

// Users and groups of the certificates that provision issues; rbac.yaml says what they may do.
const (
	AdminGroup       = "provision:admins"         // people
	AgentGroup       = "provision:node-agents"    // node agents of control-plane nodes; each is the user provision:node-agent:NODE
	KubeletClient    = "provision:kube-apiserver" // the API server as client of kubelets
	TokenNodeLabel   = "provision.sh/node"        // on a bootstrap token's Secret: the node that it is for
	ManagedByLabel   = "app.kubernetes.io/managed-by"
	ManagedBy        = "provision"
	UnenforcedPolicy = "provision.sh/unenforced-network-policies" // on a namespace, value "allowed": NetworkPolicies are accepted and not enforced
)
