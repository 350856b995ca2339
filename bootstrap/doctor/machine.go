package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What a machine must have, and what it should.
const (
	minMajor, minMinor = 5, 13      // kernel: kube-proxy's nftables mode
	leastControlPlane  = 900 << 20  // bytes of memory without which it does not start
	leastWorker        = 400 << 20  // …
	shouldControlPlane = 1700 << 20 // what kubeadm asks for
	spare              = 1 << 30    // bytes for images, logs and etcd
	slowDisk           = 10 * time.Millisecond
	badDisk            = 50 * time.Millisecond // in the middle: a moment's load of others does not do that
	fullInodes         = 95                    // percent
)

func (j judge) machine() {
	arch := goArch(j.f.one("arch"))
	if j.o.Arch != "" && arch != j.o.Arch {
		j.here(WrongArch, Error, fmt.Sprintf("The machine is %s, the bundle is for %s.", arch, j.o.Arch), "Build a bundle for it and give it with --bundle.", "make bundle ARCH="+arch)
	}
	var major, minor int
	if n, _ := fmt.Sscanf(j.f.one("kernel"), "%d.%d", &major, &minor); n == 2 && (major < minMajor || major == minMajor && minor < minMinor) {
		j.here(OldKernel, Error, "The kernel is "+j.f.one("kernel")+".", fmt.Sprintf("Use a system with Linux %d.%d or newer.", minMajor, minMinor))
	}
	if n := j.f.number("cpus"); j.s.controlPlane() && n == 1 {
		j.here(FewCPUs, Warning, "A control plane has one processor here.", "Give the machine at least 2 processors: the API gets slow when one is busy.")
	}
	j.memory()
	if j.f.one("init") == "" {
		j.here(NoInit, Error, "No init system that is known was found.", "Use a machine with systemd or OpenRC, or one that supervises the folders in /etc/service (runit, daemontools, s6).")
	}
	if len(j.f["swap"]) > 0 {
		j.find(SwapOn, Warning, "Memory may be swapped to "+strings.Join(j.f["swap"], ", ")+": pods get slow instead of being ended at their limit.",
			"Switch swap off, now and at the next boot.", "swapoff -a && sed -i '/\\sswap\\s/s/^/#/' /etc/fstab")
	}
	j.cgroups()
}

func (j judge) memory() {
	have, least := j.f.number("memory")<<10, int64(leastWorker)
	if j.s.controlPlane() {
		least = leastControlPlane
	}
	switch {
	case have < 0:
	case have < least:
		j.here(LowMemory, Error, fmt.Sprintf("The machine has %d MiB of memory.", have>>20), fmt.Sprintf("Give it at least %d MiB.", least>>20))
	case j.s.controlPlane() && have < shouldControlPlane:
		j.here(LowMemory, Warning, fmt.Sprintf("A control plane has %d MiB of memory here.", have>>20), fmt.Sprintf("Give it at least %d MiB.", shouldControlPlane>>20))
	}
}

func (j judge) cgroups() {
	var missing []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(j.f.words("controllers"), c) {
			missing = append(missing, c)
		}
	}
	switch {
	case j.f.one("cgroup") == "":
		j.find(NoCgroups, Error, "No cgroups are mounted.", "Mount them.", "mount -t cgroup2 none /sys/fs/cgroup")
	case len(missing) > 0:
		j.find(NoCgroups, Error, "Cgroups lack the controllers "+strings.Join(missing, ", ")+".", "Switch them on for the kernel (this is for Debian and Ubuntu), and boot again.",
			`sed -i 's/^GRUB_CMDLINE_LINUX="/&cgroup_enable=memory /' /etc/default/grub && update-grub && reboot`)
	case j.f.one("cgroup") == "1":
		j.here(CgroupsV1, Note, "Cgroups are those of version 1, which Kubernetes supports no longer in all of its parts.", "Boot with version 2 (systemd.unified_cgroup_hierarchy=1) when it suits.")
	}
}

func (j judge) kernel() {
	for _, c := range []struct{ config, module, what string }{
		{"NAMESPACES", "", "namespaces"}, {"NET_NS", "", "network namespaces"}, {"PID_NS", "", "process namespaces"}, {"IPC_NS", "", "IPC namespaces"},
		{"UTS_NS", "", "host name namespaces"}, {"CGROUPS", "", "cgroups"}, {"CGROUP_PIDS", "", "the pids cgroup"}, {"MEMCG", "", "the memory cgroup"},
		{"CGROUP_FREEZER", "", "the freezer cgroup"}, {"CGROUP_SCHED", "", "the cpu cgroup"}, {"CPUSETS", "", "cpusets"}, {"FAIR_GROUP_SCHED", "", "fair group scheduling"},
		{"CFS_BANDWIDTH", "", "CPU limits"}, {"INET", "", "TCP/IP"}, {"SECCOMP", "", "seccomp"}, {"SECCOMP_FILTER", "", "seccomp filters"},
		{"OVERLAY_FS", "overlay", "overlayfs"}, {"VETH", "veth", "virtual Ethernet pairs"}, {"BRIDGE", "bridge", "bridges"},
		{"BRIDGE_NETFILTER", "br_netfilter", "packet filters on bridges"}, {"NF_CONNTRACK", "nf_conntrack", "connection tracking"}, {"NF_TABLES", "nf_tables", "nftables"},
		{"NFT_CT", "", "nftables' connection tracking"}, {"NFT_NAT", "", "nftables' address translation"}, {"NFT_MASQ", "", "nftables' masquerading"}, {"NFT_NUMGEN", "", "nftables' choice of endpoints"},
		{"VXLAN", "vxlan", "VXLAN"},
	} {
		if c.config == "VXLAN" && j.o.Backend != "vxlan" {
			continue
		}
		if able, known := j.f.kernel(c.config, c.module); known && !able {
			run := []string{}
			if c.module != "" {
				run = append(run, "modprobe "+c.module)
			}
			j.find(KernelFeature, Error, fmt.Sprintf("The kernel %s has no %s (CONFIG_%s).", j.f.one("kernel"), c.what, c.config), "Install the package with the kernel's further modules, or use a kernel that has it.", run...)
		}
	}
	for _, s := range j.f["sysctl"] {
		w := strings.Fields(s)
		if len(w) == 3 && w[1] == "ro" && w[2] == "0" && strings.HasPrefix(w[0], "net/") {
			j.find(KernelSetting, Error, fmt.Sprintf("The kernel setting %s is 0 and cannot be changed here.", w[0]), "Set it where it can be changed: on the host of this container or machine.", "sysctl -w "+strings.ReplaceAll(w[0], "/", ".")+"=1")
		}
	}
	for _, o := range j.f["override"] {
		file, line, _ := strings.Cut(o, ":")
		j.find(SettingUndone, Warning, fmt.Sprintf("%s says %q: pods lose the network when it is applied again.", file, strings.TrimSpace(line)), "Take the line out.", fmt.Sprintf("sed -i '/%s/d' %s", strings.ReplaceAll(strings.TrimSpace(line), "/", "."), file))
	}
}

func (j judge) tools() {
	for _, t := range []struct{ tool, debian, other string }{{"mount", "mount", "util-linux"}, {"umount", "mount", "util-linux"}, {"nft", "nftables", "nftables"}, {"sha256sum", "coreutils", "coreutils"}} {
		if !j.f.has("tool", t.tool) {
			j.find(ToolMissing, Error, "The program "+t.tool+" is missing.", "Install the package that has it.", j.install(t.debian, t.other))
		}
	}
}

// install is the command that installs a package.
func (j judge) install(debian, other string) string {
	for _, os := range j.f.words("os") {
		switch os {
		case "rhel", "fedora", "centos", "rocky", "almalinux", "amzn":
			return "dnf install -y " + other
		case "suse", "opensuse", "sles":
			return "zypper install -y " + other
		case "alpine":
			return "apk add " + other
		case "arch":
			return "pacman -S --noconfirm " + other
		}
	}
	return "apt-get install -y " + debian
}

func (j judge) security() {
	if j.f.one("selinux") == "1" {
		j.here(SELinux, Note, "SELinux enforces its policy; the cluster's programs were not tried under it.", "If programs are denied something, see which.", "ausearch -m avc -ts recent   # on the host")
	}
	if j.f.one("apparmor") == "Y" && !j.f.has("tool", "apparmor_parser") {
		j.find(AppArmor, Error, "AppArmor is on and the program apparmor_parser is missing: no container can be started.", "Install it.", j.install("apparmor", "apparmor-parser"))
	}
	if len(j.f["proxy"]) > 0 {
		j.here(ProxySet, Note, "/etc/environment sets "+strings.Join(j.f["proxy"], ", ")+".", "See that no_proxy names the ranges of machines, pods and services.")
	}
}

func (j judge) disks() {
	need := map[string]int64{} // bytes by device
	by := map[string]disk{}
	for _, d := range j.f.disks() {
		key := d.device + " " + d.at
		by[key] = d
		switch d.path {
		case "/opt/provision":
			if !j.mine() {
				need[key] += j.o.Install
			}
		case "/var/lib/provision", "/var/lib/containerd":
			need[key] = max(need[key], need[key]+spare/2)
		}
		j.disk(d)
	}
	for key, n := range need {
		if d := by[key]; d.free < n {
			j.find(DiskFull, Error, fmt.Sprintf("The disk of %s has %d MiB left; %d MiB are needed.", d.at, d.free>>20, n>>20), "Make room, or give the machine a larger disk.", "du -xhd2 "+d.at+" | sort -h | tail -n 20")
		}
	}
	j.inodes(by)
	j.unwritable()
}

// unwritable is one finding for all folders that cannot be written to.
func (j judge) unwritable() {
	var dirs, full []string
	why := "read-only file system"
	for _, dir := range slices.Sorted(maps.Keys(j.s.unwritable)) {
		if reason := j.s.unwritable[dir]; strings.Contains(reason, "no space") || strings.Contains(reason, "quota") {
			full = append(full, dir)
		} else {
			dirs, why = append(dirs, dir), reason
		}
	}
	if j.s.scout == nil {
		for _, d := range j.f.disks() {
			if d.ro && d.path != "/" {
				dirs = append(dirs, d.path)
			}
		}
	}
	if len(dirs) > 0 {
		j.find(ReadOnly, Error, fmt.Sprintf("Nothing can be written to %s: %s.", strings.Join(dirs, ", "), why), "See why the kernel made it read-only (a broken disk?), and mount it for writing.",
			"dmesg | tail -n 20", fmt.Sprintf(`mount -o remount,rw "$(df -P %s | awk 'END { print $6 }')"`, dirs[0]))
	}
	if len(full) > 0 {
		j.find(DiskFull, Error, "There is no space left for "+strings.Join(full, ", ")+".", "Make room, or give the machine a larger disk.", "df -h "+strings.Join(full, " "))
	}
}

func (j judge) inodes(by map[string]disk) {
	for _, d := range by {
		if d.inodes >= fullInodes {
			j.find(NoInodes, Error, fmt.Sprintf("The file system at %s has used %d %% of its inodes.", d.at, d.inodes), "Remove small files, or make the file system anew with more inodes.", "du --inodes -xd2 "+d.at+" | sort -n | tail -n 20")
		}
	}
}

// disk judges what a folder lies on.
func (j judge) disk(d disk) {
	if slices.Contains(d.options, "noexec") && slices.Contains([]string{"/opt/provision", "/usr/local/bin", "/var/lib/containerd", "/var/lib/kubelet"}, d.path) {
		j.find(NoExec, Error, fmt.Sprintf("%s is on a file system from which programs cannot be run (noexec at %s).", d.path, d.at), "Take noexec away there, and from /etc/fstab.", "mount -o remount,exec "+d.at)
	}
	switch {
	case d.path == "/var/lib/containerd" && (d.kind == "overlay" || d.kind == "tmpfs" || strings.HasPrefix(d.kind, "nfs")):
		j.here(WrongFS, Error, fmt.Sprintf("/var/lib/containerd is on %s, on which containers cannot have their layers.", d.kind), "Mount a disk with ext4 or XFS there.")
	case d.path == "/var/lib/etcd" && j.s.controlPlane() && (strings.HasPrefix(d.kind, "nfs") || d.kind == "tmpfs" || d.kind == "cifs"):
		j.here(WrongFS, Error, fmt.Sprintf("/var/lib/etcd is on %s, on which etcd's data is not safe.", d.kind), "Mount a local disk with ext4 or XFS there.")
	}
}

func (j judge) diskTime() {
	d := j.s.disk
	if d == nil || d.p99 <= slowDisk {
		return
	}
	sev := Warning
	if d.p50 > badDisk {
		sev = Error
	}
	j.find(DiskSlow, sev, fmt.Sprintf("A write to /var/lib/etcd takes %v until it is safe, in the worst of 100 cases (half of them: %v). etcd should have less than %v, or it loses its leader under load.", d.p99.Round(100*time.Microsecond), d.p50.Round(100*time.Microsecond), slowDisk),
		"Put /var/lib/etcd on an SSD of its own, and see what else writes.", "iostat -x 2 5")
}

// goArch returns Go's name of a processor as uname has it.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return machine
}
