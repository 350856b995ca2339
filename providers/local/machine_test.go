//go:build linux

package local

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// TestMachine looks at one machine from all sides.
func TestMachine(t *testing.T) {
	w := newWorld(t)
	spec := w.spec("demo", "demo-cp-0")
	spec.UserData = []byte("#!/bin/sh\necho run >> /root/user-data-ran\n")
	spec.Pool, spec.Tags = "control-plane", map[string]string{"a": "b"}
	began := time.Now()
	m := w.create(spec)
	t.Logf("created in %s", time.Since(began).Round(time.Millisecond))
	if m.State != providers.Running || m.Partial || m.NodeID != "local:///demo/demo-cp-0" || m.User != "root" || m.Pool != "control-plane" {
		t.Fatalf("Create returned %+v", m)
	}
	if m.SSH.Addr() != m.Private || m.SSH.Port() != 22 {
		t.Errorf("SSH at %s, want port 22 of %s", m.SSH, m.Private)
	}
	for _, c := range []struct {
		name string
		try  func(*testing.T, *world, providers.Machine)
	}{
		{"identity", tryIdentity},
		{"login", tryLogin},
		{"fresh", tryFresh},
		{"disks", tryDisks},
		{"kernel", tryKernel},
		{"reaping", tryReaping},
		{"services", tryServices},
		{"logs", tryLogs},
		{"limits", tryLimits},
		{"user data", tryUserData},
		{"reboot", tryReboot},
		{"reboot at once", tryRebootForce},
		{"poweroff", tryPoweroff},
		{"killed", tryKilled},
		{"supervisor killed", trySupervisorKilled},
		{"user data once", tryUserData},
	} {
		if !t.Run(c.name, func(t *testing.T) { c.try(t, &world{w.Provider, t, w.key}, m) }) && w.get(m).State != providers.Running {
			t.Fatalf("the machine is gone\n%s", w.words(spec.Key()))
		}
	}
}

func tryIdentity(t *testing.T, w *world, m providers.Machine) {
	host, _ := os.ReadFile("/etc/machine-id")
	for command, want := range map[string]string{
		"hostname":          m.Name,
		"cat /etc/hostname": m.Name,
		"grep -c '^" + m.Private.String() + "[[:space:]]*" + m.Name + "$' /etc/hosts": "1",
		"tr '\\0' ' ' < /proc/1/cmdline":                                              "machine-init demo/demo-cp-0",
		"test -s /etc/resolv.conf; echo $?":                                           "0",
	} {
		if got := w.run(m, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if id := w.run(m, "cat /etc/machine-id"); len(id) != 32 || id == strings.TrimSpace(string(host)) {
		t.Errorf("machine-id %q, want one of its own (the host's is %q)", id, host)
	}
}

func tryLogin(t *testing.T, w *world, m providers.Machine) {
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ssh.NewSignerFromKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, auth := range map[string]ssh.AuthMethod{
		"another key": ssh.PublicKeys(stranger),
		"a password":  ssh.Password("root"),
	} {
		c, err := ssh.Dial("tcp", m.SSH.String(), &ssh.ClientConfig{
			User: "root", Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 5 * time.Second,
		})
		if err == nil {
			c.Close()
			t.Errorf("%s lets in", name)
		} else if !strings.Contains(err.Error(), "unable to authenticate") {
			t.Errorf("%s: %v, want to be refused", name, err)
		}
	}
	wrong := m
	wrong.HostKeys = []string{publicLine(stranger.PublicKey())}
	if _, err := w.try(wrong, "true"); err == nil || !strings.Contains(err.Error(), "host key mismatch") {
		t.Errorf("with another host key expected: %v, want a mismatch", err)
	}
	if got := w.run(m, "cut -d: -f2 /etc/shadow | sort -u"); got != "*" {
		t.Errorf("passwords in /etc/shadow: %q", got)
	}
	if got := w.run(m, "ls /etc/ssh"); got != "ssh_host_ed25519_key\nssh_host_ed25519_key.pub\nsshd_config" {
		t.Errorf("/etc/ssh has %q", got)
	}
}

func tryFresh(t *testing.T, w *world, m providers.Machine) {
	for path := range freshFolders() {
		got := w.run(m, "ls -A "+path)
		switch path {
		case "/etc/ssh", "/run":
		case "/root":
			if got != ".ssh" && got != ".ssh\nuser-data-ran" {
				t.Errorf("%s has %q", path, got)
			}
		default:
			if got != "" {
				t.Errorf("%s has %q, want nothing of the host's", path, got)
			}
		}
	}
	for path := range diskFolders() {
		if got := w.run(m, "ls -A "+path); got != "" && path != "/var/log" {
			t.Errorf("%s has %q, want nothing of the host's", path, got)
		}
	}
	for _, line := range strings.Split(w.run(m, "cut -d' ' -f5 /proc/self/mountinfo"), "\n") {
		if strings.Contains(line, w.folder+"/") {
			t.Errorf("the host's mount %s is visible", line)
		}
	}
	if got := w.run(m, "ls -A "+w.folder+" 2>/dev/null || true"); got != "" {
		t.Errorf("the folder of all machines shows %q", got)
	}
}

func tryDisks(t *testing.T, w *world, m providers.Machine) {
	for path := range diskFolders() {
		if got := w.run(m, "stat -f -c %T "+path); got == "overlayfs" {
			t.Errorf("%s is on %s, want a real disk", path, got)
		}
	}
	w.run(m, `cd /var/lib/containerd && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m && touch m/x && test -e u/x && umount m && rm -r l u w m`)
	w.run(m, "echo kept > /var/lib/etcd/file; echo kept > /root/file; echo gone > /tmp/file; echo gone > /run/file")
	if got := w.run(m, "findmnt -no PROPAGATION / || grep -c shared: /proc/self/mountinfo"); got != "shared" && got == "0" {
		t.Errorf("/ is %q, want shared", got)
	}
}

func tryKernel(t *testing.T, w *world, m providers.Machine) {
	before, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	if err != nil {
		t.Fatal(err)
	}
	other := "1"
	if strings.TrimSpace(string(before)) == "1" {
		other = "0"
	}
	if got := w.run(m, "echo "+other+" > /proc/sys/vm/overcommit_memory && cat /proc/sys/vm/overcommit_memory"); got != other {
		t.Errorf("a kubelet's setting reads %q after %q was written", got, other)
	}
	if after, _ := os.ReadFile("/proc/sys/vm/overcommit_memory"); string(after) != string(before) {
		t.Errorf("the host's vm.overcommit_memory was %q and is %q", before, after)
	}
	if out, err := w.try(m, "echo 1 > /proc/sys/kernel/sysrq"); err == nil {
		t.Errorf("the host's kernel.sysrq could be set: %s", out)
	}
	for _, d := range []string{"null", "tty", "kmsg", "fuse", "loop-control", "net/tun"} {
		if exists("/dev/"+d) && w.run(m, "test -c /dev/"+d+" && echo ok || true") != "ok" {
			t.Errorf("there is no /dev/%s", d)
		}
	}
	for command, want := range map[string]string{
		"cat /proc/sys/net/ipv4/ip_forward":                             "1",
		"echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_announce && echo ok": "ok",
		"echo x > /dev/null && head -c 1 /dev/zero | wc -c":             "1",
		"test -d /sys/class/net/eth0 && ls /sys/class/net | wc -l":      "2",
		`cd /sys/fs/cgroup; f=memory.max; [ ! -d memory ] || { cd memory; f=memory.limit_in_bytes; }; mkdir -p kubepods/pod1 && echo 104857600 > kubepods/$f && cat kubepods/$f`: "104857600",
		"ip link add v0 type vxlan id 1 dstport 8472 dev eth0 && ip link del v0 && echo ok":                                                                                      "ok",
		"ip link add br0 type bridge && ip link del br0 && nft add table ip x && nft delete table ip x && echo ok":                                                               "ok",
		"unshare --mount --pid --fork --net echo ok": "ok",
	} {
		if got := w.run(m, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

func tryReaping(t *testing.T, w *world, m providers.Machine) {
	w.run(m, "for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'sleep 0.05 & sleep 0.02 &' &) ; done")
	w.within(5*time.Second, "no dead process is left", func() bool {
		return w.run(m, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true") == "0"
	})
}

// service writes a service's run file in one step.
func (w *world) service(m providers.Machine, name, script string) {
	w.t.Helper()
	w.run(m, fmt.Sprintf("mkdir -p /etc/service/%[1]s && printf '#!/bin/sh\\n%[2]s\\n' > /etc/service/.%[1]s && chmod 755 /etc/service/.%[1]s && mv /etc/service/.%[1]s /etc/service/%[1]s/run", name, script))
}

func tryServices(t *testing.T, w *world, m providers.Machine) {
	w.service(m, "web", `echo started at $(date +%%s%%N)\nexec sleep 1000`)
	pid := ""
	w.within(time.Second, "the service is started", func() bool {
		pid, _ = w.try(m, "pgrep -x sleep")
		return pid != ""
	})
	took := w.run(m, `a=$(stat -c %.Z /etc/service/web/run | tr -d .); b=$(grep -o '[0-9]*$' /var/log/init/web.log | head -1); echo $(( (b - a) / 1000000 ))`)
	if ms, err := strconv.Atoi(took); err != nil || ms > 1000 {
		t.Errorf("the service was started %s ms after it was there, want about 100 at most", took)
	}
	w.run(m, "kill -9 "+pid)
	w.within(2*time.Second, "the service is started again", func() bool {
		again, _ := w.try(m, "pgrep -x sleep")
		return again != "" && again != pid
	})
	w.run(m, "rm -r /etc/service/web")
	w.within(2*time.Second, "the service is stopped", func() bool {
		left, _ := w.try(m, "pgrep -x sleep")
		return left == ""
	})
	listens := w.run(m, "pgrep -o -x sshd")
	w.run(m, "pkill -o -x sshd")
	w.within(5*time.Second, "sshd is started again", func() bool { // the one that was killed may still answer for a moment
		again, err := w.try(m, "pgrep -o -x sshd")
		return err == nil && again != listens
	})
}

func tryLogs(t *testing.T, w *world, m providers.Machine) {
	w.service(m, "chatty", `head -c 5000000 /dev/zero | tr "\\\\0" x | fold -w 99\nexec sleep 1001`)
	w.within(10*time.Second, "it has said all", func() bool {
		_, err := w.try(m, "pgrep -fx 'sleep 1001'")
		return err == nil
	})
	w.run(m, "sleep 0.2; rm -r /etc/service/chatty")
	if kib, err := strconv.Atoi(w.run(m, "du -ck --apparent-size /var/log/init/chatty.log* | tail -1 | cut -f1")); err != nil || kib > 2<<10+8 || kib < 1<<10 {
		t.Errorf("5 MB of words are kept in %d KiB (%v), want from 1 to 2 MiB", kib, err)
	}
}

func tryLimits(t *testing.T, w *world, m providers.Machine) {
	if got := w.run(m, "awk '/MemTotal/{print $2}' /proc/meminfo"); got != "1048576" {
		t.Errorf("MemTotal is %s kB, want that of the type", got)
	}
	if out, err := w.try(m, "head -c 1200m /dev/zero | tail | wc -c"); err == nil && out != "0" {
		t.Errorf("1200 MiB could be had in a machine of 1024: %q", out)
	}
	if w.get(m).State != providers.Running {
		t.Fatal("the machine did not survive a process that wanted too much memory")
	}
	if cpus, _ := hardware(); cpus < 2 {
		t.Skip("NOT TESTED: this host has one processor, so there is nothing to limit")
	}
	g, err := w.group(providers.Key{Owner: m.Owner, Name: m.Name})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range g.trees {
		file, want := "", ""
		switch {
		case h.V2 && onlyV2(g.trees):
			file, want = "cpu.max", "100000 100000"
		case h.has("cpu"):
			file, want = "cpu.cfs_quota_us", "100000"
		default:
			continue
		}
		b, err := os.ReadFile(filepath.Join(g.dir(h), file))
		if err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s is %q, %v; want %q", file, b, err, want)
		}
	}
}

func tryUserData(t *testing.T, w *world, m providers.Machine) {
	w.within(2*time.Second, "user data has run", func() bool {
		_, err := w.try(m, "test -e /root/user-data-ran")
		return err == nil
	})
	if got := w.run(m, "cat /root/user-data-ran"); got != "run" {
		t.Errorf("user data ran as %q, want once", got)
	}
}

// comesBack waits until the machine has booted once more and answers as the one it was.
func (w *world) comesBack(m providers.Machine, boots int) {
	w.t.Helper()
	w.within(20*time.Second, "it has booted again", func() bool {
		s := w.state(m)
		return s.Boots > boots && s.Phase == running
	})
	w.within(5*time.Second, "it answers", func() bool { _, err := w.try(m, "true"); return err == nil })
	if now := w.get(m); now.Private != m.Private || now.HostKeys[0] != m.HostKeys[0] || now.State != providers.Running || now.Partial {
		w.t.Errorf("it came back as %+v, want as %+v", now, m)
	}
	if got := w.run(m, "cat /root/file /var/lib/etcd/file; cat /tmp/file /run/file 2>/dev/null || true"); got != "kept\nkept" {
		w.t.Errorf("its files are %q, want those on disk kept and /tmp and /run emptied", got)
	}
}

func tryReboot(t *testing.T, w *world, m providers.Machine) {
	w.service(m, "again", `exec sleep 1002`)
	boots := w.state(m).Boots
	w.try(m, "reboot") // the connection may be cut before it answers
	w.comesBack(m, boots)
	w.within(2*time.Second, "its services run again", func() bool {
		_, err := w.try(m, "pgrep -fx 'sleep 1002'")
		return err == nil
	})
	w.run(m, "rm -r /etc/service/again")
}

func tryRebootForce(t *testing.T, w *world, m providers.Machine) {
	boots := w.state(m).Boots
	w.try(m, "/sbin/reboot -f")
	w.comesBack(m, boots)
}

// isOff waits until the machine is listed as one that Create starts again, and does that.
func (w *world) isOff(m providers.Machine) {
	w.t.Helper()
	w.within(10*time.Second, "it is off", func() bool { return w.get(m).State == providers.Stopped })
	all, err := w.Machines().List(w.t.Context(), m.Owner)
	if err != nil || len(all) != 1 || all[0].State != providers.Stopped || !all[0].Partial {
		w.t.Fatalf("List = %+v, %v; want one that is stopped and Partial", all, err)
	}
	if err := dialTCP(m.SSH.String()); err == nil {
		w.t.Error("a stopped machine answers by SSH")
	}
	w.within(5*time.Second, "no process is left", func() bool { return len(w.processes()) == 0 })
	again := w.create(w.spec(m.Owner, m.Name))
	if again.ID != m.ID || again.Private != m.Private {
		w.t.Errorf("Create of a stopped machine returned %+v, want %+v", again, m)
	}
	w.comesBack(m, 0)
}

func tryPoweroff(t *testing.T, w *world, m providers.Machine) {
	w.try(m, "poweroff")
	w.isOff(m)
}

func tryKilled(t *testing.T, w *world, m providers.Machine) {
	if err := unix.Kill(w.state(m).Init.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.isOff(m)
}

func trySupervisorKilled(t *testing.T, w *world, m providers.Machine) {
	if err := unix.Kill(w.state(m).Supervisor.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.isOff(m)
}

// TestClusters has two clusters side by side, with machines of the same names.
func TestClusters(t *testing.T) {
	w := newWorld(t)
	var ms []providers.Machine
	for _, o := range []providers.Owner{"demo", "other"} {
		for _, name := range []string{"a", "b"} {
			ms = append(ms, w.create(w.spec(o, name)))
		}
	}
	seen := map[string]bool{}
	for _, m := range ms {
		if seen[m.Private.String()] || seen[m.HostKeys[0]] || seen[string(m.ID)] || seen[m.NodeID] {
			t.Errorf("%+v shares something with another machine", m)
		}
		seen[m.Private.String()], seen[m.HostKeys[0]], seen[string(m.ID)], seen[m.NodeID] = true, true, true, true
	}
	connect := "timeout 2 bash -c 'exec 3<>/dev/tcp/%s/22 && head -c 4 <&3'"
	if got := w.run(ms[0], fmt.Sprintf(connect, ms[1].Private)); got != "SSH-" {
		t.Errorf("machines of one network: %q, want an answer", got)
	}
	if got := w.run(ms[1], "grep -c 'by "+ms[0].Private.String()+" port' /var/log/init/sshd.log || true"); got == "0" {
		t.Errorf("the neighbour was not seen by its own address:\n%s", w.run(ms[1], "cat /var/log/init/sshd.log"))
	}
	if got, err := w.try(ms[0], fmt.Sprintf(connect, ms[2].Private)); err == nil {
		t.Errorf("machines of two clusters reach each other: %q", got)
	}
	if err := w.Machines().Delete(t.Context(), ms[0].ID); err != nil {
		t.Fatal(err)
	}
	for _, m := range ms[1:] {
		w.run(m, "true")
	}
	if m := w.create(w.spec("demo", "a")); m.Private == ms[0].Private || m.ID == ms[0].ID || m.HostKeys[0] == ms[0].HostKeys[0] {
		t.Errorf("made anew it is %+v; it was %+v: want another ID, address and host key", m, ms[0])
	}
}

// TestLeavesNothing compares what there is before, with and after a machine.
func TestLeavesNothing(t *testing.T) {
	w := newWorld(t) // nothing is there
	m := w.create(w.spec("demo", "a"))
	w.run(m, "mkdir -p /sys/fs/cgroup/kubepods/x /sys/fs/cgroup/*/kubepods/x; (setsid sleep 5000 >/dev/null 2>&1 &); mount -t tmpfs x /mnt")
	init := w.state(m).Init.PID
	spaces := map[string]bool{}
	for _, ns := range []string{"mnt", "pid", "net", "uts", "ipc", "cgroup"} {
		s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", init, ns))
		if err != nil {
			t.Fatal(err)
		}
		spaces[s] = true
	}
	with := strings.Join(w.traces(), "\n")
	for _, want := range []string{"folder", "raised settings", "process", "mount", "control group", "link", "rules"} {
		if !strings.Contains(with, want+" ") && !strings.Contains(with, want+"\n") {
			t.Errorf("with a machine there is no %s; the test would not see one that is left:\n%s", want, with)
		}
	}
	s := w.state(m)
	before := map[string]string{} // when each process began: a namespace of a later one may have the number of one that is gone
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		before[d], _ = startOf(pid)
	}
	w.Provider.reap = New(Options{}).reap
	w.clean() // which looks again
	for name, p := range map[string]process{"supervisor": s.Supervisor, "process 1": s.Init} {
		if start, err := startOf(p.PID); err == nil && start == p.Start {
			t.Errorf("the %s, %d, is still there, dead or alive", name, p.PID)
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, l := range links {
		dir := filepath.Dir(filepath.Dir(l))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		start, err := startOf(pid)
		if s, _ := os.Readlink(l); spaces[s] && err == nil && start == before[dir] {
			t.Errorf("%s is still in the machine's %s", l, s)
		}
	}
}

// TestManyAtOnce makes three machines side by side, and one of them from four callers.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.network("demo")
	began := time.Now()
	errs := make(chan error)
	names := []string{"a", "b", "c", "c", "c", "c"}
	for _, name := range names {
		go func() {
			_, err := New(Options{Folder: w.folder}).Machines().Create(context.Background(), w.spec("demo", name))
			errs <- err
		}()
	}
	made := 0
	for range names {
		switch err := <-errs; {
		case err == nil:
			made++
		case providers.KindOf(err) != providers.Exists:
			t.Error(err)
		}
	}
	t.Logf("3 machines in %s", time.Since(began).Round(time.Millisecond))
	if made != 3 {
		t.Errorf("%d calls made a machine, want 3", made)
	}
}
