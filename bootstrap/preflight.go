package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provisionhq/provision/templates"
)

// What a machine must have at least.
const (
	minKernelMajor, minKernelMinor = 5, 13 // kube-proxy's nftables mode
	minControlPlane                = 900 << 20
	minWorker                      = 400 << 20
	spareDisk                      = 1 << 30 // for images, logs and etcd, beside what is installed
	maxSkew                        = time.Minute
)

// needTools are programs that Kubernetes runs and that no bundle brings.
func needTools() []string { return []string{"mount", "nft", "sha256sum", "umount"} }

// volumeTools are programs that a node needs which mounts volumes. Those of xfs are not among them: not every cluster uses it.
func volumeTools() []string {
	return []string{"blkid", "blockdev", "e2fsck", "fsck", "mkfs.ext4", "resize2fs"}
}

// preflight looks for all that keeps the machine from becoming a node. It is done when there is nothing.
func preflight() Phase {
	return Phase{
		Name: "preflight",
		Done: func(ctx context.Context, t *Target) (bool, error) {
			f, err := t.gather(ctx)
			if err != nil {
				return false, err
			}
			if ps := problems(t, f); len(ps) > 0 {
				return false, &PreflightError{ps}
			}
			return true, nil
		},
		Do: func(context.Context, *Target) error { return nil },
	}
}

func problems(t *Target, f *Facts) []Problem {
	if !f.Root {
		return []Problem{{NotRoot, "commands on the machine do not run as root", "Log in as root, or as a user who may use sudo without a password"}}
	}
	ps := machineProblems(t, f)
	ps = append(ps, diskProblems(t, f)...)
	if f.Node == nil {
		return append(ps, portProblems(t, f)...)
	}
	if f.Node.UID != t.Node.UID {
		which := fmt.Sprintf("node %s of another cluster, %s", f.Node.Name, f.Node.Cluster)
		if f.Node.Cluster == t.Node.Cluster {
			which = fmt.Sprintf("node %s of another cluster of the same name, %s", f.Node.Name, f.Node.Cluster)
		}
		ps = append(ps, Problem{OtherCluster, "the machine is " + which,
			"If that cluster is not needed any more, run there: node-agent reset"})
	}
	return ps
}

func machineProblems(t *Target, f *Facts) []Problem {
	var ps []Problem
	add := func(id ProblemID, what, mend string) { ps = append(ps, Problem{id, what, mend}) }
	if p := t.Programs; p != nil && p.Manifest.Arch != f.Arch {
		add(WrongArch, fmt.Sprintf("the machine is %s, the bundle is for %s", f.Arch, p.Manifest.Arch), "Give a bundle for the machine's architecture with --bundle")
	}
	if oldKernel(f.Kernel) {
		add(OldKernel, fmt.Sprintf("the kernel is %s", f.Kernel), fmt.Sprintf("Use Linux %d.%d or newer", minKernelMajor, minKernelMinor))
	}
	if missing := missingControllers(f); f.Cgroup == 0 || len(missing) > 0 {
		add(NoCgroups, strings.TrimSpace("the machine lacks cgroups "+strings.Join(missing, ", ")), "Mount cgroups with the controllers cpu, memory and pids")
	}
	if f.Init == "" {
		add(NoInit, "no init system was found", "Use a machine with systemd or OpenRC, or one that supervises the folders in /etc/service")
	}
	tools := needTools()
	if c := t.Node.Cloud; c != nil && c.Volumes {
		tools = append(tools, volumeTools()...)
	}
	for _, tool := range tools {
		if !slices.Contains(f.Tools, tool) {
			add(NoTool, "the program "+tool+" is missing", "Install the package that has "+tool)
		}
	}
	if !f.Overlay {
		add(NoOverlay, "the kernel has no overlayfs", "Load the kernel module overlay, or use a kernel that has it")
	}
	least := int64(minWorker)
	if t.Node.Role == templates.ControlPlane {
		least = minControlPlane
	}
	if f.Memory < least {
		add(LowMemory, fmt.Sprintf("the machine has %d MiB of memory", f.Memory>>20), fmt.Sprintf("A %s node needs %d MiB", t.Node.Role, least>>20))
	}
	if f.Skew.Abs() > maxSkew {
		add(WrongClock, fmt.Sprintf("the machine's clock is wrong by %v", f.Skew.Abs().Round(time.Second)), "Set the clock and keep it right, for example with chrony")
	}
	return ps
}

func oldKernel(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 {
		return false // not a form that is known; the kernel will tell
	}
	return major < minKernelMajor || major == minKernelMajor && minor < minKernelMinor
}

func missingControllers(f *Facts) []string {
	var missing []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(f.Controllers, c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// diskProblems checks that what is still to be installed fits.
func diskProblems(t *Target, f *Facts) []Problem {
	if t.Programs == nil || slices.Contains(f.Bundles, t.Programs.Manifest.ID) {
		return nil
	}
	need := map[string]int64{"/opt/provision": t.Programs.Manifest.Size(), "/var/lib/provision": t.Programs.Bundle.Size() + spareDisk}
	if f.Disks["/opt/provision"].Device == f.Disks["/var/lib/provision"].Device {
		need = map[string]int64{"/var/lib/provision": need["/opt/provision"] + need["/var/lib/provision"]}
	}
	var ps []Problem
	for _, dir := range []string{"/opt/provision", "/var/lib/provision"} {
		if d, ok := f.Disks[dir]; ok && d.Free < need[dir] {
			ps = append(ps, Problem{FullDisk, fmt.Sprintf("the disk of %s has %d MiB left", dir, d.Free>>20),
				fmt.Sprintf("Make room: %d MiB are needed", need[dir]>>20)})
		}
	}
	return ps
}

// portProblems checks that no other program has the ports that a node listens on.
func portProblems(t *Target, f *Facts) []Problem {
	ports := []int{10250, 7443}
	if t.Node.Role == templates.ControlPlane {
		ports = append(ports, 6443, 2379, 2380)
	}
	var ps []Problem
	for _, port := range ports {
		who, taken := f.Listeners[port]
		if !taken {
			continue
		}
		if who == "" {
			who = "another program"
		}
		ps = append(ps, Problem{PortTaken, fmt.Sprintf("%s listens on port %d", who, port),
			"Stop it: a node needs port " + strconv.Itoa(port) + " for itself"})
	}
	return ps
}
