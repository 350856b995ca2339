package bootstrap_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/templates"
	gossh "golang.org/x/crypto/ssh"
)

// A machine is a scripted machine with a scripted node agent: what bootstrap sees of a node.
type machine struct {
	*sshtest.Server
	override map[string]string       // facts that are other than usual; "" leaves one out
	scout    func(*sshtest.Exec) int // runs the scout; nil: it cannot be run

	mu      sync.Mutex
	bundles []string
	current string
	enabled bool
	stale   bool
	files   map[string][]byte // that configure wrote

	cutAt int    // the connection is cut at this command, counted from 1
	late  bool   // … after its effect instead of before
	count int    // commands so far
	fail  string // the agent's command that fails: "install"
	words string // what it writes then
}

func newMachine(o sshtest.Options) *machine {
	m := &machine{files: map[string][]byte{}}
	o.Answer = m.answer
	m.Server = sshtest.New(o)
	return m
}

func (m *machine) answer(e *sshtest.Exec) int {
	if m.scout != nil && e.Args[0] == "exec" && strings.HasSuffix(e.Args[1], "/node-scout") {
		return m.scout(e)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	if m.count == m.cutAt && !m.late {
		m.Cut()
		return 1
	}
	status := m.act(e)
	if m.count == m.cutAt {
		m.Cut()
	}
	return status
}

func (m *machine) act(e *sshtest.Exec) int {
	a := e.Args
	switch {
	case len(a) > 3 && a[3] == "provision-facts":
		m.facts(e.Stdout, a[5:])
		return 0
	case a[0] == templates.Current+"/bin/kubectl":
		fmt.Fprint(e.Stdout, strings.Join(a[1:], " "), "|")
		io.Copy(e.Stdout, e.Stdin)
		return 0
	case a[0] == "a="+templates.AgentPath: // reset
		m.bundles, m.current, m.enabled, m.files = nil, "", false, map[string][]byte{}
		return 0
	case a[0] != templates.AgentPath:
		fmt.Fprintln(e.Stderr, "sh: not found:", e.Line)
		return 127
	}
	if b, _, ok := m.File(templates.AgentPath); !ok {
		fmt.Fprintln(e.Stderr, "sh: not found: node-agent", len(b))
		return 127
	}
	if a[1] == m.fail && !slices.Contains(a, "--json") {
		fmt.Fprint(e.Stderr, m.words)
		return 1
	}
	return m.agent(e, strings.TrimSuffix(a[1], ";"))
}

// agent is the node agent.
func (m *machine) agent(e *sshtest.Exec, verb string) int {
	switch verb {
	case "install":
		path := strings.TrimSuffix(e.Args[3], ";")
		b, _, ok := m.File(path)
		if !ok {
			fmt.Fprintln(e.Stderr, "node-agent: no such file", path)
			return 1
		}
		id := strings.TrimPrefix(string(b[:min(len(b), 11)]), "bundle ")
		m.bundles, m.current = append(m.bundles, id), id
		m.Remove(path)
		fmt.Fprintln(e.Stdout, id)
	case "configure":
		b, _ := io.ReadAll(e.Stdin)
		p, err := templates.ParsePayload(b)
		if err != nil {
			fmt.Fprintln(e.Stderr, "node-agent:", err)
			return 1
		}
		for _, f := range p.Files {
			m.files[f.Path] = f.Content
		}
		m.files[templates.NodePath], _ = templates.RenderNode(p.Node)
	case "enable":
		m.enabled, m.stale = true, false
	case "status":
		if e.Args[2] == "--wait" {
			fmt.Fprintf(e.Stdout, "  0.01s containerd ready\n")
			return 0
		}
		b, _ := templates.RenderStatus(m.status())
		e.Stdout.Write(b)
	case "logs":
		fmt.Fprintf(e.Stdout, "last words of %s\n", e.Args[2])
	}
	return 0
}

func (m *machine) joined() bool { return m.files[templates.BootstrapConf] != nil }

func (m *machine) status() templates.Status {
	return templates.Status{Ready: m.joined(), Processes: []templates.ProcessStatus{
		{Name: "containerd", State: templates.Running, Ready: true},
		{Name: "etcd", State: templates.BackOff, Restarts: 3, LastExit: "exit status 1"},
		{Name: "kube-apiserver", State: templates.Waiting, WaitingFor: "etcd", Ready: m.joined()},
	}}
}

// facts writes what facts.sh does.
func (m *machine) facts(w io.Writer, paths []string) {
	facts := map[string]string{
		"time": fmt.Sprintf("%.9f", float64(time.Now().UnixNano())/1e9), "uid": "0", "arch": "x86_64", "kernel": "6.1.0-25-amd64", "hostname": "demo-cp-0",
		"memory": "4000000", "cgroup": "2", "controllers": "cpuset cpu io memory pids", "init": "systemd", "overlay": "1",
		"disk=/opt": "/opt/provision 20000000 /dev/vda1", "disk=/var/lib": "/var/lib/provision 20000000 /dev/vda1",
		"tool=mount": "mount", "tool=nft": "nft", "tool=sha256sum": "sha256sum", "tool=umount": "umount",
	}
	if b, _, ok := m.File(templates.AgentPath); ok {
		facts["agent"] = sum(b)
	}
	for _, b := range m.bundles {
		facts["bundle="+b] = b
	}
	if m.current != "" {
		facts["current"] = m.current
	}
	if m.enabled {
		facts["enabled"] = "1"
		s, _ := templates.RenderStatus(m.status())
		facts["status"] = string(bytes.TrimSpace(s))
	}
	if m.stale {
		facts["stale"] = "1"
	}
	if m.joined() {
		facts["joined"] = "1"
	}
	for _, p := range paths {
		b, ok := m.files[p]
		if !ok {
			b, _, ok = m.File(p)
		}
		if ok {
			facts["file="+p] = sum(b) + " " + p
		}
	}
	maps.Copy(facts, m.override)
	for _, k := range slices.Sorted(maps.Keys(facts)) {
		if key, _, _ := strings.Cut(k, "="); facts[k] != "" {
			fmt.Fprintf(w, "%s=%s\n", key, facts[k])
		}
	}
	fmt.Fprintf(w, "--\n%s", m.files[templates.NodePath])
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// programs are small ones. The scripted agent takes a bundle's ID from its first bytes.
func programs() *bootstrap.Programs {
	return &bootstrap.Programs{
		Agent: ssh.FromBytes([]byte("the agent")), Bundle: ssh.FromBytes(append([]byte("bundle 1234"), make([]byte, 200<<10)...)),
		Manifest: &bundle.Manifest{ID: "1234", Arch: "amd64", Files: []bundle.File{{Path: "bin/kube", Size: 300 << 20}}},
	}
}

func controlPlaneNode() templates.Node {
	return templates.Node{
		Cluster: "demo", UID: "0123", Name: "demo-cp-0", Role: templates.ControlPlane, Bundle: "1234", Kubernetes: "1.37.2",
		Address: netip.MustParseAddr("10.88.0.2"), Endpoints: []string{"10.88.0.2:6443"},
	}
}

// target connects to the machine.
func target(t testing.TB, m *machine, p *bootstrap.Programs, keys *ssh.Keys) *bootstrap.Target {
	t.Helper()
	h, err := ssh.Dial(context.Background(), ssh.Options{Name: "demo-cp-0", Addr: "10.88.0.2", HostKeys: []string{m.HostKey()}, Through: m, Keys: keys, Redial: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return &bootstrap.Target{Host: h, Programs: p, Node: controlPlaneNode(), Files: []templates.File{
		{Path: templates.PKIDir + "/ca.key", Mode: "0600", Content: []byte("a secret key")},
	}}
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

// forJoin returns the target with the credentials to join with.
func forJoin(t *bootstrap.Target) *bootstrap.Target {
	return &bootstrap.Target{Host: t.Host, Programs: t.Programs, Node: t.Node, Files: append(slices.Clone(t.Files),
		templates.File{Path: templates.BootstrapConf, Mode: "0600", Content: []byte("a secret token")})}
}
