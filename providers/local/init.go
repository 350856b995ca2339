//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

const (
	insideFile = "/run/machine-init" // is there in a machine and nowhere else
	logFolder  = "/var/log/init"
	serviceDir = "/etc/service"
)

// initMain is process 1 of a machine. SIGTERM, SIGPWR and SIGUSR1/2 make it power off, SIGINT makes it reboot.
func initMain() int {
	debug.SetGCPercent(20) // it lives long and does little
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	var b bootConfig
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	status := os.NewFile(4, "status")
	config := os.NewFile(3, "config")
	err := json.NewDecoder(config).Decode(&b)
	config.Close()
	if err == nil {
		err = becomeMachine(&b)
	}
	if err != nil {
		fmt.Fprintf(status, "%s\n%v", providers.KindOf(kinded(err)), err)
		return 1
	}
	s := newServices()
	s.add(sshService(b.Sshd))
	s.runUserData()
	s.watch(serviceDir)
	fmt.Fprint(status, "ready\n")
	status.Close()
	debug.FreeOSMemory()
	reboot := waitForEnd(signals, s)
	s.end()
	return leave(reboot)
}

// becomeMachine makes this process' namespaces what a machine looks like from inside.
func becomeMachine(b *bootConfig) error {
	if err := enterRoot(b); err != nil {
		return err
	}
	if err := splitGroups(b.Groups); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(b.Name)); err != nil {
		return err
	}
	if err := connect(b.Address, b.Gateway); err != nil {
		return fmt.Errorf("connect to the network: %w", err)
	}
	setNetSysctls()
	raiseLimits()
	if err := cleanTmp(); err != nil {
		return err
	}
	return makeFolders()
}

// splitGroups moves this process into a group of its own, and lets others be made beside it: with version 2, a group has
// either processes or children with controllers.
func splitGroups(hs []hierarchy) error {
	if !onlyV2(hs) {
		return nil
	}
	const top = "/sys/fs/cgroup"
	if err := os.Mkdir(filepath.Join(top, "init"), 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if err := writeGroup(filepath.Join(top, "init"), "cgroup.procs", "1"); err != nil {
		return err
	}
	return delegate(top, true)
}

// connect gives eth0 its address and its route.
func connect(address, gateway string) error {
	for _, name := range []string{"lo", "eth0"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == "eth0" {
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrReplace(l, a); err != nil {
				return fmt.Errorf("address %s: %w", address, err)
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := netlink.RouteReplace(&netlink.Route{Gw: net.ParseIP(gateway)}); err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}

// setNetSysctls sets what Kubernetes needs of this network namespace. The bridge filter's settings are missing on a kernel
// without it; then Services are not reachable from pods on the same node.
func setNetSysctls() {
	for name, n := range map[string]int{
		"net/ipv4/ip_forward":                1,
		"net/ipv4/conf/all/rp_filter":        2, // loose: tunnels and pods answer by other links
		"net/ipv4/conf/default/rp_filter":    2,
		"net/bridge/bridge-nf-call-iptables": 1, "net/bridge/bridge-nf-call-ip6tables": 1,
	} {
		if err := writeSysctl(name, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// raiseLimits lets processes have many files, as far as this host lets us.
func raiseLimits() {
	for _, n := range []uint64{1 << 20, 0} {
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return
		}
		l.Cur, l.Max = max(n, l.Max), max(n, l.Max)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err == nil {
			return
		}
	}
}

// cleanTmp empties /tmp, as a boot does.
func cleanTmp() error {
	entries, err := os.ReadDir("/tmp")
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join("/tmp", e.Name())))
	}
	return err
}

// makeFolders makes what programs expect, and the names under which people stop a machine.
func makeFolders() error {
	for path, mode := range map[string]os.FileMode{"/run/sshd": 0o755, "/run/lock": 0o1777, logFolder: 0o755, serviceDir: 0o755} {
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
	}
	if err := os.WriteFile(insideFile, nil, 0o644); err != nil {
		return err
	}
	for _, dir := range []string{"/usr/local/sbin", "/sbin"} {
		for _, name := range []string{"reboot", "poweroff", "halt", "shutdown"} {
			link := filepath.Join(dir, name)
			if to, _ := os.Readlink(link); to == programPath {
				continue
			}
			if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
				return err
			}
			if err := os.Symlink(programPath, link); err != nil {
				return err
			}
		}
	}
	return nil
}

func sshService(sshd string) *service {
	return &service{name: "sshd", argv: []string{sshd, "-D", "-e", "-f", "/etc/ssh/sshd_config"}, dir: "/"}
}

// waitForEnd reaps until somebody asks for the end; true means that it is a reboot.
func waitForEnd(signals <-chan os.Signal, s *services) (reboot bool) {
	s.reap()
	for sig := range signals {
		s.reap() // whichever it is: SIGCHLD is lost when there are many
		switch sig {
		case unix.SIGINT:
			return true
		case unix.SIGTERM, unix.SIGPWR, unix.SIGUSR1, unix.SIGUSR2:
			return false
		}
	}
	return false
}

// leave ends all processes, kindly at first, and then the machine.
func leave(reboot bool) int {
	_ = unix.Kill(-1, unix.SIGTERM) // fails when there is nobody
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if lonely() {
			break
		}
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	how, code := unix.LINUX_REBOOT_CMD_POWER_OFF, 0
	if reboot {
		how, code = unix.LINUX_REBOOT_CMD_RESTART, exitReboot
	}
	if err := unix.Reboot(how); err != nil {
		fmt.Fprintln(os.Stderr, strings.TrimSpace("reboot: "+err.Error()))
	}
	return code
}

// lonely reaps, and says whether no child is left.
func lonely() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return true
		}
		if pid <= 0 {
			return false
		}
	}
}
