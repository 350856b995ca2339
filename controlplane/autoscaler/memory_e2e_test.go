//go:build e2e

package autoscaler

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// largestAgent is what a cloud agent may hold, in bytes.
const largestAgent = 300 << 20

// TestMemoryOfAThousandNodes runs the cloud agent, with all its parts, at a real API server with 1,000 nodes, 5,000 pods and
// 200 Services, and reads from the kernel what it holds when nothing happens any more. `make bench` runs it.
func TestMemoryOfAThousandNodes(t *testing.T) {
	r := newRig(t)
	network := r.large(1000)
	agent := r.cloudAgent(templates.Cloud{
		Cluster: "demo", UID: "u-1", Vendor: "fake", Options: map[string]any{"path": filepath.Join(r.dir, "vendor")}, Network: string(network),
		Pools: []templates.CloudPool{{Name: "w", Max: 2000, Types: []string{"small", "medium"}}},
	})
	begun := time.Now()
	r.eventually("all nodes are complete and all Services have addresses", 8*time.Minute, func() (bool, string) {
		nodes, err := r.admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err.Error()
		}
		services, err := r.admin.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err.Error()
		}
		complete, served := 0, 0
		for _, n := range nodes.Items {
			if n.Spec.ProviderID != "" && n.Labels[corev1.LabelInstanceTypeStable] != "" {
				complete++
			}
		}
		for _, s := range services.Items {
			if len(s.Status.LoadBalancer.Ingress) > 0 {
				served++
			}
		}
		return complete >= 1000 && served >= 200, fmt.Sprintf("%d nodes, %d Services", complete, served)
	})
	t.Logf("all nodes complete and all Services with their addresses after %.0f s", time.Since(begun).Seconds())
	calls := agent.calls(t)
	for quiet := 0; quiet < 2; { // for a minute
		time.Sleep(30 * time.Second)
		now := agent.calls(t)
		t.Logf("%v calls of the vendor in 30 s; %v", now-calls, agent.memory(t))
		if quiet++; now-calls > 1 {
			quiet = 0
		}
		calls = now
	}
	if m := agent.memory(t); m.pss > largestAgent || m.rss > largestAgent {
		t.Errorf("%v, want at most %d MB", m, largestAgent>>20)
	}
}

// large makes the machines of a large cluster, at a vendor in a file, their nodes, as large as real kubelets write them, pods and Services.
func (r *rig) large(nodes int) providers.ID {
	t := r.t
	t.Helper()
	vendor, err := fake.Open(filepath.Join(r.dir, "vendor"), fake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	network, err := vendor.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	each := func(n int, do func(i int) error) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := w; i < n; i += 8 {
					if err := do(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	for i := range nodes {
		m, err := vendor.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: fmt.Sprintf("w%d", i), Network: network.ID, Type: "small"})
		if err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			t.Logf("machine %s", m.Name)
		}
	}
	each(nodes, func(i int) error {
		_, err := r.admin.CoreV1().Nodes().Create(t.Context(), realNode(fmt.Sprintf("w%d", i)), metav1.CreateOptions{})
		return err
	})
	each(5*nodes, func(i int) error {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i), Labels: map[string]string{"app": "web", "pod-template-hash": "5d69b6c4c9"}}, Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("w%d", i%nodes), Containers: []corev1.Container{{Name: "web", Image: "registry.example.com/shop/web:v1.2.3",
				Env:            []corev1.EnvVar{{Name: "GREETING", Value: "hello"}, {Name: "BACKEND", Value: "http://backend.shop.svc:8080"}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}},
				Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
			}}}}
		_, err := r.admin.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		return err
	})
	each(200, func(i int) error {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i)}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
		_, err := r.admin.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{})
		return err
	})
	return network.ID
}

// realNode is a node as a kubelet writes it: with conditions in sentences, and 50 images.
func realNode(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", "provision.sh/pool": "w"},
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true", "csi.volume.kubernetes.io/nodeid": `{"fake.csi.provision.sh":"` + name + `"}`}}}
	n.Spec.Taints = []corev1.Taint{{Key: "node.cloudprovider.kubernetes.io/uninitialized", Value: "true", Effect: corev1.TaintEffectNoSchedule}}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		status := corev1.ConditionFalse
		if c == corev1.NodeReady {
			status = corev1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c, Status: status, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			Reason: "KubeletHas" + string(c), Message: "kubelet is posting that it has sufficient of what " + string(c) + " is about"})
	}
	n.Status.Capacity = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi")}
	n.Status.Allocatable = n.Status.Capacity
	n.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: "6.12.0-amd64", OSImage: "Debian GNU/Linux 12 (bookworm)", ContainerRuntimeVersion: "containerd://2.2.0", KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: "amd64"}
	for i := range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{SizeBytes: 50 << 20, Names: []string{
			fmt.Sprintf("registry.example.com/team-%d/service@sha256:%064d", i, i), fmt.Sprintf("registry.example.com/team-%d/service:v1.2.%d", i, i)}})
	}
	return n
}

// An agentProcess is a cloud agent that runs.
type agentProcess struct {
	pid    int
	listen string
}

// cloudAgent builds one and starts it, with folders of its own in the places of the node's.
func (r *rig) cloudAgent(cloud templates.Cloud) *agentProcess {
	t := r.t
	t.Helper()
	program := filepath.Join(r.dir, "cloud-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "../../cmd/cloud-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conf, err := templates.RenderCloud(cloud)
	if err != nil {
		t.Fatal(err)
	}
	r.write("cloud-agent.json", string(conf))
	a := &agentProcess{listen: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	log, err := os.Create(filepath.Join(r.dir, "cloud-agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	// Its socket is below /run, its node's files are below /etc, a plug-in is below /opt: mounts that are this process's alone.
	c := exec.Command("sh", "-c", `cd "$0/root" && mkdir -p opt && mount -t tmpfs tmpfs /run && for d in etc opt usr/local/bin; do mount --bind $d /$d || exit; done && exec "$@"`, r.dir,
		program, "--config="+r.dir+"/cloud-agent.json", "--kubeconfig="+r.dir+"/admin.conf", "--listen="+a.listen)
	c.Env, c.Stdout, c.Stderr = []string{"GOGC=40", "PATH=" + os.Getenv("PATH")}, log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: syscall.CLONE_NEWNS}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	a.pid = c.Process.Pid
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if b, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("cloud-agent:\n%s", b[max(0, len(b)-4000):])
		}
	})
	return a
}

// A footprint is what a process holds, in bytes.
type footprint struct{ pss, rss, file, most, heap int64 }

// String is for people.
func (m footprint) String() string {
	return fmt.Sprintf("the agent holds %d MB of memory (PSS %d, at most %d so far): %d MB of its program file, %d MB of Go's heap in use", m.rss>>20, m.pss>>20, m.most>>20, m.file>>20, m.heap>>20)
}

func (a *agentProcess) memory(t *testing.T) (m footprint) {
	t.Helper()
	for file, fields := range map[string]map[string]*int64{
		"smaps_rollup": {"Pss:": &m.pss, "Rss:": &m.rss}, "status": {"VmHWM:": &m.most, "RssFile:": &m.file},
	} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", a.pid, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && fields[f[0]] != nil {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				*fields[f[0]] = kib << 10
			}
		}
	}
	m.heap = int64(a.metric(t, `(?m)^go_memstats_heap_inuse_bytes (\S+)`))
	return m
}

// calls are those of the vendor so far.
func (a *agentProcess) calls(t *testing.T) float64 {
	return a.metric(t, `(?m)^provision_vendor_calls_total\{.*\} (\S+)`)
}

// metric adds up what /metrics says.
func (a *agentProcess) metric(t *testing.T, pattern string) (sum float64) {
	t.Helper()
	res, err := http.Get("http://" + a.listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(b, -1) {
		f, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += f
	}
	return sum
}
