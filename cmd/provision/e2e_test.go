//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// A rig is one cluster of provider local, made by the real program in bin/, with a state of its own.
type rig struct {
	t       *testing.T
	failure string // of the program, in short
	name    string
	file    string
	bin     string
	environ []string
}

// newRig prepares a file for a cluster that no other run uses, and removes the cluster when the test ends, however it does.
func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("machines of provider local need root")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, "bin")
	for _, f := range []string{"provision", "node-agent", "bundle-linux-amd64.tar.zst"} {
		if _, err := os.Stat(filepath.Join(bin, f)); err != nil {
			t.Fatalf("%v: run make build", err)
		}
	}
	dir := t.TempDir()
	r := &rig{t: t, name: fmt.Sprintf("e2e-%d", os.Getpid()), file: filepath.Join(dir, "cluster.hcl"), bin: bin}
	r.environ = append(os.Environ(), keeper.Keep(t, keeper.Kept{Owner: providers.Owner(r.name), Dir: dir, Tables: []string{firewallTable()}}, local.Clear), "XDG_STATE_HOME="+dir+"/state", "XDG_CONFIG_HOME="+dir+"/config", "NO_COLOR=1")
	r.workers(2, `tier = "web"`)
	t.Cleanup(func() {
		if t.Failed() {
			r.diagnose()
		}
		r.try(2*time.Minute, "destroy", r.file, "--auto-approve")
	})
	return r
}

// workers writes the file with so many workers and those labels.
func (r *rig) workers(count int, labels string) {
	r.t.Helper()
	text := fmt.Sprintf(`provider "local" {}

cluster %q {
  kubernetes = "1.37.2"

  control_plane {
    count   = 1
    machine = "small"
  }

  pool "workers" {
    count   = %d
    machine = "small"
    labels  = { %s }
    drain   = "2m"
  }
}
`, r.name, count, labels)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// try runs the program and returns what it wrote.
func (r *rig) try(limit time.Duration, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(r.bin, "provision"), args...)
	c.Env = r.environ
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	err = c.Run()
	return o.String(), e.String(), err
}

// run is try that must succeed.
func (r *rig) run(limit time.Duration, args ...string) string {
	r.t.Helper()
	o, e, err := r.try(limit, args...)
	if err != nil {
		r.failure = fmt.Sprintf("provision %s: %v\n%s", strings.Join(args, " "), err, tail(e, 30))
		r.t.Fatalf("provision %s: %v\n%s\n%s", strings.Join(args, " "), err, o, e)
	}
	return o + e
}

// kubectl runs the bundle's kubectl.
func (r *rig) kubectl(args ...string) string {
	r.t.Helper()
	return r.run(3*time.Minute, append([]string{"kubectl", r.file, "--"}, args...)...)
}

// on runs a command on a node.
func (r *rig) on(node, line string) string {
	r.t.Helper()
	return r.run(time.Minute, "ssh", r.file, r.name+"-"+node, "--", line)
}

// diagnose shows what the nodes say, for a test that failed.
func (r *rig) diagnose() {
	o, e, _ := r.try(time.Minute, "status", r.file)
	r.t.Logf("status:\n%s%s", o, e)
	o, _, _ = r.try(time.Minute, "kubectl", r.file, "--", "get", "pods,nodes,events", "-A", "-o", "wide")
	r.t.Logf("cluster:\n%s", tail(o, 60))
	if r.failure != "" {
		r.t.Logf("what failed, once more, as the above is long: %s", r.failure)
	}
}

// A lockedBuffer may be read while a program writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tail(s string, n int) string {
	ls := strings.Split(s, "\n")
	return strings.Join(ls[max(0, len(ls)-n):], "\n")
}

// eventually waits until ok says yes.
func (r *rig) eventually(what string, limit time.Duration, ok func() (bool, string)) time.Duration {
	r.t.Helper()
	start := time.Now()
	for {
		good, last := ok()
		if good {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			r.t.Fatalf("%s: not within %v; last:\n%s", what, limit, last)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// ready waits until status says that everything is.
func (r *rig) ready(what string, nodes int, limit time.Duration) time.Duration {
	r.t.Helper()
	return r.eventually(what, limit, func() (bool, string) {
		o, e, err := r.try(time.Minute, "status", r.file, "--json")
		var s struct {
			Ready bool
			Nodes []struct {
				Ready bool
				Agent *struct{ Ready bool }
			}
		}
		if err != nil || json.Unmarshal([]byte(o), &s) != nil {
			return false, o + e
		}
		ok := s.Ready && len(s.Nodes) == nodes
		for _, n := range s.Nodes {
			ok = ok && n.Agent != nil && n.Agent.Ready
		}
		return ok, o
	})
}

// A snapshot is what a host has that a cluster must not change for good.
type snapshot map[string][]string

func takeSnapshot(t *testing.T, name string) snapshot {
	t.Helper()
	s := snapshot{}
	for what, line := range map[string]string{
		"mounts":      "awk '{print $5}' /proc/self/mountinfo",
		"links":       "ip -o link | awk -F': ' '{print $2}'",
		"namespaces":  "ls /run/netns 2>/dev/null; lsns -n -o TYPE,COMMAND 2>/dev/null | grep -E 'machine|" + name + "' || true",
		"nft":         "nft list tables",
		"cgroups":     "find /sys/fs/cgroup -path '*/provision' -o -path '*/provision/*' -type d",
		"processes":   "ps -eo args | grep -E 'node-agent|kubelet|containerd|kube-|etcd|machine-|/provision/local' | grep -v -E 'grep|go test|ps -eo|tool/linux_amd64' || true",
		"routes":      "ip route",
		"loops":       "ls /dev | grep -E '^loop[0-9]{4}$' || true",
		"local files": "find /var/lib/provision 2>/dev/null || true",
	} {
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		ls := strings.Split(strings.TrimSpace(string(out)), "\n")
		slices.Sort(ls)
		s[what] = ls
	}
	return s
}

func (s snapshot) compare(t *testing.T, after snapshot) {
	t.Helper()
	for what := range s {
		if !slices.Equal(s[what], after[what]) {
			t.Errorf("%s differ after destroy.\nbefore:\n%s\nafter:\n%s", what, strings.Join(s[what], "\n"), strings.Join(after[what], "\n"))
		}
	}
}

// firewallTable is the name of this run's table of nft.
func firewallTable() string { return fmt.Sprintf("provision-e2e-%d", os.Getpid()) }

// firewall drops all that machines send to anywhere but other machines, for the time of the test.
func firewall(t *testing.T) {
	t.Helper()
	table := firewallTable()
	rules := "table inet " + table + " {\n chain forward {\n type filter hook forward priority -10; policy accept;\n ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 drop\n }\n}\n"
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	t.Cleanup(func() { exec.Command("nft", "delete", "table", "inet", table).Run() })
}

// TestE2E makes a real cluster and goes through what people do with it. The parts build on one another.
func TestE2E(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		firewall(t)
		r := newRig(t)
		parts := []struct {
			name string
			do   func(*rig)
		}{
			{"trouble", (*rig).partTrouble}, {"clean", (*rig).partDestroy}, {"apply", (*rig).partApply}, {"use", (*rig).partUse}, {"autoscale", (*rig).partAutoscale}, {"labels", (*rig).partLabels}, {"lost", (*rig).partLost},
			{"scale", (*rig).partScale}, {"kill", (*rig).partKill}, {"power", (*rig).partPower}, {"memory", (*rig).partMemory}, {"volumes", (*rig).partVolumes}, {"destroy", (*rig).partDestroy},
		}
		for _, p := range parts {
			ok := t.Run(p.name, func(t *testing.T) {
				r.t = t
				p.do(r)
			})
			r.t = t
			if !ok {
				t.FailNow()
			}
		}
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// partApply: from nothing to the demo page, and a second apply that changes nothing.
func (r *rig) partApply() {
	start := time.Now()
	out := r.run(5*time.Minute, "apply", r.file, "--auto-approve", "--timings")
	applied := time.Since(start)
	r.t.Logf("%s", out)
	r.kubectl("apply", "-f", "../../examples/local/web.yaml")
	r.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	r.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
	addr := strings.TrimSpace(r.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	r.fetch("workers-0", "http://"+addr+"/")
	r.t.Logf("apply %.1f s, demo page served after %.1f s", applied.Seconds(), time.Since(start).Seconds())
	if d := time.Since(start); d > 3*time.Minute {
		r.t.Errorf("the demo page took %v", d)
	}
	start = time.Now()
	if out := r.run(time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(out, "No changes") {
		r.t.Errorf("a second apply changes something:\n%s", out)
	}
	r.t.Logf("second apply %.1f s", time.Since(start).Seconds())
	if _, _, err := r.try(time.Minute, "plan", r.file, "--detailed-exitcode"); err != nil {
		r.t.Errorf("plan --detailed-exitcode: %v, want exit 0", err)
	}
}

// fetch gets a page from a node, with a few tries while rules spread.
func (r *rig) fetch(node, url string) string {
	r.t.Helper()
	return r.on(node, "curl -fsS --max-time 5 --retry 20 --retry-delay 1 --retry-all-errors "+url)
}

// pods lists the pods of the demo, as name, node and address.
func (r *rig) pods() [][]string {
	out := r.kubectl("get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "--no-headers", "-o", "custom-columns=N:.metadata.name,W:.spec.nodeName,A:.status.podIP,D:.metadata.deletionTimestamp")
	var ps [][]string
	for _, l := range strings.Split(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(l); len(f) == 4 && f[3] == "<none>" {
			ps = append(ps, f)
		}
	}
	return ps
}

// partUse: what people do with kubectl.
func (r *rig) partUse() {
	ps := r.pods()
	if len(ps) != 2 || ps[0][1] == ps[1][1] {
		r.t.Fatalf("want two pods on two nodes, have %v", ps)
	}
	if out := r.kubectl("logs", ps[0][0]); out == "" {
		r.t.Error("kubectl logs shows nothing")
	}
	if out := r.kubectl("-n", "kube-system", "exec", "deployment/coredns", "--", "/coredns", "-version"); !strings.Contains(out, "CoreDNS-1.15.0") {
		r.t.Errorf("kubectl exec: %q", out)
	}
	// Pod to pod across machines, node to pod, Service and DNS from a host.
	for _, p := range ps {
		for _, n := range []string{"cp-0", "workers-0", "workers-1"} {
			if body := r.fetch(n, "http://"+p[2]+":8080/"); !strings.Contains(body, p[0]) {
				r.t.Errorf("%s does not reach pod %s", n, p[0])
			}
		}
	}
	dns := strings.TrimSpace(r.kubectl("-n", "kube-system", "get", "service", "kube-dns", "-o", "jsonpath={.spec.clusterIP}"))
	r.lookUp("workers-1", dns)
	if body := r.inPod(ps[0], "http://web.default.svc.cluster.local/"); !strings.Contains(body, "web-") {
		r.t.Errorf("the Service by name from a pod: %q", body)
	}
	if body := r.inPod(ps[0], "http://"+ps[1][2]+":8080/"); !strings.Contains(body, ps[1][0]) {
		r.t.Errorf("pod to pod across machines: %q", body)
	}
	r.portForward(ps[0][0])
	r.eventually("kubectl top", 2*time.Minute, func() (bool, string) {
		o, e, err := r.try(time.Minute, "kubectl", r.file, "--", "top", "nodes", "--no-headers")
		return err == nil && len(strings.Split(strings.TrimSpace(o), "\n")) == 3 && !strings.Contains(o, "unknown"), o + e
	})
	r.kubectl("set", "env", "deployment/web", "ROLLED=1")
	r.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
	policy := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: none}\nspec: {podSelector: {}}\n"
	if err := os.WriteFile(r.file+".policy.yaml", []byte(policy), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if o, e, err := r.try(time.Minute, "kubectl", r.file, "--", "apply", "-f", r.file+".policy.yaml"); err == nil {
		r.t.Errorf("a NetworkPolicy that nobody enforces was accepted:\n%s%s", o, e)
	}
	if out := r.on("workers-0", "/opt/provision/current/bin/ctr -a /run/containerd/containerd.sock -n k8s.io images ls 2>/dev/null | grep registry.k8s.io/"); !strings.Contains(out, "/pause:") || strings.Count(out, "io.cri-containerd.pinned=pinned") != strings.Count(out, "\n") {
		r.t.Errorf("images that a full disk's kubelet may remove:\n%s", out)
	}
	conf := r.run(time.Minute, "kubeconfig", r.file)
	if !strings.Contains(conf, "client-key-data") {
		r.t.Error("the kubeconfig has no key")
	}
}

// lookUp asks the cluster's DNS from a node, by a query written by hand, since the host may have no dig.
func (r *rig) lookUp(node, server string) {
	r.t.Helper()
	script := `python3 - <<'P'
import socket,struct
q=struct.pack('>HHHHHH',7,0x100,1,0,0,0)+b''.join(bytes([len(l)])+l.encode() for l in 'web.default.svc.cluster.local'.split('.'))+b'\0'+struct.pack('>HH',1,1)
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5); s.sendto(q,('` + server + `',53)); r=s.recv(512)
print('answers', struct.unpack('>H',r[6:8])[0])
P`
	if out := r.on(node, script); !strings.Contains(out, "answers 1") {
		r.t.Errorf("DNS from %s: %s", node, out)
	}
}

// inPod fetches a page from inside a pod's network, by entering its namespace on its node.
func (r *rig) inPod(pod []string, url string) string {
	r.t.Helper()
	node := strings.TrimPrefix(pod[1], r.name+"-")
	find := fmt.Sprintf(`for p in $(pgrep -x web); do nsenter -t $p -n ip -4 -o addr show eth0 2>/dev/null | grep -q 'inet %s/' && echo $p; done | head -1`, pod[2])
	return r.on(node, fmt.Sprintf(`p=$(%s); cp /proc/$p/root/etc/resolv.conf /tmp/resolv; nsenter -t $p -n unshare -m sh -c 'mount --bind /tmp/resolv /etc/resolv.conf && curl -fsS --max-time 5 --retry 5 --retry-delay 1 --retry-all-errors %s'`, find, url))
}

// portForward reaches a pod through the API.
func (r *rig) portForward(pod string) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(r.bin, "provision"), "kubectl", r.file, "--", "port-forward", pod, fmt.Sprintf("%d:8080", port))
	c.Env = r.environ
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	defer c.Wait()
	defer cancel()
	r.eventually("port-forward", 30*time.Second, func() (bool, string) {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err != nil {
			return false, err.Error()
		}
		res.Body.Close()
		return res.StatusCode == 200, res.Status
	})
}

// partAutoscale: a HorizontalPodAutoscaler adds pods under load.
func (r *rig) partAutoscale() {
	r.kubectl("autoscale", "deployment/web", "--min=2", "--max=4", "--cpu=30%")
	addr := strings.TrimSpace(r.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	load := `timeout 150 sh -c 'while :; do curl -s --max-time 5 "http://` + addr + `/work?ms=200" >/dev/null || sleep 1; done'`
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, filepath.Join(r.bin, "provision"), "ssh", r.file, r.name+"-workers-0", "--", load)
	c.Env = r.environ
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		cancel()
		c.Wait()
	}()
	took := r.eventually("more pods under load", 150*time.Second, func() (bool, string) {
		o, e, _ := r.try(time.Minute, "kubectl", r.file, "--", "get", "hpa,deployment", "-o", "wide")
		var have int
		m := regexp.MustCompile(`(?m)^deployment.apps/web\s+\d+/(\d+)`).FindStringSubmatch(o)
		if m != nil {
			fmt.Sscan(m[1], &have)
		}
		return have > 2, o + e
	})
	r.t.Logf("the autoscaler added pods after %.0f s", took.Seconds())
	r.kubectl("delete", "hpa", "web")
	r.kubectl("scale", "deployment/web", "--replicas=2")
}

// partLabels: a label in the file changes the nodes and restarts nothing.
func (r *rig) partLabels() {
	before := r.starts()
	r.workers(2, `tier = "db"`)
	if out := r.run(2*time.Minute, "apply", r.file, "--auto-approve"); strings.Contains(out, "machine.") {
		r.t.Errorf("a label changes machines:\n%s", out)
	}
	if out := r.kubectl("get", "nodes", "-l", "tier=db", "--no-headers"); strings.Count(out, "\n") != 2 {
		r.t.Errorf("nodes with the new label:\n%s", out)
	}
	if after := r.starts(); after != before {
		r.t.Errorf("a label restarted something.\nbefore: %s\nafter:  %s", before, after)
	}
}

// starts tells what runs on the first two nodes, by process ID.
func (r *rig) starts() string {
	var all []string
	for _, n := range []string{"cp-0", "workers-0"} {
		out := r.on(n, "/usr/local/bin/node-agent status --json")
		var s struct {
			Processes []struct {
				Name string
				PID  int
			}
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			r.t.Fatalf("%v: %s", err, out)
		}
		for _, p := range s.Processes {
			all = append(all, fmt.Sprintf("%s/%s:%d", n, p.Name, p.PID))
		}
	}
	return strings.Join(all, " ")
}

// partScale: 2 → 4 → 1; only those machines change.
func (r *rig) partScale() {
	before := r.starts()
	for _, n := range []int{4, 1} {
		r.workers(n, `tier = "db"`)
		start := time.Now()
		out := r.run(6*time.Minute, "apply", r.file, "--auto-approve")
		r.t.Logf("to %d workers: %.1f s", n, time.Since(start).Seconds())
		if strings.Contains(out, "workers[0]") || strings.Contains(out, "control-plane") {
			r.t.Errorf("to %d workers touches others:\n%s", n, out)
		}
		r.ready(fmt.Sprintf("%d workers", n), n+1, 2*time.Minute)
		r.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	}
	if after := r.starts(); after != before {
		r.t.Errorf("scaling restarted something else.\nbefore: %s\nafter:  %s", before, after)
	}
}

// partKill: every process is killed once; the cluster mends itself and pods go on.
func (r *rig) partKill() {
	pods := fmt.Sprint(r.pods())
	for _, k := range []struct{ node, process string }{
		{"workers-0", "kubelet"}, {"workers-0", "containerd"}, {"cp-0", "kube-apiserver"}, {"cp-0", "etcd"},
		{"cp-0", "kube-controller-manager"}, {"cp-0", "kube-scheduler"}, {"workers-0", "kube-proxy"}, {"workers-0", "flanneld"}, {"workers-0", "node-agent"}, {"cp-0", "node-agent"},
	} {
		out := r.on(k.node, fmt.Sprintf(`p=$(pgrep -x -o '%.15s'); test -n "$p" && kill -9 $p && echo killed $p`, k.process))
		if !strings.Contains(out, "killed") {
			r.t.Fatalf("%s on %s was not killed: %s", k.process, k.node, out)
		}
		time.Sleep(300 * time.Millisecond)
		took := r.ready(k.process+" killed", 2, 2*time.Minute)
		now := r.on(k.node, fmt.Sprintf(`pgrep -x -o '%.15s'`, k.process))
		if strings.TrimSpace(now) == "" || strings.Contains(out, " "+strings.TrimSpace(now)+"\n") {
			r.t.Errorf("%s on %s: killed %q, runs now as %q", k.process, k.node, out, now)
		}
		r.t.Logf("%s on %s killed: ready again after %.1f s", k.process, k.node, took.Seconds())
	}
	if after := fmt.Sprint(r.pods()); after != pods {
		r.t.Errorf("pods did not go on.\nbefore: %s\nafter:  %s", pods, after)
	}
}

// partPower: a machine's process 1 dies, apply starts the machine again, and a reboot from inside comes back by itself.
func (r *rig) partPower() {
	for _, n := range []string{"workers-0", "cp-0"} {
		r.powerOff(n)
		start := time.Now()
		if out := r.run(4*time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(out, "stopped; it is started again") {
			r.t.Errorf("the plan does not say that the machine is started again:\n%s", out)
		}
		r.ready("after power loss of "+n, 2, 3*time.Minute)
		r.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
		r.t.Logf("%s lost power: ready again after %.1f s", n, time.Since(start).Seconds())
	}
	r.try(20*time.Second, "ssh", r.file, r.name+"-workers-0", "--", "reboot")
	time.Sleep(time.Second)
	took := r.ready("after a reboot from inside", 2, 2*time.Minute)
	r.t.Logf("workers-0 rebooted: ready again after %.1f s", took.Seconds())
}

// cutPower is as if its cord was pulled.
func (r *rig) cutPower(node string) {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join("/var/lib/provision/local", r.name, "machines", r.name+"-"+node, "state.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	var s struct{ Init struct{ PID int } }
	if err := json.Unmarshal(b, &s); err != nil || s.Init.PID <= 1 {
		r.t.Fatalf("no process 1 in %s", b)
	}
	if err := syscall.Kill(s.Init.PID, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
}

// powerOff kills a machine's process 1 from outside, as a loss of power does.
func (r *rig) powerOff(node string) {
	r.t.Helper()
	r.cutPower(node)
	r.eventually("the machine is stopped", 40*time.Second, func() (bool, string) {
		o, e, _ := r.try(time.Minute, "plan", r.file)
		return strings.Contains(o, "stopped"), o + e
	})
}

// partMemory reports what the machines use, as proportional set size; docs/benchmarks.md says what is wanted of an idle one.
func (r *rig) partMemory() {
	const script = `for p in /proc/[0-9]*; do awk -v n=$(cat $p/comm 2>/dev/null) '/^Pss:/ {print $2, n}' $p/smaps_rollup 2>/dev/null; done | sort -rn`
	for _, n := range []string{"cp-0", "workers-0"} {
		out := r.on(n, script)
		total, lines := 0, strings.Split(strings.TrimSpace(out), "\n")
		for _, l := range lines {
			var kb int
			fmt.Sscan(l, &kb)
			total += kb
		}
		if !strings.Contains(out, " kubelet") || total < 50<<10 {
			r.t.Errorf("%s: nothing was measured: %d kB\n%s", n, total, out)
		}
		r.t.Logf("%s uses %d MB PSS:\n%s", n, total/1024, strings.Join(lines[:min(12, len(lines))], "\n"))
	}
}

// partDestroy: nothing is left.
func (r *rig) partDestroy() {
	start := time.Now()
	out := r.run(2*time.Minute, "destroy", r.file, "--auto-approve")
	r.t.Logf("destroy %.1f s", time.Since(start).Seconds())
	if !strings.Contains(out, "0 objects left") {
		r.t.Errorf("destroy does not say that nothing is left:\n%s", out)
	}
}
