package doctor_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/doctor"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/templates"
	gossh "golang.org/x/crypto/ssh"
)

// A machine is a scripted one: what its survey says, and how its scout answers.
type machine struct {
	*sshtest.Server
	host  doctor.Host
	facts map[string][]string
	scout map[string]func(args []string) ([]string, error) // by request; what is missing answers as a sound machine
	ahead time.Duration                                    // of its clock
	sudo  bool

	patience time.Duration // with which it is connected to
	left     func() bool   // says whether the scout's file is still there
}

// A fleet is machines that see each other, all of them sound: 10.88.0.1 and so on, the first three are control plane.
type fleet []*machine

func newFleet(t testing.TB, n int, latency time.Duration) fleet {
	t.Helper()
	keys := newKeys(t)
	var f fleet
	for i := range n {
		m := &machine{patience: 20 * time.Second, scout: map[string]func([]string) ([]string, error){}}
		addr := netip.AddrFrom4([4]byte{10, 88, byte((i + 1) >> 8), byte(i + 1)})
		m.host = doctor.Host{Name: fmt.Sprintf("demo-workers-%d", i), Role: templates.Worker, Address: addr, UID: "0123"}
		if i < 3 {
			m.host.Name, m.host.Role = fmt.Sprintf("demo-cp-%d", i), templates.ControlPlane
		}
		m.Server = sshtest.New(sshtest.Options{Latency: latency, Answer: m.answer})
		m.facts = soundFacts(m.host.Name, i, m.HostKey())
		m.host.Dial = func(ctx context.Context) (ssh.Host, error) {
			o := ssh.Options{Name: m.host.Name, Addr: addr.String(), Keys: keys, HostKeys: []string{m.HostKey()}, Through: m, Timeout: m.patience, Handshake: m.patience / 2}
			if m.sudo {
				o.User, o.Sudo = "admin", true
			}
			return ssh.Dial(ctx, o)
		}
		t.Cleanup(m.Close)
		f = append(f, m)
	}
	return f
}

func soundFacts(name string, i int, hostKey string) map[string][]string {
	f := map[string][]string{
		"uid": {"0"}, "arch": {"x86_64"}, "kernel": {"6.1.0-25-amd64"}, "hostname": {name}, "machine": {fmt.Sprintf("%032x", i)}, "boot": {fmt.Sprintf("boot-%d", i)},
		"zone": {"+0000"}, "os": {"debian"}, "cpus": {"4"}, "memory": {"4000000"}, "init": {"systemd"}, "cgroup": {"2"}, "controllers": {"cpuset cpu io memory pids"},
		"tool": {"mount", "umount", "nft", "sha256sum", "modprobe"}, "module": {"overlay", "br_netfilter", "vxlan", "veth", "bridge", "nf_conntrack", "nf_tables"},
		"exec": {"/run"}, "nameserver": {"10.0.0.53"}, "resolves": {"127.0.1.1 "}, "route": {"00000000 00000000 0100580A eth0", "0000580A 0000FFFF 00000000 eth0"},
		"timekeeper": {"chronyd"}, "hostkey": {strings.Join(strings.Fields(hostKey)[:2], " ")}, "end": {"1"},
	}
	for _, c := range strings.Fields("NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_PIDS MEMCG CGROUP_FREEZER CGROUP_SCHED CPUSETS FAIR_GROUP_SCHED CFS_BANDWIDTH INET SECCOMP SECCOMP_FILTER NFT_CT NFT_NAT NFT_MASQ NFT_NUMGEN") {
		f["config"] = append(f["config"], c+" y")
	}
	for _, p := range strings.Fields("/ /var/lib/containerd /var/lib/etcd /var/lib/kubelet /var/lib/provision /var/log /opt/provision /usr/local/bin /etc") {
		f["disk"] = append(f["disk"], p+" 20000000 5 rw / /dev/vda1 ext4 rw,relatime")
	}
	return f
}

func (m *machine) answer(e *sshtest.Exec) int {
	switch {
	case len(e.Args) > 3 && e.Args[3] == "provision-survey":
		fmt.Fprintf(e.Stdout, "time=%.9f\n", float64(time.Now().Add(m.ahead).UnixNano())/1e9)
		for _, k := range slices.Sorted(maps.Keys(m.facts)) {
			for _, v := range m.facts[k] {
				fmt.Fprintf(e.Stdout, "%s=%s\n", k, v)
			}
		}
		return 0
	case e.Args[0] == "exec":
		m.Remove(e.Args[1])
		m.left = func() bool { _, _, ok := m.File(e.Args[1]); return ok }
		return m.run(e.Stdin, e.Stdout)
	}
	return 127
}

// run is the scout.
func (m *machine) run(in io.Reader, out io.Writer) int {
	var mu sync.Mutex
	say := func(words ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, words...)
	}
	say("scout 1")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		w := strings.Fields(lines.Text())
		parts, err := m.reply(w[1], w[2:])
		if err != nil {
			say(w[0], "!", err)
			continue
		}
		for _, p := range parts[:len(parts)-1] {
			say(w[0], ".", p)
		}
		say(w[0], "=", parts[len(parts)-1])
	}
	return 0
}

// reply returns the parts of an answer, the last of which ends it.
func (m *machine) reply(verb string, args []string) ([]string, error) {
	if f := m.scout[verb]; f != nil {
		return f(args)
	}
	switch verb {
	case "links":
		a := m.host.Address.As4()
		return []string{fmt.Sprintf("eth0 1500 02:00:00:00:%02x:%02x %s/16", a[2], a[3], m.host.Address), ""}, nil
	case "listen":
		var parts []string
		for _, a := range args[2:] {
			parts = append(parts, a+" ok")
		}
		return append(parts, ""), nil
	case "clock":
		return []string{fmt.Sprint(time.Now().Add(m.ahead).UnixNano(), " kept")}, nil
	case "disk":
		return []string{"900 600 1500 3000"}, nil
	}
	return []string{""}, nil
}

func newKeys(t testing.TB) *ssh.Keys {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.NewKeys(ssh.KeyOptions{PEM: [][]byte{pem.EncodeToMemory(block)}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (f fleet) examine(t testing.TB) *doctor.Report {
	t.Helper()
	var hosts []doctor.Host
	for _, m := range f {
		hosts = append(hosts, m.host)
	}
	r, err := doctor.Examine(context.Background(), hosts, doctor.Options{Cluster: "demo", Arch: "amd64", Scout: ssh.FromBytes(make([]byte, 100<<10)), Connect: 20 * time.Second,
		Pods: netip.MustParsePrefix("10.244.0.0/16"), Services: netip.MustParsePrefix("10.96.0.0/16"), Machines: netip.MustParsePrefix("10.88.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(r *doctor.Report) string {
	var b strings.Builder
	r.WriteText(&b)
	return b.String()
}

func TestSound(t *testing.T) {
	f := newFleet(t, 5, 0)
	f[3].facts["init"], f[4].facts["init"] = []string{"openrc"}, []string{"runit"}
	r := f.examine(t)
	if len(r.Findings) > 0 || !strings.HasPrefix(text(r), "5 hosts: sound (") {
		t.Errorf("a sound fleet:\n%s", text(r))
	}
	for _, m := range f {
		if m.left == nil || m.left() {
			t.Errorf("%s still has the scout's file, or never had it", m.host.Name)
		}
	}
}

// TestFaults plants faults one at a time, on the fourth machine unless said otherwise.
func TestFaults(t *testing.T) {
	set := func(key string, values ...string) func(*machine) {
		return func(m *machine) { m.facts[key] = values }
	}
	without := func(key, value string) func(*machine) {
		return func(m *machine) {
			m.facts[key] = slices.DeleteFunc(slices.Clone(m.facts[key]), func(v string) bool { return strings.HasPrefix(v, value) })
		}
	}
	answer := func(verb string, parts ...string) func(*machine) {
		return func(m *machine) { m.scout[verb] = func([]string) ([]string, error) { return append(parts, ""), nil } }
	}
	for _, c := range []struct {
		name  string
		plant func(*machine)
		id    doctor.ID
		sev   doctor.Severity
		says  string
		run   string // in its command; "" if there is none
		at    int    // which machine; 3 if 0
	}{
		{"sudo asks", func(m *machine) { m.sudo = true; m.Fail(sshtest.Faults{Sudo: "sudo: a password is required"}) }, doctor.SudoPassword, doctor.Error, "password is required", "NOPASSWD", 0},
		{"key not known", func(m *machine) {
			m.host.Dial = func(context.Context) (ssh.Host, error) {
				return nil, fmt.Errorf("host %w", &ssh.HostKeyUnknown{Host: m.host.Name, Addr: "10.88.0.4:22", Shown: ssh.ShownKey{Line: "ssh-ed25519 AAAA", Fingerprint: "SHA256:abc"}})
			}
		}, doctor.HostKeyUnknown, doctor.Error, "10.88.0.4:22 shows SHA256:abc", "provision hosts keys", 0},
		{"not root", set("uid", "1000"), doctor.NotRoot, doctor.Error, "1000", "", 0},
		{"silent", func(m *machine) { m.patience = time.Second; m.Fail(sshtest.Faults{Silent: true}) }, doctor.Silent, doctor.Error, "says nothing", "ssh -v", 0},
		{"refused", func(m *machine) { m.patience = time.Second; m.Fail(sshtest.Faults{Refuse: -1}) }, doctor.Unreachable, doctor.Error, "refused", "ssh -v", 0},
		{"stopped", func(m *machine) {
			m.host.Dial = func(context.Context) (ssh.Host, error) { return nil, doctor.ErrStopped }
		}, doctor.Stopped, doctor.Error, "stopped", "provision apply", 0},
		{"other architecture", set("arch", "aarch64"), doctor.WrongArch, doctor.Error, "arm64", "make bundle ARCH=arm64", 0},
		{"old kernel", set("kernel", "4.18.0-553.el8"), doctor.OldKernel, doctor.Error, "4.18", "", 0},
		{"no vxlan", without("module", "vxlan"), doctor.KernelFeature, doctor.Error, "VXLAN", "modprobe vxlan", 0},
		{"no seccomp", without("config", "SECCOMP_FILTER"), doctor.KernelFeature, doctor.Error, "seccomp filters", "", 0},
		{"no memory cgroup", set("controllers", "cpuset cpu io pids"), doctor.NoCgroups, doctor.Error, "memory", "cgroup_enable=memory", 0},
		{"no cgroups", set("cgroup"), doctor.NoCgroups, doctor.Error, "No cgroups", "mount -t cgroup2", 0},
		{"old cgroups", set("cgroup", "1"), doctor.CgroupsV1, doctor.Note, "version 1", "", 0},
		{"no init", set("init"), doctor.NoInit, doctor.Error, "init system", "", 0},
		{"nft missing", func(m *machine) { without("tool", "nft")(m); set("os", "alpine")(m) }, doctor.ToolMissing, doctor.Error, "nft", "apk add nftables", 0},
		{"one processor", set("cpus", "1"), doctor.FewCPUs, doctor.Warning, "one processor", "", 1},
		{"little memory", set("memory", "1000000"), doctor.LowMemory, doctor.Warning, "976 MiB", "", 1},
		{"too little memory", set("memory", "300000"), doctor.LowMemory, doctor.Error, "292 MiB", "", 0},
		{"swap", set("swap", "/dev/sda2 1000"), doctor.SwapOn, doctor.Warning, "/dev/sda2", "swapoff -a", 0},
		{"forwarding fixed", set("sysctl", "net/ipv4/ip_forward ro 0"), doctor.KernelSetting, doctor.Error, "ip_forward", "sysctl -w net.ipv4.ip_forward=1", 0},
		{"selinux", set("selinux", "1"), doctor.SELinux, doctor.Note, "SELinux", "ausearch", 0},
		{"apparmor", set("apparmor", "Y"), doctor.AppArmor, doctor.Error, "apparmor_parser", "apt-get install -y apparmor", 0},
		{"disk slow", func(m *machine) {
			m.scout["disk"] = func([]string) ([]string, error) { return []string{"90 1000 31000 40000"}, nil }
		}, doctor.DiskSlow, doctor.Warning, "31ms", "iostat", 1},
		{"root read-only", answer("write", "/etc read-only file system", "/var/log read-only file system"), doctor.ReadOnly, doctor.Error, "/etc, /var/log: read-only", "remount,rw", 0},
		{"root full", answer("write", "/etc no space left on device"), doctor.DiskFull, doctor.Error, "/etc", "df -h /etc", 0},
		{"inodes", func(m *machine) { m.facts["disk"] = []string{"/ 20000000 99 rw / /dev/vda1 ext4 rw"} }, doctor.NoInodes, doctor.Error, "99 %", "du --inodes", 0},
		{"clock ten minutes off", func(m *machine) { m.ahead = -10 * time.Minute }, doctor.ClockWrong, doctor.Error, "10m0s behind", "chrony", 0},
		{"clock off a little", func(m *machine) { m.ahead = 2 * time.Second }, doctor.ClockSkew, doctor.Warning, "2s ahead", "chrony", 0},
		{"clock not kept", func(m *machine) {
			set("timekeeper")(m)
			m.scout["clock"] = func([]string) ([]string, error) { return []string{fmt.Sprint(time.Now().UnixNano(), " free")}, nil }
		}, doctor.ClockFree, doctor.Note, "nothing keeps it", "chrony", 0},
		{"name elsewhere", set("resolves", "192.0.2.7"), doctor.HostnameWrong, doctor.Warning, "192.0.2.7", "getent", 0},
		{"proxy", set("proxy", "https_proxy"), doctor.ProxySet, doctor.Note, "https_proxy", "", 0},
		{"same host key", func(m *machine) { m.facts["hostkey"] = append(m.facts["hostkey"], "ssh-rsa AAAA") }, doctor.SameHostKey, doctor.Warning, "demo-cp-0", "ssh-keygen -A", 0},
		{"same hardware address", answer("links", "eth0 1500 02:00:00:00:00:01 10.88.0.4/16"), doctor.SameMAC, doctor.Error, "demo-cp-0", "", 0},
		{"address of a gateway", answer("links", "eth0 1500 02:00:00:00:00:04 192.168.1.4/24"), doctor.AddressForeign, doctor.Error, "10.88.0.4", "ip -br address", 0},
		{"outside of the range", func(m *machine) {
			m.host.Address = netip.MustParseAddr("10.99.0.4")
			answer("links", "eth0 1500 02:00:00:00:00:04 10.99.0.4/16")(m)
		}, doctor.OutsideRange, doctor.Warning, "10.99.0.4", "", 0},
		{"name server in the services' range", set("nameserver", "10.96.0.10"), doctor.RangeConflict, doctor.Error, "name server 10.96.0.10", "", 0},
		{"firewalld", set("firewall", "firewalld"), doctor.FirewallActive, doctor.Warning, "firewalld", "systemctl disable --now firewalld", 0},
		{"iptables drop what is passed on", set("iptables", "-P FORWARD DROP"), doctor.FirewallDrops, doctor.Warning, "-P FORWARD DROP", "nft list ruleset", 0},
		{"nft drops what comes", set("nft", "table inet filter {", "chain input {", "type filter hook input priority filter; policy drop;"), doctor.FirewallDrops, doctor.Note, "table inet filter chain input has the policy drop", "nft list ruleset", 0},
		{"another answers", func(m *machine) {
			m.scout["reach"] = func(args []string) ([]string, error) { return []string{"10.88.0.3/tcp/6443 stranger", ""}, nil }
		}, doctor.PortStranger, doctor.Error, "10.88.0.3", "arping", -2},
		{"half wiped", set("left", "/opt/provision/abc", "/var/lib/etcd/member"), doctor.HalfWiped, doctor.Error, "/var/lib/etcd/member", "node-agent reset", 0},
		{"kubeadm was here", set("left", "/etc/kubernetes/manifests/etcd.yaml"), doctor.LeftOver, doctor.Error, "etcd.yaml", "kubeadm reset", 0},
		{"another cluster of that name", set("node", `{"cluster":"demo","uid":"9999","name":"demo-workers-0"}`), doctor.OtherCluster, doctor.Error, "another cluster, demo", "reset", 0},
		{"claimed by another cluster", set("claim", `{"owner":"other","name":"other-cp-0","network":"x"}`), doctor.OtherCluster, doctor.Error, "other-cp-0 by another cluster, other", "", 0},
		{"survey cut short", set("end"), doctor.SurveyFailed, doctor.Error, "cut short", "", 0},
		{"no folder for programs", set("exec"), doctor.NotExamined, doctor.Warning, "no folder", "", 0},
		{"scout refuses", func(m *machine) {
			m.scout["reach"] = func([]string) ([]string, error) { return nil, errors.New("too many open files") }
		}, doctor.NotExamined, doctor.Warning, "too many open files", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 5, 0)
			at, named := c.at, c.at
			switch {
			case c.at == 0:
				at, named = 3, 3
			case c.at < 0: // planted on the fourth, named is another
				at, named = 3, -c.at
			}
			if c.id == doctor.SameHostKey {
				f[0].facts["hostkey"] = append(f[0].facts["hostkey"], "ssh-rsa AAAA")
			}
			c.plant(f[at])
			r := f.examine(t)
			found := 0
			for _, got := range r.Findings {
				switch {
				case got.ID != c.id:
					t.Errorf("also found: %+v", got)
				case got.Host == f[named].host.Name:
					found++
					if got.Severity != c.sev || !strings.Contains(got.What, c.says) || got.Mend == "" || !strings.Contains(strings.Join(got.Run, "\n"), c.run) || c.run == "" && len(got.Run) > 0 && got.ID != doctor.KernelFeature {
						t.Errorf("got %+v", got)
					}
				}
			}
			if found != 1 {
				t.Errorf("found %d times:\n%s", found, text(r))
			}
			if sound := r.Hosts[named].Sound; sound != (c.sev == doctor.Note) {
				t.Errorf("sound: %v", sound)
			}
		})
	}
}

// TestBlocked blocks ports between machines, and sees who is blamed.
func TestBlocked(t *testing.T) {
	miss := func(m *machine, misses ...string) {
		m.scout["reach"] = func([]string) ([]string, error) { return append(misses, ""), nil }
	}
	for name, c := range map[string]struct {
		plant func(fleet)
		want  []string // host: words
	}{
		"one does not let in": {func(f fleet) {
			for _, i := range []int{0, 1, 3, 4} {
				miss(f[i], "10.88.0.3/tcp/6443 silent")
			}
		}, []string{"demo-cp-2: TCP 6443 (the API) is not reached from demo-cp-0, demo-cp-1, demo-workers-3, demo-workers-4: packets are dropped"}},
		"one does not let out": {func(f fleet) {
			miss(f[3], "10.88.0.1/tcp/6443 silent", "10.88.0.2/tcp/6443 silent", "10.88.0.3/tcp/6443 silent")
		},
			[]string{"demo-workers-3: The host does not reach TCP 6443 of any other host (demo-cp-0, demo-cp-1, demo-cp-2)"}},
		"one pair": {func(f fleet) { miss(f[3], "10.88.0.1/tcp/6443 unreachable") },
			[]string{"demo-cp-0: TCP 6443 (the API) is not reached from demo-workers-3: a firewall or router says"}},
		"answers are lost": {func(f fleet) {
			miss(f[3], "10.88.0.1/udp/8472 silent")
			f[0].scout["heard"] = func([]string) ([]string, error) { return []string{"10.88.0.4", ""}, nil }
		}, []string{"demo-cp-0: UDP 8472 (the pod network) is not reached from demo-workers-3: datagrams come, and the answers"}},
		"large packets to one": {func(f fleet) {
			for _, i := range []int{0, 1, 2, 4} {
				f[i].scout["mtu"] = func([]string) ([]string, error) { return []string{"10.88.0.4 1400", ""}, nil }
			}
		}, []string{"demo-workers-3: Packets of 1500 bytes sent by demo-cp-0, demo-cp-1, demo-cp-2, demo-workers-4 do not get here: at most 1400 do"}},
		"large packets of one": {func(f fleet) {
			f[3].scout["mtu"] = func([]string) ([]string, error) { return []string{"10.88.0.1 1450", "10.88.0.2 1400", ""}, nil }
		}, []string{"demo-workers-3: Packets of 1500 bytes sent here do not get to demo-cp-0, demo-cp-1: at most 1400 do"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 5, 0)
			c.plant(f)
			r := f.examine(t)
			if len(r.Findings) != len(c.want) {
				t.Errorf("got:\n%s", text(r))
			}
			for i, w := range c.want {
				if i < len(r.Findings) && !strings.HasPrefix(r.Findings[i].Host+": "+r.Findings[i].What, w) {
					t.Errorf("got %s: %s\nwant %s", r.Findings[i].Host, r.Findings[i].What, w)
				}
			}
		})
	}
}

// TestHere has all clocks agree that it is ours that is wrong.
func TestHere(t *testing.T) {
	f := newFleet(t, 4, 0)
	for _, m := range f {
		m.ahead = time.Hour
	}
	r := f.examine(t)
	if len(r.Findings) != 1 || r.Findings[0].ID != doctor.ClockHere || !strings.Contains(r.Findings[0].What, "1h0m0s behind") {
		t.Errorf("got:\n%s", text(r))
	}
}

func TestText(t *testing.T) {
	f := newFleet(t, 5, 0)
	for _, m := range f[3:] {
		m.facts["swap"] = []string{"/dev/sda2 1000"}
	}
	r := f.examine(t)
	r.Took = 0
	want, err := os.ReadFile("testdata/swap.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := text(r); got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	b, err := json.Marshal(r.Findings[0])
	if want := `{"id":"swap-on","severity":"warning","host":"demo-workers-3",`; err != nil || !strings.HasPrefix(string(b), want) {
		t.Errorf("JSON: %s, %v", b, err)
	}
}

func TestInterrupted(t *testing.T) {
	f := newFleet(t, 3, 0)
	ctx, cancel := context.WithCancel(context.Background())
	f[1].scout["disk"] = func([]string) ([]string, error) { cancel(); return []string{"1 1 1 1"}, nil }
	if _, err := doctor.Examine(ctx, []doctor.Host{f[0].host, f[1].host}, doctor.Options{Scout: ssh.FromBytes([]byte("x"))}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestDocumented compares the findings with docs/doctor.md, both ways.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []doctor.ID
	for l := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(l, "### "); ok {
			documented = append(documented, doctor.ID(strings.TrimSpace(id)))
		}
	}
	if known := doctor.IDs(); !slices.Equal(known, documented) {
		t.Errorf("docs/doctor.md has\n%v\nand the code\n%v", documented, known)
	}
	for _, id := range doctor.IDs() {
		if !strings.Contains(string(b), "**"+id.Title()+"**") {
			t.Errorf("docs/doctor.md lacks the title of %s, %q", id, id.Title())
		}
	}
}

// TestMany has a limit that a busy computer keeps as well.
func TestMany(t *testing.T) {
	r := newFleet(t, 30, 5*time.Millisecond).examine(t)
	if len(r.Findings) > 0 || r.Took > 20*time.Second {
		t.Errorf("took %v:\n%s", r.Took, text(r))
	}
}

// BenchmarkDoctor examines 100 scripted machines that are 20 ms away, there and back.
func BenchmarkDoctor(b *testing.B) {
	f := newFleet(b, 100, 10*time.Millisecond)
	for b.Loop() {
		if r := f.examine(b); len(r.Findings) > 0 {
			b.Fatal(text(r))
		}
	}
}
