package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/providers/metal/metaltest"
)

// A scriptedHost is one of an inventory that says of itself what a test wants.
type scriptedHost struct {
	*sshtest.Server
	name, port, key string   // the key is what the inventory knows
	look            []string // what it says to the provider, beside what every host says
	survey          []string // and to doctor
	clock           time.Duration
}

// scriptedHosts are sound ones, until somebody spoils them.
func scriptedHosts(t *testing.T, n int) []*scriptedHost {
	t.Helper()
	var all []*scriptedHost
	for i := range n {
		h := &scriptedHost{name: fmt.Sprintf("host-%d", i)}
		h.Server = sshtest.New(sshtest.Options{Answer: h.answer})
		t.Cleanup(h.Close)
		addr, err := h.Listen()
		if err != nil {
			t.Fatal(err)
		}
		_, h.port, _ = net.SplitHostPort(addr)
		h.key = h.HostKey()
		h.look = []string{"machine=" + fmt.Sprintf("%032x", i), "key=" + h.key}
		all = append(all, h)
	}
	return all
}

// sound is what a sound host says to doctor of all else.
const sound = `arch=x86_64
kernel=6.1.0
cpus=4
memory=8000000
init=systemd
cgroup=2
controllers=cpuset cpu io memory pids
tool=mount
tool=umount
tool=nft
tool=sha256sum
module=overlay
module=br_netfilter
module=vxlan
module=veth
module=bridge
module=nf_conntrack
module=nf_tables
nameserver=10.0.0.53
end=1`

func (h *scriptedHost) answer(e *sshtest.Exec) int {
	say := func(lines ...string) { fmt.Fprintln(e.Stdout, strings.Join(lines, "\n")) }
	switch {
	case len(e.Args) > 3 && e.Args[3] == "metal-look":
		say(append([]string{"uid=0", "uname=" + h.name + " x86_64", "cpus=4", "memory=8000000", "disk=90000000 80000000"}, h.look...)...)
	case len(e.Args) > 3 && e.Args[3] == "provision-survey":
		say(fmt.Sprintf("time=%.9f", float64(time.Now().Add(h.clock).UnixNano())/1e9), "uid=0", "hostname="+h.name, "machine="+h.name, "hostkey="+h.key)
		say(h.survey...)
		if len(h.survey) == 0 || !strings.HasPrefix(h.survey[0], "disk=") {
			say("disk=/ 20000000 5 rw / /dev/vda1 ext4 rw")
		}
		say(sound)
	case strings.Contains(e.Line, "SSH_CONNECTION"):
		say("127.0.0.1 40000 127.0.0.1 " + h.port)
	default:
		return 127
	}
	return 0
}

// metalFile writes a file with an inventory of the hosts and returns its path.
func metalFile(t *testing.T, hosts []*scriptedHost) string {
	t.Helper()
	dir := t.TempDir()
	private, _ := metaltest.NewKey(t)
	var b strings.Builder
	fmt.Fprintf(&b, "provider \"metal\" {\n  agent = false\n  timeout = \"500ms\"\n  user = \"ops\"\n  key = %q\n", filepath.Join(dir, "key"))
	for i, h := range hosts {
		fmt.Fprintf(&b, "  host %q {\n    address = \"127.0.0.1\"\n    port = %s\n    private = \"10.9.0.%d\"\n", h.name, h.port, i+1)
		if h.key != "" {
			fmt.Fprintf(&b, "    host_key = %q\n", h.key)
		}
		b.WriteString("  }\n")
	}
	fmt.Fprintf(&b, "}\ncluster \"demo\" {\n  kubernetes = \"1.37.2\"\n  control_plane {\n    machine = \"metal\"\n  }\n  pool \"workers\" {\n    count = %d\n    machine = \"metal\"\n  }\n}\n", len(hosts)-1)
	for name, text := range map[string][]byte{"cluster.hcl": []byte(b.String()), "key": private} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cluster.hcl")
}

// provision runs the command in this process, with a state of its own, and returns all that it wrote.
func provision(t *testing.T, args ...string) (words string, code int) {
	t.Helper()
	dir := t.TempDir()
	environ := append(os.Environ(), "XDG_STATE_HOME="+dir, "XDG_CONFIG_HOME="+dir, "NO_COLOR=1", "COLUMNS=1000")
	var out bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &out, stop: make(chan struct{}), environ: environ, start: time.Now()}
	code = a.run(context.Background(), args)
	return strings.Join(strings.Fields(out.String()), " "), code
}

// TestMetalBadHosts has hosts of an inventory that something is wrong with before the first apply: who asks for the cluster's
// machines is told what would make that a guess; doctor names the host and what to do, for each, and nothing else is said.
func TestMetalBadHosts(t *testing.T) {
	other := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5GZChVZRKcixajgjh5m39ybS/n9lPpqoCXczjcGtU0"
	for name, tt := range map[string]struct {
		spoil  func(*scriptedHost)
		status string // what it says, parts of it between dots; empty: no cluster yet
		doctor string
		mend   string
	}{
		"wrong host key": {func(h *scriptedHost) { h.key = other }, "Error: SSH host key changed … host-1: 127.0.0.1:PORT shows host key SHA256: … write it into the inventory: host_key = \"ssh-ed25519 AAAA", "shows host key SHA256:", "correct the key that is known"},
		"key not known":  {func(h *scriptedHost) { h.key = "" }, "Error: SSH host key unknown … host-1: its host key is not known; it shows SHA256: … add to its block: host_key = … provision hosts keys", "Nobody has told which host key host-1 has", "provision hosts keys"},
		"sudo asks":      {func(h *scriptedHost) { h.Fail(sshtest.Faults{Sudo: "sudo: a password is required"}) }, "Error: Sudo asks for a password … host-1: user ops cannot become root by sudo … without a password, or log in as root", "User ops cannot become root by sudo", "NOPASSWD"},
		"gone":           {func(h *scriptedHost) { h.Close() }, "Error: SSH not reachable … host-1: no connection to 127.0.0.1:PORT … gone = true … provision doctor", "No connection to 127.0.0.1:PORT", "See that the machine is on"},
		"another's node": {func(h *scriptedHost) {
			h.survey = []string{`node={"cluster":"green","uid":"9","name":"green-cp-0"}`}
		}, "", "is node green-cp-0 of another cluster, green", "node-agent reset"},
		"kubeadm's node": {func(h *scriptedHost) {
			h.survey = []string{"left=/etc/kubernetes/manifests/etcd.yaml"}
		}, "", "A cluster was here", "kubeadm reset"},
		"half wiped": {func(h *scriptedHost) {
			h.survey = []string{"left=/opt/provision/x", "left=/var/lib/etcd/member"}
		}, "", "taken away only in part", "node-agent reset"},
		"claimed by another": {func(h *scriptedHost) {
			c := `claim={"id":"green.green-a.0123456789ab","owner":"green","name":"green-a","network":"n","complete":true}`
			h.look, h.survey = append(h.look, c), []string{c}
		}, "", "claimed as green-a by another cluster, green", "destroy it"},
		"clock 10 min off": {func(h *scriptedHost) {
			h.clock = -10 * time.Minute
		}, "", "behind: certificates are not valid there", "chrony"},
		"read-only root": {func(h *scriptedHost) {
			h.survey = []string{"disk=/etc 20000000 5 ro / /dev/vda1 ext4 ro,relatime"}
		}, "", "Nothing can be written to /etc: read-only file system", "remount,rw"},
		"full root": {func(h *scriptedHost) {
			h.survey = []string{"disk=/opt/provision 1000 5 rw / /dev/vda1 ext4 rw,relatime"}
		}, "", "The disk of / has 0 MiB left", "Make room"},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := scriptedHosts(t, 2)
			tt.spoil(hosts[1])
			file := metalFile(t, hosts)
			port := func(s string) string { return strings.ReplaceAll(s, "PORT", hosts[1].port) }
			if tt.status == "" {
				tt.status = "no machine of a cluster"
			}
			words, code := provision(t, "status", file)
			for part := range strings.SplitSeq(port(tt.status), " … ") {
				if code != 1 || !strings.Contains(words, part) {
					t.Errorf("status ends with %d, want %q:\n%s", code, part, words)
				}
			}
			words, code = provision(t, "doctor", file)
			if code != 1 || !strings.Contains(words, port(tt.doctor)) || !strings.Contains(words, tt.mend) || !strings.Contains(words, "host-1") || strings.Count(words, "Error:") != 1 {
				t.Errorf("doctor ends with %d, want %q and %q:\n%s", code, tt.doctor, tt.mend, words)
			}
		})
	}
}

// TestMetalAllDown: where no host answers, that is said, and not that there are no machine types.
func TestMetalAllDown(t *testing.T) {
	hosts := scriptedHosts(t, 2)
	for _, h := range hosts {
		h.Close()
	}
	words, code := provision(t, append([]string{"plan", metalFile(t, hosts)}, emptyPrograms(t)...)...)
	if code == 0 || strings.Contains(words, "Unknown machine type") || !strings.Contains(words, "SSH not reachable") || !strings.Contains(words, "host-0: no connection") || !strings.Contains(words, "host-1: no connection") {
		t.Errorf("plan ends with %d:\n%s", code, words)
	}
}

// emptyPrograms are the options that name a node agent and a bundle, with nothing in them: for what does not come to use them.
func emptyPrograms(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	m := &bundle.Manifest{Kubernetes: "v1.37.2", Arch: "amd64"}
	for _, name := range []string{"coredns/coredns:v1.15.0", "metrics-server/metrics-server:v0.9.0", "pause:3.10.2"} {
		m.Images = append(m.Images, bundle.Image{Name: "registry.k8s.io/" + name})
	}
	manifest, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{bundle.ManifestName: manifest, "node-agent": []byte("not run")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(dir, "bundle.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := bundle.Write(t.Context(), f, dir); err != nil {
		t.Fatal(err)
	}
	return []string{"--agent", filepath.Join(dir, "node-agent"), "--bundle", f.Name()}
}
