package doctor

// An ID names a kind of finding. It never changes its meaning; it is a heading of docs/doctor.md.
type ID string

// The findings.
const (
	Unreachable    ID = "unreachable"
	Stopped        ID = "stopped"
	Silent         ID = "silent"
	LoginRefused   ID = "login-refused"
	HostKeyChanged ID = "host-key-changed"
	HostKeyUnknown ID = "host-key-unknown"
	SudoPassword   ID = "sudo-password"
	NotRoot        ID = "not-root"
	SurveyFailed   ID = "survey-failed"
	NotExamined    ID = "not-examined"

	WrongArch      ID = "wrong-architecture"
	MixedArch      ID = "mixed-architecture"
	OldKernel      ID = "old-kernel"
	KernelFeature  ID = "kernel-feature-missing"
	NoCgroups      ID = "no-cgroups"
	CgroupsV1      ID = "cgroups-v1"
	NoInit         ID = "no-init-system"
	ToolMissing    ID = "tool-missing"
	FewCPUs        ID = "few-cpus"
	LowMemory      ID = "low-memory"
	SwapOn         ID = "swap-on"
	KernelSetting  ID = "kernel-setting"
	SettingUndone  ID = "kernel-setting-undone"
	SELinux        ID = "selinux"
	AppArmor       ID = "apparmor-parser-missing"
	DiskFull       ID = "disk-full"
	NoInodes       ID = "no-inodes"
	ReadOnly       ID = "read-only"
	NoExec         ID = "noexec"
	WrongFS        ID = "wrong-file-system"
	DiskSlow       ID = "disk-slow"
	ClockWrong     ID = "clock-wrong"
	ClockSkew      ID = "clock-skew"
	ClockHere      ID = "clock-here"
	ClockFree      ID = "clock-not-kept"
	ZonesDiffer    ID = "time-zones-differ"
	BadHostname    ID = "bad-hostname"
	SameHostname   ID = "same-hostname"
	HostnameLost   ID = "hostname-unresolved"
	HostnameWrong  ID = "hostname-elsewhere"
	NoNameserver   ID = "no-nameserver"
	NameserverDead ID = "nameserver-silent"
	NameserverLoop ID = "nameserver-loop"
	ProxySet       ID = "proxy-set"

	OtherCluster   ID = "other-cluster"
	LeftOver       ID = "left-over"
	HalfWiped      ID = "half-wiped"
	RuntimeRuns    ID = "runtime-runs"
	PortTaken      ID = "port-taken"
	SameHost       ID = "same-host"
	SameAddress    ID = "same-address"
	SameHostKey    ID = "same-host-key"
	SameMachineID  ID = "same-machine-id"
	SameMAC        ID = "same-mac"
	AddressForeign ID = "address-not-own"
	RangeConflict  ID = "range-conflict"
	OutsideRange   ID = "outside-range"
	FirewallDrops  ID = "firewall-drops"
	FirewallActive ID = "firewall-active"
	PortBlocked    ID = "port-blocked"
	PortStranger   ID = "port-answered-by-another"
	PathMTU        ID = "path-mtu"
	MTUsDiffer     ID = "mtus-differ"
	NotOneSegment  ID = "not-one-segment"
)

// entry is what is fixed about a kind of finding.
type entry struct {
	id    ID
	title string // fixed words
}

// table holds all findings in the order of docs/doctor.md.
func table() []entry {
	return []entry{
		{Unreachable, "Host does not answer"},
		{Stopped, "Machine is stopped"},
		{Silent, "Something accepts connections and says nothing"},
		{LoginRefused, "Login refused"},
		{HostKeyChanged, "Host key is another one"},
		{HostKeyUnknown, "Host key is not known"},
		{SudoPassword, "sudo asks for a password"},
		{NotRoot, "Commands do not run as root"},
		{SurveyFailed, "Host could not be examined"},
		{NotExamined, "Not all was examined"},
		{WrongArch, "Wrong architecture"},
		{MixedArch, "Architectures differ"},
		{OldKernel, "Kernel too old"},
		{KernelFeature, "Kernel feature missing"},
		{NoCgroups, "Cgroups missing"},
		{CgroupsV1, "Old version of cgroups"},
		{NoInit, "No init system"},
		{ToolMissing, "Program missing"},
		{FewCPUs, "Few processors"},
		{LowMemory, "Little memory"},
		{SwapOn, "Swap is on"},
		{KernelSetting, "Kernel setting cannot be changed"},
		{SettingUndone, "A file undoes a kernel setting"},
		{SELinux, "SELinux enforces"},
		{AppArmor, "AppArmor without its parser"},
		{DiskFull, "Disk full"},
		{NoInodes, "Few inodes left"},
		{ReadOnly, "Folder cannot be written to"},
		{NoExec, "Programs cannot be run from a folder"},
		{WrongFS, "Unfit file system"},
		{DiskSlow, "Disk too slow for etcd"},
		{ClockWrong, "Clock is wrong"},
		{ClockSkew, "Clocks differ"},
		{ClockHere, "The clock of this computer is wrong"},
		{ClockFree, "Nothing keeps the clock right"},
		{ZonesDiffer, "Time zones differ"},
		{BadHostname, "Host name is not a DNS label"},
		{SameHostname, "Same host name"},
		{HostnameLost, "Host name does not resolve"},
		{HostnameWrong, "Host name resolves to another address"},
		{NoNameserver, "No name server"},
		{NameserverDead, "Name server does not answer"},
		{NameserverLoop, "Name server is the host itself"},
		{ProxySet, "A proxy is set"},
		{OtherCluster, "Belongs to another cluster"},
		{LeftOver, "Left over from another cluster"},
		{HalfWiped, "Half wiped"},
		{RuntimeRuns, "A container runtime runs"},
		{PortTaken, "Port taken"},
		{SameHost, "Same host twice"},
		{SameAddress, "Same address twice"},
		{SameHostKey, "Same host key"},
		{SameMachineID, "Same machine ID"},
		{SameMAC, "Same hardware address"},
		{AddressForeign, "Address is not the host's own"},
		{RangeConflict, "Address ranges conflict"},
		{OutsideRange, "Address outside the machines' range"},
		{FirewallDrops, "Firewall drops packets"},
		{FirewallActive, "A firewall is active"},
		{PortBlocked, "Port blocked"},
		{PortStranger, "Another machine answers"},
		{PathMTU, "Packets get lost for their size"},
		{MTUsDiffer, "Packet sizes differ"},
		{NotOneSegment, "Not in one network segment"},
	}
}

// Title returns the fixed words of a kind of finding.
func (id ID) Title() string {
	for _, e := range table() {
		if e.id == id {
			return e.title
		}
	}
	return string(id)
}

func rank(id ID) int {
	for i, e := range table() {
		if e.id == id {
			return i
		}
	}
	return len(table())
}

// IDs returns all kinds of findings in the order in which reports have them.
func IDs() []ID {
	var ids []ID
	for _, e := range table() {
		ids = append(ids, e.id)
	}
	return ids
}
