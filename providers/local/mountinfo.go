//go:build linux

package local

import (
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A mount is one line of a mountinfo file.
type mount struct{ point, fstype, options string }

// mounts reads the text of a mountinfo file.
func mounts(text string) iter.Seq[mount] {
	return func(yield func(mount) bool) {
		for line := range strings.Lines(text) {
			before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
			f, g := strings.Fields(before), strings.Fields(after)
			if !ok || len(f) < 5 || len(g) < 3 {
				continue
			}
			if !yield(mount{unescape(f[4]), g[0], g[2]}) {
				return
			}
		}
	}
}

// unescape undoes how the kernel writes blanks in paths: \040.
func unescape(s string) string {
	for i := 0; i+3 < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
			s = s[:i] + string(rune(n)) + s[i+4:]
		}
	}
	return s
}

// layers returns the folders whose file systems a machine's root is made of: the host's root and what is mounted below it
// and holds programs or their settings. An overlay shows one file system only, so each is an overlay of its own.
func layers(mountinfo string, hidden []string) []string {
	var all []string
	for m := range mounts(mountinfo) {
		if m.point == "/" || !onDisk(m.fstype) || !below(m.point, programFolders()) || below(m.point, hidden) {
			continue
		}
		all = append(all, m.point)
	}
	slices.Sort(all)
	return append([]string{"/"}, slices.Compact(all)...)
}

func programFolders() []string {
	return []string{"/usr", "/var", "/opt", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix", "/gnu"}
}

func onDisk(fstype string) bool {
	switch fstype {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "squashfs", "erofs", "bcachefs", "jfs", "overlay":
		return true
	}
	return false
}

// below says whether the path is one of the folders or in one.
func below(path string, folders []string) bool {
	for _, f := range folders {
		if rel, err := filepath.Rel(f, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}
