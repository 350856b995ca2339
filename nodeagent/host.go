package nodeagent

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// A host is what this machine's kernel and init system are like, as far as Kubernetes must know.
type host struct {
	systemd    bool   // PID 1 is systemd, and so manages cgroups
	openrc     bool   // PID 1 lets OpenRC run services
	cgroup     int    // version: 1 or 2
	oomScore   bool   // processes may become less likely to be killed
	conntrack  bool   // the kernel's connection tracking may be changed
	resolvConf string // has real name servers in it, not one that only this machine reaches
}

const (
	initSystemd = "systemd"
	initOpenRC  = "openrc"
	initRunit   = "runit"
)

func (h host) initSystem() string {
	switch {
	case h.systemd:
		return initSystemd
	case h.openrc:
		return initOpenRC
	}
	return initRunit
}

// look finds out. It changes nothing.
func look() host {
	systemd := exists("/run/systemd/system")
	return host{
		systemd:    systemd,
		openrc:     !systemd && exists("/run/openrc/softlevel"),
		cgroup:     cgroupVersion(),
		oomScore:   capable(24), // CAP_SYS_RESOURCE
		conntrack:  writable("/proc/sys/net/netfilter/nf_conntrack_max"),
		resolvConf: resolvConf(),
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cgroupVersion is 2 only if the unified tree is what is mounted; a hybrid has it in a corner.
func cgroupVersion() int {
	if exists("/sys/fs/cgroup/cgroup.controllers") {
		return 2
	}
	return 1
}

// capable reports whether this process has a capability.
func capable(n uint) bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && set&(1<<n) != 0
		}
	}
	return false
}

// writable reports whether a kernel setting can be changed, by writing what is there already.
func writable(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && os.WriteFile(path, b, 0) == nil
}

func resolvConf() string {
	const resolved = "/run/systemd/resolve/resolv.conf"
	if exists(resolved) {
		return resolved
	}
	return "/etc/resolv.conf"
}

// prepare sets in the kernel what pods and services need. What cannot be set may well be set already, in another way: it
// is logged, and what really does not work shows where it is used.
func prepare(log *slog.Logger) {
	for _, module := range []string{"overlay", "br_netfilter", "vxlan", "nf_conntrack"} {
		if path, err := exec.LookPath("modprobe"); err == nil {
			_ = exec.Command(path, "-q", module).Run()
		}
	}
	for _, s := range []struct{ path, value string }{
		{"net/ipv4/ip_forward", "1"},
		{"net/bridge/bridge-nf-call-iptables", "1"},
		{"net/bridge/bridge-nf-call-ip6tables", "1"},
		{"fs/inotify/max_user_instances", "8192"},
		{"fs/inotify/max_user_watches", "524288"},
	} {
		if err := sysctl(s.path, s.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("cannot set", "sysctl", s.path, "value", s.value, "err", err)
		}
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		files.Cur = files.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
	}
}

// impatient makes the kernel give up connections that nobody answers after 13 seconds, not 15 minutes, on a node of the control
// plane. etcd's members keep their connections for ever, and one of etcd's own timeouts does not work (it sets Dial of an
// http.Transport that has a DialContext): after a silent partition, members would be deaf to each other for as long again as it
// lasted, and could elect nobody if another one went meanwhile.
func impatient(log *slog.Logger) {
	const path, retries = "/proc/sys/net/ipv4/tcp_retries2", 5
	b, err := os.ReadFile(path)
	if err == nil {
		if have, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && have <= retries {
			return
		}
		err = os.WriteFile(path, []byte(strconv.Itoa(retries)), 0)
	}
	if err != nil {
		log.Warn("cannot set", "sysctl", path, "value", retries, "err", err)
	}
}

// sysctl sets a number unless it is that large already.
func sysctl(path, value string) error {
	path = "/proc/sys/" + path
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	have, err1 := strconv.Atoi(strings.TrimSpace(string(b)))
	want, err2 := strconv.Atoi(value)
	if err1 == nil && err2 == nil && have >= want {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}
