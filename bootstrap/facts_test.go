package bootstrap

import (
	"context"
	"fmt"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

const someFacts = `time=1700000000.500000000
uid=0
arch=aarch64
kernel=6.1.0-25-arm64
hostname=demo-cp-0
memory=4000000
cgroup=2
controllers=cpuset cpu io memory pids
init=systemd
tool=mount
tool=nft
overlay=1
disk=/opt/provision 1000 /dev/vda1
disk=/var/lib/provision 2000 server:/a folder
listen=1949
listen=1BA
listener=6443 users:(("k3s-server",pid=12,fd=3))
listener=443 
agent=aa
bundle=1
bundle=2
current=2
enabled=1
stale=1
joined=1
file=bb /etc/kubernetes/a b
status={"schema":1,"ready":true,"processes":null}
--
{"schema": 1, "cluster": "demo", "uid": "0123", "address": "10.88.0.2", "pods": "", "services": "", "dns": ""}
`

func TestParseFacts(t *testing.T) {
	at := time.Unix(1700000000, 0)
	f, err := parseFacts([]byte(someFacts), at, at.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if f.Node == nil || f.Node.UID != "0123" || f.Status == nil || !f.Status.Ready {
		t.Errorf("node %+v, status %+v", f.Node, f.Status)
	}
	f.Node, f.Status = nil, nil
	want := &Facts{
		Root: true, Arch: "arm64", Kernel: "6.1.0-25-arm64", Hostname: "demo-cp-0", Memory: 4000000 << 10, Cgroup: 2,
		Controllers: []string{"cpuset", "cpu", "io", "memory", "pids"}, Init: "systemd", Tools: []string{"mount", "nft"}, Overlay: true,
		Disks:     map[string]Disk{"/opt/provision": {"/dev/vda1", 1000 << 10}, "/var/lib/provision": {"server:/a folder", 2000 << 10}},
		Listeners: map[int]string{6473: "", 442: "", 6443: "k3s-server", 443: ""},
		Agent:     "aa", Bundles: []string{"1", "2"}, Current: "2", Enabled: true, Stale: true, Joined: true,
		Files: map[string]string{"/etc/kubernetes/a b": "bb"},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
}

func TestParseFactsFails(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "cut short"},
		{"uid=0\narch=x86_64\n", "cut short"},
		{"sh: something is wrong\n--\n", `unexpected line "sh: something is wrong"`},
		{"memory=much\n--\n", "memory"},
		{"time=\n--\n", "time"},
		{"disk=/opt/provision ? x\n--\n", "disk"},
		{"status={\n--\n", "status"},
		{"uid=0\n--\n{", "/etc/provision/node.json of the machine"},
		{"uid=0\n--\n{\"schema\": 9}", "schema 9"},
	} {
		if _, err := parseFacts([]byte(c.in), time.Time{}, time.Time{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.in, err, c.want)
		}
	}
}

func TestSkew(t *testing.T) {
	sent := time.Unix(1000, 0)
	got := sent.Add(2 * time.Second)
	for in, want := range map[string]time.Duration{
		"1001.5": 0, "1000.0": 0, "1002.0": 0, "1003.5": 1500 * time.Millisecond, "900.0": -99 * time.Second, "900": -99 * time.Second,
		"900.%N": -99 * time.Second, "900.N": -99 * time.Second, "999": 0, "4600.000000000": 3598 * time.Second,
	} {
		if d, err := skew(in, sent, got); err != nil || d != want {
			t.Errorf("%s: got %v, %v; want %v", in, d, err, want)
		}
	}
}

func FuzzParseFacts(f *testing.F) {
	f.Add([]byte(someFacts))
	f.Add([]byte("time=nan\n--\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseFacts(b, time.Unix(0, 0), time.Unix(1, 0))
	})
}

// here runs commands on this computer.
type here struct{ ssh.Host }

func (here) Run(ctx context.Context, c ssh.Command) (ssh.Result, error) {
	out, err := exec.CommandContext(ctx, "sh", "-c", c.Line).Output()
	return ssh.Result{Stdout: out}, err
}

// TestFactsHere runs the script itself, which changes nothing, on the computer at hand.
func TestFactsHere(t *testing.T) {
	f, err := Gather(context.Background(), here{}, "/etc/hosts", "/no/such/file")
	if err != nil {
		t.Fatal(err)
	}
	if f.Arch != runtime.GOARCH || f.Kernel == "" || f.Hostname == "" || f.Memory < 64<<20 || f.Skew != 0 {
		t.Errorf("got %+v", f)
	}
	if len(f.Files) != 1 || len(f.Files["/etc/hosts"]) != 64 || f.Disks["/opt/provision"].Free == 0 || f.Disks["/var/lib/provision"].Device == "" {
		t.Errorf("files %v, disks %v", f.Files, f.Disks)
	}
}

func TestProblems(t *testing.T) {
	good := func() *Facts {
		return &Facts{
			Root: true, Arch: "amd64", Kernel: "6.1.0", Memory: 2 << 30, Cgroup: 1, Controllers: []string{"cpu", "memory", "pids"}, Init: "runit",
			Tools: needTools(), Overlay: true, Disks: map[string]Disk{"/opt/provision": {"a", 2 << 30}, "/var/lib/provision": {"b", 2 << 30}},
			Listeners: map[int]string{22: "sshd", 80: ""}, Files: map[string]string{},
		}
	}
	other := func(cluster string) func(*Facts) {
		return func(f *Facts) { f.Node = &templates.Node{Cluster: cluster, UID: "other", Name: "x"} }
	}
	for name, c := range map[string]struct {
		change func(*Facts)
		want   string // ID: what
	}{
		"none":              {func(*Facts) {}, ""},
		"not root":          {func(f *Facts) { *f = Facts{} }, "not-root: commands on the machine do not run as root"},
		"architecture":      {func(f *Facts) { f.Arch = "arm64" }, "wrong-architecture: the machine is arm64, the bundle is for amd64"},
		"kernel":            {func(f *Facts) { f.Kernel = "5.10.0-9" }, "old-kernel: the kernel is 5.10.0-9"},
		"kernel new enough": {func(f *Facts) { f.Kernel = "5.13" }, ""},
		"no cgroups":        {func(f *Facts) { f.Cgroup, f.Controllers = 0, nil }, "no-cgroups: the machine lacks cgroups cpu, memory, pids"},
		"a controller":      {func(f *Facts) { f.Controllers = []string{"cpu", "memory"} }, "no-cgroups: the machine lacks cgroups pids"},
		"init":              {func(f *Facts) { f.Init = "" }, "no-init-system: no init system was found"},
		"tools":             {func(f *Facts) { f.Tools = []string{"mount", "umount"} }, "missing-tool: the program nft is missing|missing-tool: the program sha256sum is missing"},
		"overlayfs":         {func(f *Facts) { f.Overlay = false }, "no-overlayfs: the kernel has no overlayfs"},
		"memory":            {func(f *Facts) { f.Memory = 512 << 20 }, "low-memory: the machine has 512 MiB of memory"},
		"clock":             {func(f *Facts) { f.Skew = -time.Hour }, "wrong-clock: the machine's clock is wrong by 1h0m0s"},
		"disk":              {func(f *Facts) { f.Disks["/var/lib/provision"] = Disk{"b", 1 << 30} }, "full-disk: the disk of /var/lib/provision has 1024 MiB left"},
		"disk of both": {func(f *Facts) {
			f.Disks["/opt/provision"] = f.Disks["/var/lib/provision"]
			f.Disks["/var/lib/provision"] = Disk{"b", 1200 << 20}
		}, "full-disk: the disk of /var/lib/provision has 1200 MiB left"},
		"disk, installed":      {func(f *Facts) { f.Disks["/opt/provision"], f.Bundles = Disk{"a", 0}, []string{"id"} }, ""},
		"port, known program":  {func(f *Facts) { f.Listeners[6443] = "k3s-server" }, "port-taken: k3s-server listens on port 6443"},
		"port, someone":        {func(f *Facts) { f.Listeners[10250] = "" }, "port-taken: another program listens on port 10250"},
		"ports of our node":    {func(f *Facts) { f.Listeners[6443], f.Node = "kube", &templates.Node{UID: "0123"} }, ""},
		"other cluster":        {other("prod"), "other-cluster: the machine is node x of another cluster, prod"},
		"other, of that name":  {other("demo"), "other-cluster: the machine is node x of another cluster of the same name, demo"},
		"several, all at once": {func(f *Facts) { f.Init, f.Overlay = "", false }, "no-init-system: no init system was found|no-overlayfs: the kernel has no overlayfs"},
	} {
		t.Run(name, func(t *testing.T) {
			tg := &Target{
				Node: templates.Node{Cluster: "demo", UID: "0123", Role: templates.ControlPlane},
				Programs: &Programs{Bundle: ssh.FromBytes(make([]byte, 1<<20)), Manifest: &bundle.Manifest{ID: "id", Arch: "amd64",
					Files: []bundle.File{{Size: 200 << 20}}}},
			}
			f := good()
			c.change(f)
			var got []string
			for _, p := range problems(tg, f) {
				got = append(got, fmt.Sprintf("%s: %s", p.ID, p.What))
				if p.Mend == "" || strings.HasSuffix(p.Mend, ".") || strings.HasSuffix(p.What, ".") {
					t.Errorf("problem without a mend, or with a full stop: %+v", p)
				}
			}
			if s := strings.Join(got, "|"); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

// TestToolsForVolumes asks for the programs of file systems only where volumes are mounted.
func TestToolsForVolumes(t *testing.T) {
	f := &Facts{Root: true, Arch: "amd64", Kernel: "6.1.0", Memory: 2 << 30, Cgroup: 1, Controllers: []string{"cpu", "memory", "pids"}, Init: "runit", Tools: needTools(), Overlay: true}
	for _, c := range []struct {
		cloud *templates.NodeCloud
		tools []string
		want  int
	}{
		{nil, nil, 0},
		{&templates.NodeCloud{Vendor: "metal"}, nil, 0},
		{&templates.NodeCloud{Vendor: "aws", Volumes: true}, nil, len(volumeTools())},
		{&templates.NodeCloud{Vendor: "aws", Volumes: true}, volumeTools()[1:], 1},
		{&templates.NodeCloud{Vendor: "aws", Volumes: true}, volumeTools(), 0},
	} {
		g := *f
		g.Tools = append(needTools(), c.tools...)
		ps := machineProblems(&Target{Node: templates.Node{Role: templates.Worker, Cloud: c.cloud}}, &g)
		if len(ps) != c.want {
			t.Errorf("cloud %+v, tools %v: got %v, want %d problems", c.cloud, c.tools, ps, c.want)
		}
		if c.want == 1 && len(ps) == 1 && !strings.Contains(ps[0].What, volumeTools()[0]) {
			t.Errorf("the problem is %v", ps[0])
		}
	}
}

// TestTheScriptLooksForAllTools compares the script with what is asked for.
func TestTheScriptLooksForAllTools(t *testing.T) {
	for _, tool := range append(needTools(), volumeTools()...) {
		if !strings.Contains(factsScript, " "+tool) {
			t.Errorf("facts.sh does not look for %s", tool)
		}
	}
}
