//go:build linux

package local

import (
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

// raiseSysctls sets what the host has too low, and writes down what it was. The lock of the whole folder is held.
func (p *Provider) raiseSysctls() error {
	file := filepath.Join(p.folder, "sysctls.json")
	was := map[string]int{}
	if b, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(b, &was); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
	raise := map[string]int{}
	for name, least := range hostSysctls() {
		n, err := readSysctl(name)
		if err != nil {
			return err
		}
		if n >= least {
			continue
		}
		raise[name] = least
		if _, known := was[name]; !known {
			was[name] = n
		}
	}
	if len(raise) == 0 {
		return nil
	}
	if err := writeJSON(file, was); err != nil {
		return err
	}
	for name, n := range raise {
		if err := writeSysctl(name, n); err != nil {
			return err
		}
	}
	return nil
}

// restoreSysctls sets back what raiseSysctls set, unless somebody else has set it again since.
func (p *Provider) restoreSysctls() error {
	file := filepath.Join(p.folder, "sysctls.json")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	was := map[string]int{}
	if err := json.Unmarshal(b, &was); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	for name, n := range was {
		if now, err := readSysctl(name); err != nil || now != hostSysctls()[name] {
			continue
		}
		if err := writeSysctl(name, n); err != nil {
			return err
		}
	}
	return os.Remove(file)
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
