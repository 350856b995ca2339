package nodeagent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// reset stops everything that provision runs on this machine and removes all that it put there, the agent included. It
// goes on after a failure, and returns all failures; run again it goes on where it was.
func reset(ctx context.Context, errOut io.Writer) error {
	var errs []error
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"stop the agent and its processes", stopAgent},
		{"stop containers", killContainers},
		{"unmount", unmountAll},
		{"remove network links", removeLinks},
		{"remove packet filter tables", removeTables},
		{"remove cgroups", removeCgroups},
		{"remove files", removeFiles},
	} {
		if err := step.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step.what, err))
		}
	}
	return errors.Join(errs...)
}

// stopAgent first makes sure that nobody starts the agent again.
func stopAgent(ctx context.Context) error {
	systemd := look().systemd
	if systemd && exists(templates.UnitPath) {
		if err := systemctl(ctx, "disable", "node-agent"); err != nil {
			return err
		}
	}
	service := look().openrc && exists(templates.OpenRCPath)
	if service && exists("/etc/runlevels/default/node-agent") {
		if err := openrc(ctx, "rc-update", "del", "node-agent", "default"); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(templates.ServiceDir); err != nil {
		return err
	}
	pid, runs := holder()
	if runs {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		_ = tell(ctx, http.MethodPost, "/kill")
		if systemd {
			_ = systemctl(ctx, "stop", "node-agent")
		}
		if service {
			_ = openrc(ctx, "rc-service", "node-agent", "stop") // waits until it has ended
		}
		awaitEnd(pid)
	}
	if systemd && exists(templates.UnitPath) {
		if err := os.Remove(templates.UnitPath); err != nil {
			return err
		}
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	if err := os.Remove(templates.OpenRCPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What an agent left behind that was dead already.
	s, err := supervisor.New(supervisor.Options{Records: recordsFile, Logs: templates.LogDir})
	if err != nil {
		return err
	}
	s.Kill()
	return nil
}

// awaitEnd waits until the agent has ended, and ends it if it does not.
func awaitEnd(pid int) {
	for range 100 {
		if now, runs := holder(); !runs || now != pid {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	time.Sleep(50 * time.Millisecond)
}

// killContainers ends shims first, so that nobody reacts to the end of the containers, and then all that is in a pod's
// cgroup. It goes on until a look finds nothing.
func killContainers(ctx context.Context) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		found := append(shims(), podProcesses()...)
		if len(found) == 0 {
			return nil
		}
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("processes %v do not end", found)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// shims returns the shims that bundles of ours run, and any runc that is at work. What runs in another mount namespace is
// another machine's, if this one is a host of machines.
func shims() []int {
	var pids []int
	here, _ := os.Readlink("/proc/self/ns/mnt")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		exe, err := os.Readlink(dir + "/exe")
		ns, _ := os.Readlink(dir + "/ns/mnt")
		if err != nil || ns != here || !strings.HasPrefix(exe, templates.BundleDir+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// podCgroups returns the roots of the trees that kubelets keep pods in, in every hierarchy.
func podCgroups() []string {
	var roots []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		for _, name := range []string{"kubepods", "kubepods.slice"} {
			found, _ := filepath.Glob(pattern + name)
			roots = append(roots, found...)
		}
	}
	return roots
}

func podProcesses() []int {
	var pids []int
	for _, root := range podCgroups() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil
			}
			b, _ := os.ReadFile(path)
			for line := range strings.Lines(string(b)) {
				// 0 is a process of another PID namespace.
				if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && alive(pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// unmountAll undoes what the kubelet and containerd mounted, innermost first.
func unmountAll(context.Context) error {
	mounts, err := mountsBelow(kubeletRoot+"/", containerdState+"/", containerdRoot+"/", "/run/netns/", "/run/provision/")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("%s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow returns the places where something is mounted below the folders, in the order of mounting.
func mountsBelow(prefixes ...string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		at := unescape(fields[4])
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(at, p) }) {
			list = append(list, at)
		}
	}
	return list, lines.Err()
}

// unescape undoes mountinfo's way of writing blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// removeLinks removes the pods' bridge with all that is plugged into it, and flannel's tunnel.
func removeLinks(context.Context) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	bridge := -1
	for _, l := range links {
		if l.Attrs().Name == "cni0" {
			bridge = l.Attrs().Index
		}
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		plugged := bridge >= 0 && l.Attrs().MasterIndex == bridge
		if plugged || slices.Contains([]string{"cni0", "flannel.1", "flannel-v6.1", "kube-ipvs0", "nodelocaldns"}, name) {
			if err := netlink.LinkDel(l); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// removeTables removes the tables that kube-proxy, flannel and the port mapper made.
func removeTables(ctx context.Context) error {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil // then nothing of ours can have made one
	}
	out, err := exec.CommandContext(ctx, nft, "list", "tables").CombinedOutput()
	if err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	var errs []error
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line) // table ip kube-proxy
		if len(f) == 3 && slices.Contains([]string{"kube-proxy", "flannel-ipv4", "flannel-ipv6", "cni_hostport", "cni_plugins_masquerade"}, f[2]) {
			if out, err := exec.CommandContext(ctx, nft, "delete", "table", f[1], f[2]).CombinedOutput(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s", f[2], strings.TrimSpace(string(out))))
			}
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes the pods' trees, from the leaves. The kernel may need a moment to see that they are empty.
func removeCgroups(ctx context.Context) error {
	var err error
	for range 50 {
		err = nil
		for _, root := range podCgroups() {
			err = errors.Join(err, removeTree(root))
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func removeTree(root string) error {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

// removeFiles removes all files, the program itself last. A folder that is a mount of its own stays, empty.
func removeFiles(context.Context) error {
	var errs []error
	for _, path := range []string{
		"/etc/kubernetes", "/etc/provision", cniConf, "/var/lib/etcd", kubeletRoot, containerdRoot, "/var/lib/cni",
		"/run/flannel", "/run/cni", containerdState, "/var/log/pods", "/var/log/containers", templates.BundleDir,
		"/var/lib/provision", templates.LogDir, runDir, templates.AgentPath,
	} {
		errs = append(errs, remove(path))
	}
	_ = os.Remove(cniConfDir) // if nobody else has put anything there
	_ = os.Remove("/etc/cni")
	return errors.Join(errs...)
}

func remove(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, unix.EBUSY) {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	return errors.Join(errs...)
}
