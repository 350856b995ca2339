package diag

import (
	"slices"
	"strings"

	"github.com/provisionhq/provision/docs"
)

// An ID names a diagnostic. It never changes its meaning; it is a heading of docs/errors.md.
type ID string

// An Entry is what is fixed about a diagnostic.
type Entry struct {
	ID      ID
	Summary string // fixed words
	Exit    int    // exit code it leads to; 0 for what is only ever a warning
}

// The diagnostics.
const (
	SyntaxError        ID = "syntax-error"
	FileNotFound       ID = "file-not-found"
	FilePermission     ID = "file-permission"
	FileTooLarge       ID = "file-too-large"
	UnknownBlock       ID = "unknown-block"
	UnknownAttribute   ID = "unknown-attribute"
	UnknownFunction    ID = "unknown-function"
	MissingBlock       ID = "missing-block"
	MissingAttribute   ID = "missing-attribute"
	DuplicateBlock     ID = "duplicate-block"
	DuplicateAttribute ID = "duplicate-attribute"
	WrongType          ID = "wrong-type"
	BadValue           ID = "bad-value"
	BadExpression      ID = "bad-expression"
	UndefinedVariable  ID = "undefined-variable"
	MissingVariable    ID = "missing-variable"
	ValidationFailed   ID = "validation-failed"
	ReferenceCycle     ID = "reference-cycle"
	SensitiveValue     ID = "sensitive-value"
	BadName            ID = "bad-name"
	NameTooLong        ID = "name-too-long"
	BadCount           ID = "bad-count"
	ControlPlaneCount  ID = "control-plane-count"
	ManyNodes          ID = "many-nodes"
	NoWorkers          ID = "no-workers"
	BadVersion         ID = "bad-version"
	UnknownVersion     ID = "unknown-version"
	UnknownMachineType ID = "unknown-machine-type"
	UnknownZone        ID = "unknown-zone"
	UnknownProvider    ID = "unknown-provider"
	BadRange           ID = "bad-range"
	OverlappingRanges  ID = "overlapping-ranges"
	RangeTooSmall      ID = "range-too-small"
	RangeTooLarge      ID = "range-too-large"
	IPv6NotYet         ID = "ipv6-not-yet"
	BadLabel           ID = "bad-label"
	LabelReserved      ID = "label-reserved"
	BadTaint           ID = "bad-taint"
	BadFlags           ID = "bad-flags"
	Rehearsal          ID = "rehearsal"
	UnknownNode        ID = "unknown-node"
	PlanRefused        ID = "plan-refused"
	PlanStale          ID = "plan-stale"
	PlanFile           ID = "plan-file"
	PlanForbidden      ID = "plan-forbidden"
	UnknownAddress     ID = "unknown-address"
	FixedForLife       ID = "fixed-for-life"
	BundleMissing      ID = "bundle-missing"
	BundleCorrupt      ID = "bundle-corrupt"
	BundleTruncated    ID = "bundle-truncated"
	AgentMissing       ID = "agent-missing"

	NotThere           ID = "not-there"
	NameTaken          ID = "name-taken"
	InUse              ID = "in-use"
	NotAccepted        ID = "not-accepted"
	PermissionMissing  ID = "permission-missing"
	QuotaExceeded      ID = "quota-exceeded"
	OutOfCapacity      ID = "out-of-capacity"
	VendorNotAnswering ID = "vendor-not-answering"
	Unsupported        ID = "unsupported"
	AddressRangeInUse  ID = "address-range-in-use"
	VendorDenied       ID = "vendor-denied"

	PreflightPermissions ID = "preflight-permissions"
	PreflightQuota       ID = "preflight-quota"
	PreflightRefused     ID = "preflight-refused"
	PreflightUnseen      ID = "preflight-unseen"

	PluginUntrusted ID = "plugin-untrusted"
	PluginChanged   ID = "plugin-changed"
	PluginUnsafe    ID = "plugin-unsafe"
	PluginUnfit     ID = "plugin-unfit"
	PluginDied      ID = "plugin-died"
	PluginHung      ID = "plugin-hung"
	PluginBug       ID = "plugin-bug"

	NotRoot              ID = "not-root"
	KernelFeatureMissing ID = "kernel-feature-missing"
	ToolMissing          ID = "tool-missing"
	PreflightFailed      ID = "preflight-failed"
	DiskFull             ID = "disk-full"
	SSHUnreachable       ID = "ssh-unreachable"
	SSHSilent            ID = "ssh-silent"
	SSHDenied            ID = "ssh-denied"
	SSHKeyUnusable       ID = "ssh-key-unusable"
	HostKeyChanged       ID = "host-key-changed"
	HostKeyUnknown       ID = "host-key-unknown"
	SudoPassword         ID = "sudo-password"
	NodeForeign          ID = "node-foreign"
	MachineDied          ID = "machine-died"
	BootstrapFailed      ID = "bootstrap-failed"
	NodeNotReady         ID = "node-not-ready"
	APINotAnswering      ID = "api-not-answering"
	AddonFailed          ID = "addon-failed"
	DrainBlocked         ID = "drain-blocked"
	EtcdNoQuorum         ID = "etcd-no-quorum"
	EtcdLoss             ID = "etcd-loss"
	EtcdFailed           ID = "etcd-failed"
	DestroyLeft          ID = "destroy-left"

	NoCluster       ID = "no-cluster"
	StateLocked     ID = "state-locked"
	StateForeign    ID = "state-foreign"
	StateSecond     ID = "state-second"
	ObjectForeign   ID = "object-foreign"
	ClusterGone     ID = "cluster-gone"
	SecretsLost     ID = "secrets-lost"
	StateElsewhere  ID = "state-elsewhere"
	StateFenced     ID = "state-fenced"
	StateRolledBack ID = "state-rolled-back"
	StateTorn       ID = "state-torn"
	StateMoved      ID = "state-moved"
	StateRecipients ID = "state-recipients"
	StatePermission ID = "state-permission"
	StateCorrupt    ID = "state-corrupt"
	StateNewer      ID = "state-newer"
	StateURL        ID = "state-url"
	StateSilent     ID = "state-unreachable"
	StateNoBucket   ID = "state-no-bucket"
	StateRegion     ID = "state-region"
	StateDenied     ID = "state-denied"
	StateNoLogin    ID = "state-no-credentials"
	StateBadLogin   ID = "state-credentials"
	StateExpired    ID = "state-expired"
	StateClock      ID = "state-clock"
	IdentityMissing ID = "identity-missing"
	KeyUnusable     ID = "key-unusable"
	PassphraseWrong ID = "passphrase"

	Interrupted ID = "interrupted"
	Deadline    ID = "deadline"
	Internal    ID = "internal"
)

// table holds all diagnostics in the order of docs/errors.md. Nothing changes it.
var table = []Entry{
	{SyntaxError, "Syntax error", ExitRefused},
	{FileNotFound, "File not found", ExitRefused},
	{FilePermission, "File not readable", ExitRefused},
	{FileTooLarge, "File too large", ExitRefused},
	{UnknownBlock, "Unknown block", ExitRefused},
	{UnknownAttribute, "Unknown attribute", ExitRefused},
	{UnknownFunction, "Unknown function", ExitRefused},
	{MissingBlock, "Block missing", ExitRefused},
	{MissingAttribute, "Attribute missing", ExitRefused},
	{DuplicateBlock, "Block given twice", ExitRefused},
	{DuplicateAttribute, "Attribute given twice", ExitRefused},
	{WrongType, "Wrong type", ExitRefused},
	{BadValue, "Value not allowed", ExitRefused},
	{BadExpression, "Expression without a value", ExitRefused},
	{UndefinedVariable, "Undefined variable", ExitRefused},
	{MissingVariable, "Variable without a value", ExitRefused},
	{ValidationFailed, "Variable not valid", ExitRefused},
	{ReferenceCycle, "Values refer to each other", ExitRefused},
	{SensitiveValue, "Secret where everybody can read it", ExitRefused},
	{BadName, "Name not allowed", ExitRefused},
	{NameTooLong, "Name too long", ExitRefused},
	{BadCount, "Count not allowed", ExitRefused},
	{ControlPlaneCount, "Control plane of that size does not work", ExitRefused},
	{ManyNodes, "More nodes than Kubernetes is tested with", ExitDone},
	{NoWorkers, "No machine for pods", ExitDone},
	{BadVersion, "Not a version", ExitRefused},
	{UnknownVersion, "Version not in the bundle", ExitRefused},
	{UnknownMachineType, "Unknown machine type", ExitRefused},
	{UnknownZone, "Unknown zone", ExitRefused},
	{UnknownProvider, "Unknown provider", ExitRefused},
	{BadRange, "Not a usable address range", ExitRefused},
	{OverlappingRanges, "Address ranges overlap", ExitRefused},
	{RangeTooSmall, "Address range too small", ExitRefused},
	{RangeTooLarge, "Address range too large", ExitRefused},
	{IPv6NotYet, "IPv6 is not possible yet", ExitRefused},
	{BadLabel, "Label not allowed", ExitRefused},
	{LabelReserved, "Label is reserved", ExitRefused},
	{BadTaint, "Taint not allowed", ExitRefused},
	{BadFlags, "Flags or arguments not accepted", ExitRefused},
	{Rehearsal, "No rehearsal", ExitRefused},
	{UnknownNode, "Unknown node", ExitRefused},
	{PlanRefused, "Plan not approved", ExitRefused},
	{PlanStale, "Plan is out of date", ExitRefused},
	{PlanFile, "Plan file not usable", ExitRefused},
	{PlanForbidden, "Plan has changes that are forbidden", ExitRefused},
	{UnknownAddress, "No change of that address", ExitRefused},
	{FixedForLife, "Cannot be changed in a cluster's life", ExitRefused},
	{BundleMissing, "Bundle not found", ExitRefused},
	{BundleCorrupt, "Bundle is damaged", ExitRefused},
	{BundleTruncated, "Bundle is cut short", ExitRefused},
	{AgentMissing, "Node agent not found", ExitRefused},

	{NotThere, "Not found at the vendor", ExitFailed},
	{NameTaken, "Name is taken", ExitFailed},
	{InUse, "In use", ExitFailed},
	{NotAccepted, "Not accepted by the vendor", ExitFailed},
	{PermissionMissing, "Permission missing", ExitFailed},
	{QuotaExceeded, "Quota exceeded", ExitFailed},
	{OutOfCapacity, "Out of capacity", ExitFailed},
	{VendorNotAnswering, "Vendor not answering", ExitFailed},
	{Unsupported, "Not supported by the vendor", ExitRefused},
	{AddressRangeInUse, "Address range is in use", ExitRefused},
	{VendorDenied, "Vendor does not let the command in", ExitRefused},
	{PreflightPermissions, "Permissions are missing for this plan", ExitRefused},
	{PreflightQuota, "Quota is too small for this plan", ExitRefused},
	{PreflightRefused, "Vendor would refuse this plan", ExitRefused},
	{PreflightUnseen, "Preflight could not see everything", ExitDone},

	{PluginUntrusted, "Plug-in not trusted", ExitRefused},
	{PluginChanged, "Plug-in has changed", ExitRefused},
	{PluginUnsafe, "Plug-in can be changed by others", ExitRefused},
	{PluginUnfit, "Plug-in does not fit", ExitRefused},
	{PluginDied, "Plug-in died", ExitFailed},
	{PluginHung, "Plug-in does not answer", ExitFailed},
	{PluginBug, "Plug-in answered wrongly", ExitFailed},

	{NotRoot, "Root is needed", ExitFailed},
	{KernelFeatureMissing, "Kernel feature missing", ExitFailed},
	{ToolMissing, "Program missing", ExitFailed},
	{PreflightFailed, "Machine not fit to be a node", ExitFailed},
	{DiskFull, "Disk full", ExitFailed},
	{SSHUnreachable, "SSH not reachable", ExitFailed},
	{SSHSilent, "SSH port accepts and says nothing", ExitFailed},
	{SSHDenied, "SSH login denied", ExitFailed},
	{SSHKeyUnusable, "SSH key not usable", ExitFailed},
	{HostKeyChanged, "SSH host key changed", ExitFailed},
	{HostKeyUnknown, "SSH host key unknown", ExitFailed},
	{SudoPassword, "Sudo asks for a password", ExitFailed},
	{NodeForeign, "Machine belongs to another cluster", ExitFailed},
	{MachineDied, "Machine stopped while it was set up", ExitFailed},
	{BootstrapFailed, "Machine did not become a node", ExitFailed},
	{NodeNotReady, "Node did not become ready", ExitFailed},
	{APINotAnswering, "Cluster does not answer", ExitFailed},
	{AddonFailed, "Add-on not applied", ExitFailed},
	{DrainBlocked, "Pods could not be moved in time", ExitFailed},
	{EtcdNoQuorum, "Control plane has no quorum", ExitFailed},
	{EtcdLoss, "Cluster would lose its data", ExitRefused},
	{EtcdFailed, "Member of etcd not changed", ExitFailed},
	{DestroyLeft, "Destroy left something behind", ExitFailed},

	{NoCluster, "Cluster does not exist", ExitFailed},
	{StateLocked, "Another command is at work on this cluster", ExitFailed},
	{StateForeign, "State is of another cluster", ExitFailed},
	{StateSecond, "State was seen in another place", ExitDone},
	{ObjectForeign, "Another cluster of the same name", ExitDone},
	{ClusterGone, "Vendor shows nothing of the cluster", ExitRefused},
	{SecretsLost, "Secrets of the cluster are lost", ExitFailed},
	{StateElsewhere, "State was made on another machine", ExitFailed},
	{StateFenced, "Another command has taken over", ExitFailed},
	{StateRolledBack, "State is older than it was", ExitFailed},
	{StateTorn, "State has lost its end", ExitDone},
	{StateMoved, "State was moved to another place", ExitFailed},
	{StateRecipients, "Secrets are for others than the file names", ExitDone},
	{StatePermission, "State not accessible", ExitFailed},
	{StateCorrupt, "State is damaged", ExitFailed},
	{StateNewer, "State was written by a newer version", ExitFailed},
	{StateURL, "State cannot be kept there", ExitRefused},
	{StateSilent, "State's bucket does not answer", ExitFailed},
	{StateNoBucket, "State's bucket does not exist", ExitFailed},
	{StateRegion, "Region of the state's bucket is missing or wrong", ExitRefused},
	{StateDenied, "Permission missing at the state's bucket", ExitFailed},
	{StateNoLogin, "No credentials for the state's bucket", ExitFailed},
	{StateBadLogin, "Credentials not accepted by the state's bucket", ExitFailed},
	{StateExpired, "Credentials for the state's bucket have expired", ExitFailed},
	{StateClock, "Clock is wrong for the state's bucket", ExitFailed},
	{IdentityMissing, "Key of the state not found", ExitFailed},
	{KeyUnusable, "Key not usable", ExitFailed},
	{PassphraseWrong, "Passphrase not accepted", ExitFailed},

	{Interrupted, "Interrupted", ExitInterrupted},
	{Deadline, "Not done in time", ExitFailed},
	{Internal, "Internal error", ExitFailed},
}

// All returns every diagnostic, in the order of docs/errors.md.
func All() []Entry { return slices.Clone(table) }

// lookup returns the entry of an ID; what is not in the table is an internal error.
func lookup(id ID) Entry {
	for _, e := range table {
		if e.ID == id {
			return e
		}
	}
	return Entry{Internal, "Internal error", ExitFailed}
}

// Explain returns what docs/errors.md says of a diagnostic, which may be named by its ID or by its summary.
func Explain(name string) (Entry, string, bool) {
	slug := strings.ToLower(strings.Join(strings.Fields(name), " "))
	for _, e := range table {
		if slug == string(e.ID) || slug == strings.ToLower(e.Summary) {
			return e, section(docs.Errors(), e.ID), true
		}
	}
	return Entry{}, "", false
}

// section returns the text under the heading of an ID, without the line that repeats the summary.
func section(text string, id ID) string {
	_, text, _ = strings.Cut(text, "\n### "+string(id)+"\n")
	for _, heading := range []string{"\n### ", "\n## "} {
		text, _, _ = strings.Cut(text, heading)
	}
	_, text, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(text)
}
