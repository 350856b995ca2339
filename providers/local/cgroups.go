//go:build linux

package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// A hierarchy is one tree of control groups: the one of version 2, or one of the several of version 1.
type hierarchy struct {
	Mount       string   `json:"mount"` // where the host has it
	V2          bool     `json:"v2,omitempty"`
	Controllers []string `json:"controllers,omitempty"` // version 1; name=X for one without any
}

// supervisorsGroup holds all supervisors. Its name is no DNS label, so it is nobody's.
const supervisorsGroup = "_supervisors"

// hierarchies reads the host's trees of control groups from the text of a mountinfo file. Each is there once.
func hierarchies(mountinfo string) []hierarchy {
	var all []hierarchy
	seen := map[string]bool{}
	for m := range mounts(mountinfo) {
		h := hierarchy{Mount: m.point, V2: m.fstype == "cgroup2"}
		if !h.V2 && m.fstype != "cgroup" {
			continue
		}
		if !h.V2 {
			h.Controllers = controllers(m.options)
		}
		id := strings.Join(h.Controllers, ",")
		if !seen[id] && (h.V2 || len(h.Controllers) > 0) {
			seen[id] = true
			all = append(all, h)
		}
	}
	return all
}

// controllers picks the controllers, or the tree's name, out of a version 1 mount's options.
func controllers(options string) []string {
	var cs []string
	for _, o := range strings.Split(options, ",") {
		switch k, _, _ := strings.Cut(o, "="); k {
		case "rw", "ro", "xattr", "noprefix", "clone_children", "release_agent", "seclabel", "cpuset_v2_mode", "favordynmods", "nofavordynmods":
		default:
			cs = append(cs, o)
		}
	}
	return cs
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.Controllers, controller) }

// onlyV2 says whether version 2 is what limits here.
func onlyV2(hs []hierarchy) bool {
	return !slices.ContainsFunc(hs, func(h hierarchy) bool { return h.has("memory") })
}

// hostHierarchies reads what this process sees.
func hostHierarchies() ([]hierarchy, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	hs := hierarchies(string(b))
	if onlyV2(hs) && !slices.ContainsFunc(hs, func(h hierarchy) bool { return h.V2 }) {
		return nil, fail(providers.Unsupported, "no control groups are mounted (neither version 1 with a memory controller nor version 2)")
	}
	return hs, nil
}

// A group is one control group in all hierarchies.
type group struct {
	trees []hierarchy
	path  []string // names from the top down
}

// groupsTop is the name of the control group that holds all others of this folder.
func (p *Provider) groupsTop() string {
	if p.folder == DefaultFolder {
		return "provision"
	}
	sum := sha256.Sum256([]byte(p.folder))
	return "provision-" + hex.EncodeToString(sum[:4])
}

// group is the machine's control group.
func (p *Provider) group(k providers.Key) (group, error) {
	hs, err := hostHierarchies()
	return group{hs, []string{p.groupsTop(), string(k.Owner), k.Name}}, err
}

// supervisors is the control group of all supervisors.
func (g group) supervisors() group { return group{g.trees, []string{g.path[0], supervisorsGroup}} }

func (g group) dir(h hierarchy) string {
	return filepath.Join(append([]string{h.Mount}, g.path...)...)
}

// make makes the group in all trees.
func (g group) make() error {
	for _, h := range g.trees {
		at := h.Mount
		for _, name := range g.path {
			if h.V2 {
				if err := delegate(at, onlyV2(g.trees)); err != nil {
					return err
				}
			}
			parent := at
			at = filepath.Join(at, name)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make control group: %w", err)
			}
			if h.has("cpuset") {
				if err := inheritCpuset(parent, at); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// delegate lets the children of a version 2 group have all controllers that it has. Those that limits need must be there.
func delegate(dir string, limits bool) error {
	has, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(has)) {
		err := writeGroup(dir, "cgroup.subtree_control", "+"+c)
		if err != nil && limits && (c == "memory" || c == "cpu") {
			return fail(providers.Unsupported, "control group %s does not let its children have controller %s (processes in it, or inside a container?): %w", dir, c, err)
		}
	}
	return nil
}

// inheritCpuset copies down what a version 1 group does not inherit by itself and cannot be without.
func inheritCpuset(parent, dir string) error {
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		now, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(now))) > 0 {
			continue
		}
		above, err := os.ReadFile(filepath.Join(parent, f))
		if err != nil {
			return err
		}
		if err := writeGroup(dir, f, strings.TrimSpace(string(above))); err != nil {
			return err
		}
	}
	return nil
}

// limit sets what the group may use at most. Processors are limited only if the host has more.
func (g group) limit(t providers.MachineType, hostCPUs int) error {
	memory := strconv.FormatInt(int64(t.MemoryMiB)<<20, 10)
	const period = 100_000 // microseconds
	quota := strconv.Itoa(t.CPUs * period / 1000)
	limitCPU := t.CPUs < hostCPUs*1000
	for _, h := range g.trees {
		dir := g.dir(h)
		var err error
		switch {
		case h.V2 && onlyV2(g.trees):
			err = writeGroup(dir, "memory.max", memory)
			if limitCPU {
				err = errors.Join(err, writeGroup(dir, "cpu.max", quota+" "+strconv.Itoa(period)))
			}
		case h.has("memory"):
			err = writeGroup(dir, "memory.limit_in_bytes", memory)
		case h.has("cpu") && limitCPU:
			err = writeGroup(dir, "cpu.cfs_quota_us", quota)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// join moves this process into the group.
func (g group) join() error {
	for _, h := range g.trees {
		if err := writeGroup(g.dir(h), "cgroup.procs", "0"); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the group with all below it, which no process may be in any more, and those above it that are empty
// then. The kernel needs a moment to let go of the last processes.
func (g group) remove() error {
	for _, h := range g.trees {
		deadline := time.Now().Add(5 * time.Second)
		for {
			err := removeTree(g.dir(h))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove control group: %w", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// removeAbove removes the groups above that are empty: the owner's, the supervisors' and the one of all.
func (g group) removeAbove() {
	for _, h := range g.trees {
		removeEmpty(group{path: g.path[:2]}.dir(h))
		removeEmpty(g.supervisors().dir(h))
		removeEmpty(group{path: g.path[:1]}.dir(h))
	}
}

// removeEmpty removes a group that has neither groups nor processes. The kernel may need a moment to see that.
func removeEmpty(dir string) {
	for range 200 {
		entries, err := os.ReadDir(dir)
		if err != nil || slices.ContainsFunc(entries, os.DirEntry.IsDir) {
			return
		}
		if procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || len(procs) > 0 {
			return
		}
		if unix.Rmdir(dir) == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// removeTree removes a control group and those below it. Its files cannot and need not be removed.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func writeGroup(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
