//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// hostSysctls are settings of the host that machines need: name below /proc/sys and the least value.
func hostSysctls() map[string]int {
	return map[string]int{
		"net/ipv4/ip_forward":           1,
		"fs/inotify/max_user_instances": 8192, // every kubelet and container runtime of every machine counts as the host's root
		"fs/inotify/max_user_watches":   524288,
	}
}

// settingsFolder holds what the host's settings were, and who needs them raised: one file per folder of machines. It is gone
// after the host's reboot, as the settings are.
const settingsFolder = "/run/provision-local"

// raiseSysctls sets what the host has too low, and writes down what it was.
func (p *Provider) raiseSysctls(ctx context.Context) error {
	l, err := acquire(ctx, filepath.Join(settingsFolder, "lock"))
	if err != nil {
		return err
	}
	defer l.release()
	if err := writeFile(p.settingsUser(), []byte(p.folder), 0o600); err != nil {
		return err
	}
	was, err := readSettings()
	if err != nil {
		return err
	}
	for name, least := range hostSysctls() {
		n, err := readSysctl(name)
		if err != nil {
			return err
		}
		if n >= least {
			continue
		}
		if _, known := was[name]; !known {
			was[name] = n
		}
		if err := writeJSON(filepath.Join(settingsFolder, "was.json"), was); err != nil {
			return err
		}
		if err := writeSysctl(name, least); err != nil {
			return err
		}
	}
	return nil
}

// restoreSysctls sets back what raiseSysctls set, if no other folder has machines and nobody else has set it again since.
func (p *Provider) restoreSysctls(ctx context.Context) error {
	if _, err := os.Stat(p.settingsUser()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := acquire(ctx, filepath.Join(settingsFolder, "lock"))
	if err != nil {
		return err
	}
	defer l.release()
	if p.othersUseSettings() {
		return os.Remove(p.settingsUser())
	}
	was, err := readSettings()
	if err != nil {
		return err
	}
	for name, n := range was {
		if now, err := readSysctl(name); err != nil || now != hostSysctls()[name] {
			continue
		}
		if err := writeSysctl(name, n); err != nil {
			return err
		}
	}
	return os.RemoveAll(settingsFolder)
}

// othersUseSettings says whether another folder, which still exists, has machines.
func (p *Provider) othersUseSettings() bool {
	users, _ := filepath.Glob(filepath.Join(settingsFolder, "user-*")) // the pattern is a good one
	for _, u := range users {
		folder, err := os.ReadFile(u)
		if err != nil || u == p.settingsUser() {
			continue
		}
		if _, err := os.Stat(string(folder)); err == nil {
			return true
		}
	}
	return false
}

func (p *Provider) settingsUser() string {
	return filepath.Join(settingsFolder, "user-"+p.groupsTop())
}

func readSettings() (map[string]int, error) {
	was := map[string]int{}
	file := filepath.Join(settingsFolder, "was.json")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return was, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return was, nil
}

func readSysctl(name string) (int, error) {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func writeSysctl(name string, n int) error {
	return os.WriteFile("/proc/sys/"+name, []byte(strconv.Itoa(n)), 0)
}

// loadBridgeFilter loads the kernel module that lets bridged packets pass the packet filter, which Services within one
// node need. Machines have it on in their own network namespaces; if it was not loaded, it stays off in the host's. A
// kernel that has no such module works but for those Services.
func loadBridgeFilter() {
	if _, err := os.Stat("/proc/sys/net/bridge"); err == nil {
		return
	}
	if err := exec.Command("modprobe", "br_netfilter").Run(); err != nil {
		return
	}
	for _, n := range []string{"iptables", "ip6tables", "arptables"} {
		_ = writeSysctl("net/bridge/bridge-nf-call-"+n, 0) // may be missing: then it does nothing either
	}
}
