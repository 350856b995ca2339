package metaltest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A Portrait is all of a host that somebody who gets it back may miss or find too much: lines by what they are about.
//
// It leaves out what changes by itself: times, sizes and contents of logs, the init system's logs of services (as in a journal),
// counters and random numbers of the kernel, which neighbours were heard of, process IDs, the other end of a cable, and whoever is
// logged in; and
// /run/mount, an empty folder that the programs mount and umount make when they are first used.
type Portrait map[string][]string

// seen is what is asked of a host from inside. Each part begins with a line "## NAME".
const seen = `export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
part() { printf '## %s\n' "$1"; }
n=0; while ip -6 addr show tentative | grep -q . && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.1; done
part 'host name'; uname -n; cat /etc/hostname /etc/hosts
part links; ip -d -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+/@/; s/ (qlen|group) .*//'; ip -d -o link | wc -l
part addresses; ip -o addr | awk '{ print $2, $3, $4 }'
part routes; for f in -4 -6; do ip $f route show table all; ip $f rule; done
part 'packet filters'; nft list ruleset; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null
part mounts; cut -d' ' -f4-6 /proc/self/mountinfo | sort
part processes; ps -eo ppid=,user=,args= | awk '{ $1 = ""; print }' | grep -vE 'sshd|ps -eo|awk |grep | sort$|sh -c|/bin/sh$|^ *[^ ]+ -?sh$' | sort
part services; ls -l /etc/service 2>/dev/null; ls /etc/systemd/system /etc/init.d 2>/dev/null
part listeners; ss -H -lntu | awk '{ print $1, $5 }' | sort
part users; getent passwd; getent group
part 'kernel settings'; sysctl -a 2>/dev/null | sort |
	grep -vE '^(fs\.(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\.)|kernel\.(random\.|pty\.nr|ns_last_pid|sched_domain)|net\.netfilter\.nf_conntrack_count|vm\.stat_refresh)'
part cgroups; find /sys/fs/cgroup -type d | sort
part namespaces; lsns -n -o TYPE,COMMAND | grep -vE 'sshd|lsns|sh -c' | sort
part 'ipc'; ipcs -m -s -q | grep '^0x'
part 'scheduled'; ls /var/spool/cron /var/spool/cron/crontabs 2>/dev/null
part 'volatile files'; awk '$3 == "tmpfs" && $2 !~ "^/dev" { print $2 }' /proc/mounts | sort -u | while read -r d; do
	find "$d" -xdev ! -type d ! -type f -exec stat -c '%F %a %U:%G %N' {} + -o -type d -exec stat -c '%F %a %U:%G %n' {} +
	find "$d" -xdev -type f -exec sha256sum {} + -exec stat -c '%a %U:%G %n' {} +
done | grep -vE '^[0-9a-f]{64} .*(/meminfo|\.pid)$| /run/mount$' | sort
true`

// Portray looks at a host, from inside as root, and at all that was ever written to its disks.
func (f *Fleet) Portray(name string) (Portrait, error) {
	out, err := f.Run(name, seen)
	if err != nil {
		return nil, err
	}
	p, part := Portrait{}, ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "## "); ok {
			part = name
			p[part] = []string{}
			continue
		}
		p[part] = append(p[part], line)
	}
	p["files"], err = f.written(name)
	return p, err
}

// written are the files on a host's disks, as far as they are not those that all hosts share, with contents and owners.
func (f *Fleet) written(name string) ([]string, error) {
	top := filepath.Join(f.folder, owner, "machines", name)
	all := []string{}
	for _, part := range []string{"layers", "disk"} {
		err := filepath.WalkDir(filepath.Join(top, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(top, path)
			if d.IsDir() && d.Name() == "work" && strings.Count(rel, "/") == 2 && part == "layers" {
				return filepath.SkipDir // the overlay's own
			}
			if rel == "disk/log/init" {
				return filepath.SkipDir
			}
			line, err := describe(path, rel, strings.HasPrefix(rel, "disk/log/"))
			if line != "" {
				all = append(all, line)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return all, nil
}

// describe tells of one file all but its times; of a log not the content.
func describe(path, shown string, log bool) (string, error) {
	i, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	st := i.Sys().(*syscall.Stat_t)
	if i.IsDir() && shared(shown, i) {
		return "", nil
	}
	words := fmt.Sprintf("%s %v %d:%d", shown, i.Mode(), st.Uid, st.Gid)
	switch {
	case i.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return words + " -> " + to, err
	case i.Mode()&fs.ModeDevice != 0:
		return fmt.Sprintf("%s device %d", words, st.Rdev), nil
	case i.Mode().IsRegular() && !log:
		b, err := os.ReadFile(path)
		return fmt.Sprintf("%s %x", words, sha256.Sum256(b)), err
	}
	return words, nil
}

// shared says whether a folder is there only because something in it was changed: the one that all hosts share is alike.
func shared(shown string, i fs.FileInfo) bool {
	path, ok := strings.CutPrefix(shown, "layers/0/upper/")
	if !ok {
		return false
	}
	o, err := os.Lstat("/" + path)
	if err != nil || o.Mode() != i.Mode() {
		return false
	}
	a, b := i.Sys().(*syscall.Stat_t), o.Sys().(*syscall.Stat_t)
	return a.Uid == b.Uid && a.Gid == b.Gid
}

// Compare returns what differs, a paragraph for each part; empty if nothing does.
func (p Portrait) Compare(after Portrait) []string {
	parts := map[string]bool{}
	for part := range p {
		parts[part] = true
	}
	for part := range after {
		parts[part] = true
	}
	var all []string
	for part := range parts {
		gone, come := without(p[part], after[part]), without(after[part], p[part])
		if len(gone)+len(come) > 0 {
			all = append(all, fmt.Sprintf("%s:\n  gone:\n    %s\n  come:\n    %s", part, strings.Join(gone, "\n    "), strings.Join(come, "\n    ")))
		}
	}
	slices.Sort(all)
	return all
}

// without are the lines of a that b does not have as often.
func without(a, b []string) []string {
	count := map[string]int{}
	for _, l := range b {
		count[l]++
	}
	var left []string
	for _, l := range a {
		if count[l]--; count[l] < 0 {
			left = append(left, l)
		}
	}
	return left
}
