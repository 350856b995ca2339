//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/provisionhq/provision/providers"
)

const mountinfoV1 = `21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
35 21 0:29 / /mnt/again rw - cgroup cgroup rw,memory
36 21 254:1 / /usr rw - ext4 /dev/vdb rw
37 36 254:2 / /usr/local rw master:1 - xfs /dev/vdc rw
38 21 254:3 / /home rw - ext4 /dev/vdd rw
39 21 254:4 / /var/lib/containerd rw - ext4 /dev/vde rw
40 21 0:44 / /var/cache rw - tmpfs tmpfs rw
41 21 254:5 / /opt/a\040b rw - btrfs /dev/vdf rw
`

const mountinfoV2 = `21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`

func TestHierarchies(t *testing.T) {
	for _, c := range []struct {
		name, mountinfo string
		want            []hierarchy
		onlyV2          bool
	}{
		{"version 1, each tree once", mountinfoV1, []hierarchy{
			{Mount: "/sys/fs/cgroup/unified", V2: true},
			{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}},
			{Mount: "/sys/fs/cgroup/memory", Controllers: []string{"memory"}},
			{Mount: "/sys/fs/cgroup/systemd", Controllers: []string{"name=systemd"}},
		}, false},
		{"version 2", mountinfoV2, []hierarchy{{Mount: "/sys/fs/cgroup", V2: true}}, true},
	} {
		got := hierarchies(c.mountinfo)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		if onlyV2(got) != c.onlyV2 {
			t.Errorf("%s: onlyV2 = %v, want %v", c.name, onlyV2(got), c.onlyV2)
		}
	}
}

// TestGroupVersion2 makes a group in a tree of plain files that looks like version 2.
func TestGroupVersion2(t *testing.T) {
	top := t.TempDir()
	fake := func(dir string) {
		for _, f := range []string{"cgroup.subtree_control", "cgroup.procs", "memory.max", "cpu.max"} {
			if err := writeFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeFile(filepath.Join(dir, "cgroup.controllers"), []byte("cpu memory pids\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := group{[]hierarchy{{Mount: top, V2: true}}, []string{"provision", "demo", "a"}}
	for _, d := range []string{".", "provision", "provision/demo", "provision/demo/a"} {
		fake(filepath.Join(top, d))
	}
	if err := g.make(); err != nil {
		t.Fatal(err)
	}
	if err := g.limit(providers.MachineType{CPUs: 2000, MemoryMiB: 2048}, 4); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"cgroup.subtree_control":                  "+pidsry", // one write each, of which a plain file keeps the last over the others
		"provision/demo/cgroup.subtree_control":   "+pidsry",
		"provision/demo/a/memory.max":             "2147483648",
		"provision/demo/a/cpu.max":                "200000 100000",
		"provision/demo/a/cgroup.subtree_control": "", // process 1 does that, when it has gone into a child
	} {
		got, err := os.ReadFile(filepath.Join(top, file))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", file, got, err, want)
		}
	}
	if err := g.limit(providers.MachineType{CPUs: 4000, MemoryMiB: 1}, 4); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(top, "provision/demo/a/cpu.max")); string(got) != "200000 100000" {
		t.Errorf("processors were limited to %q though the host has no more", got)
	}
}

func TestLayers(t *testing.T) {
	got := layers(mountinfoV1, []string{"/var/lib/containerd"})
	if want := []string{"/", "/opt/a b", "/usr", "/usr/local"}; !slices.Equal(got, want) {
		t.Errorf("layers = %q, want %q", got, want)
	}
	r := root{"/m", got}
	for path, want := range map[string]string{
		"/etc/hosts":                   "/m/layers/0/upper/etc/hosts",
		"/usr/sbin/reboot":             "/m/layers/2/upper/sbin/reboot",
		"/usr/local/sbin/machine-init": "/m/layers/3/upper/sbin/machine-init",
		"/usrx":                        "/m/layers/0/upper/usrx",
	} {
		if got := r.host(path); got != want {
			t.Errorf("%s is kept in %s, want %s", path, got, want)
		}
	}
}

func TestCapMemory(t *testing.T) {
	in := "MemTotal:       24684084 kB\nMemFree:          100000 kB\nSwapTotal:       1000 kB\nHugePages_Total:       0\nVmallocTotal:   34359738367 kB\n"
	want := "MemTotal:        2097152 kB\nMemFree:          100000 kB\nSwapTotal:             0 kB\nHugePages_Total:       0\nVmallocTotal:   34359738367 kB\n"
	if got := capMemory(in, 2048); got != want {
		t.Errorf("capMemory:\n%s\nwant\n%s", got, want)
	}
}

func TestParsePower(t *testing.T) {
	for _, c := range []struct {
		command               string
		reboot, force, refuse bool
	}{
		{"reboot", true, false, false},
		{"reboot -f", true, true, false},
		{"reboot --force", true, true, false},
		{"reboot -p", false, false, false},
		{"poweroff", false, false, false},
		{"halt -f", false, true, false},
		{"shutdown", false, false, false},
		{"shutdown -r now", true, false, false},
		{"shutdown -h +0", false, false, false},
		{"shutdown -r +5", false, false, true},
		{"reboot --nonsense", false, false, true},
		{"machine-init", false, false, true},
	} {
		f := strings.Fields(c.command)
		reboot, force, err := parsePower(f[0], f[1:])
		if (err != nil) != c.refuse || err == nil && (reboot != c.reboot || force != c.force) {
			t.Errorf("%s: reboot %v, force %v, %v; want %v, %v, refused %v", c.command, reboot, force, err, c.reboot, c.force, c.refuse)
		}
	}
}

func TestMachineIsNotAnyProgram(t *testing.T) {
	for _, args := range [][]string{nil, {"provision"}, {"/usr/bin/provision", "apply"}, {"reboot"}, {"local.test", "machine-init"}} {
		if ran, _ := Machine(args); ran {
			t.Errorf("Machine(%q) ran", args)
		}
	}
}

func TestLogFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 99) + "\n"
	for range 5 * maxLog / 2 / len(line) {
		if _, err := l.in.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	l.close()
	<-l.done
	for _, p := range []string{path, path + ".1"} {
		s, err := os.Stat(p)
		if err != nil || s.Size() > maxLog || s.Size() < maxLog/3 {
			t.Errorf("%s: %v, %v; want at most %d and a third of it", p, s, err, maxLog)
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "a")
	l, err := acquire(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := acquire(ctx, path); providers.KindOf(err) != providers.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second holder: %v, want Unavailable and the context's error", err)
	}
	got := make(chan *lock)
	go func() {
		l, err := acquire(context.Background(), path)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	l.remove() // who waits must not take the file that is gone
	l.release()
	second := <-got
	defer second.release()
	if !named(second.file, path) {
		t.Error("the lock that was got is not the one that the path names")
	}
}

func TestRecords(t *testing.T) {
	p := New(Options{Folder: filepath.Join(t.TempDir(), "a[1]*")})
	for _, k := range []providers.Key{{Owner: "b", Name: "x"}, {Owner: "a", Name: "z"}, {Owner: "a", Name: "y"}} {
		r := &machineRecord{ID: newID(k), Spec: providers.MachineSpec{Owner: k.Owner, Name: k.Name}}
		if err := r.save(p.dir(providers.MachineNoun, k)); err != nil {
			t.Fatal(err)
		}
		if got, err := byID[providers.MachineSpec](p, providers.MachineNoun, r.ID); err != nil || got == nil || got.ID != r.ID {
			t.Errorf("byID(%s) = %+v, %v", r.ID, got, err)
		}
	}
	for owner, want := range map[providers.Owner]string{"": "a/y a/z b/x", "a": "a/y a/z", "c": "", "*": "", "..": ""} {
		rs, err := records[providers.MachineSpec](p, providers.MachineNoun, owner)
		var got []string
		for _, r := range rs {
			got = append(got, r.Spec.Key().String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("records of %q: %q, %v; want %q", owner, got, err, want)
		}
	}
	for _, id := range []providers.ID{"", "a", "a/y", "a/y/0", "../../etc/x", "a/../b/x", "a//b"} {
		if r, err := byID[providers.MachineSpec](p, providers.MachineNoun, id); r != nil || err != nil {
			t.Errorf("byID(%q) = %+v, %v; want nothing", id, r, err)
		}
	}
	file := filepath.Join(p.dir(providers.MachineNoun, providers.Key{Owner: "a", Name: "y"}), "record.json")
	for text, want := range map[string]providers.Kind{`{"schema": 99}`: providers.Unsupported, "{": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load[providers.MachineSpec](filepath.Dir(file)); err == nil || providers.KindOf(err) != want || !strings.Contains(err.Error(), file) {
			t.Errorf("load of %q = %v; want an error that names the file", text, err)
		}
	}
}

func TestProcess(t *testing.T) {
	me, err := identify(os.Getpid())
	if err != nil || !me.alive() {
		t.Fatalf("identify(myself) = %+v, %v, alive %v", me, err, me.alive())
	}
	for name, p := range map[string]process{
		"nobody":             {},
		"before":             {me.PID, me.Start + "0", me.Boot},
		"before the reboot":  {me.PID, me.Start, "other"},
		"a number too large": {1 << 30, me.Start, me.Boot},
	} {
		if p.alive() {
			t.Errorf("%s (%+v) is alive", name, p)
		}
		if err := p.signal(9); err != nil { // or this test would be its end
			t.Errorf("signal to %s: %v", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	p := New(Options{})
	for name, c := range map[string]struct {
		spoil func(*providers.MachineSpec)
		want  providers.Kind
		says  string
	}{
		"image":     {func(s *providers.MachineSpec) { s.Image = "debian" }, providers.Invalid, "no images"},
		"zone":      {func(s *providers.MachineSpec) { s.Zone = "a" }, providers.Invalid, "zone"},
		"user":      {func(s *providers.MachineSpec) { s.User = "admin" }, providers.Invalid, "root only"},
		"spot":      {func(s *providers.MachineSpec) { s.Spot = true }, providers.Unsupported, "spot"},
		"key":       {func(s *providers.MachineSpec) { s.AuthorizedKeys = []string{"nonsense"} }, providers.Invalid, "authorized_keys"},
		"two keys":  {func(s *providers.MachineSpec) { s.AuthorizedKeys = []string{"ssh-ed25519 AAAA\nx"} }, providers.Invalid, "authorized_keys"},
		"user data": {func(s *providers.MachineSpec) { s.UserData = []byte("#cloud-config\n") }, providers.Invalid, "#!"},
		"disk":      {func(s *providers.MachineSpec) { s.DiskGiB = -1 }, providers.Invalid, "disk"},
		"type":      {func(s *providers.MachineSpec) { s.Type = "x" }, providers.Invalid, "small"},
		"name":      {func(s *providers.MachineSpec) { s.Name = "../x" }, providers.Invalid, "label"},
	} {
		s := providers.MachineSpec{Owner: "demo", Name: "a", Type: "small"}
		c.spoil(&s)
		err := machines{p}.check(s)
		if providers.KindOf(err) != c.want || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v; want %s that says %q", name, err, c.want, c.says)
		}
	}
}
