//go:build e2e

package autoscaler

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

const adminToken = "admin-of-the-test"

// A rig is an API server with etcd and a scheduler, from the bundle, a vendor in memory, and kubelets that are made up.
type rig struct {
	t      *testing.T
	dir    string
	root   string // of the control-plane node that the agent believes to run on
	vendor *vendor
	config *rest.Config
	admin  kubernetes.Interface
	kube   ctrlclient.Client // of Karpenter's kinds, once they are there
	net    providers.ID
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	b, err := bundle.Open("../../bin/bundle-linux-amd64.tar.zst")
	if err != nil {
		t.Fatalf("%v: run make bundle", err)
	}
	if err := b.Extract("bin/kube", filepath.Join(r.dir, "kube")); err != nil {
		t.Fatal(err)
	}
	etcd, peer, api := freePort(t), freePort(t), freePort(t)
	r.write("tokens.csv", adminToken+",admin,1,system:masters\n")
	r.write("sa.key", r.key())
	server := fmt.Sprintf("https://127.0.0.1:%d", api)
	r.write("admin.conf", fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"a","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],"users":[{"name":"a","user":{"token":%q}}],"contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"current-context":"a"}`, server, adminToken))
	start := time.Now()
	r.run("etcd", "--data-dir="+r.dir+"/etcd", fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", etcd), fmt.Sprintf("--advertise-client-urls=http://127.0.0.1:%d", etcd),
		fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peer), fmt.Sprintf("--initial-advertise-peer-urls=http://127.0.0.1:%d", peer), fmt.Sprintf("--initial-cluster=default=http://127.0.0.1:%d", peer))
	r.run("kube-apiserver", fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcd), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", api), "--cert-dir="+r.dir+"/certs",
		"--token-auth-file="+r.dir+"/tokens.csv", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://x",
		"--service-account-key-file="+r.dir+"/sa.key", "--service-account-signing-key-file="+r.dir+"/sa.key", "--disable-admission-plugins=ServiceAccount")
	r.config = &rest.Config{Host: server, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 100, Burst: 200}
	r.admin = kubernetes.NewForConfigOrDie(r.config)
	r.eventually("the API server is ready", time.Minute, func() (bool, string) {
		_, err := r.admin.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
		return err == nil, fmt.Sprint(err)
	})
	t.Logf("API server ready after %.1f s", time.Since(start).Seconds())
	r.run("kube-scheduler", "--kubeconfig="+r.dir+"/admin.conf", "--leader-elect=false", "--secure-port=0")
	r.run("kube-controller-manager", "--kubeconfig="+r.dir+"/admin.conf", "--leader-elect=false", "--secure-port=0", "--controllers=garbage-collector-controller")
	r.roles()
	r.vendor = &vendor{Provider: fake.New(fake.Options{}), soldOut: map[string]bool{}, asked: map[string]providers.MachineSpec{}}
	n, err := r.vendor.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	r.net = n.ID
	r.node()
	go r.kubelets(t.Context())
	return r
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *rig) key() string {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func (r *rig) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// run starts one of the bundle's programs, to be ended with the test.
func (r *rig) run(name string, args ...string) {
	r.t.Helper()
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	c := &exec.Cmd{Path: filepath.Join(r.dir, "kube"), Args: append([]string{name}, args...), Stdout: log, Stderr: log, SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if b, _ := os.ReadFile(log.Name()); r.t.Failed() {
			lines := strings.Split(string(b), "\n")
			r.t.Logf("%s:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	})
}

// roles gives the cloud agents their rights, as apply does.
func (r *rig) roles() {
	r.t.Helper()
	b, err := templates.RenderCloudAgent()
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("roles.yaml", string(b))
	c := &exec.Cmd{Path: filepath.Join(r.dir, "kube"), Args: []string{"kubectl", "--kubeconfig=" + r.dir + "/admin.conf", "apply", "-f", r.dir + "/roles.yaml"}, Env: []string{"HOME=" + r.dir}}
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
}

// node writes what the agent reads of its node.
func (r *rig) node() {
	r.t.Helper()
	n, err := templates.RenderNode(templates.Node{Cluster: "demo", UID: "u-1", Name: "demo-cp-0", Role: templates.ControlPlane, Bundle: strings.Repeat("b", 64), Endpoints: []string{"10.0.0.2:6443"}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.root = filepath.Join(r.dir, "root")
	r.write("root"+templates.NodePath, string(n))
	r.write("root/etc/kubernetes/pki/ca.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	r.write("root"+templates.AgentPath, "the agent")
}

// asAgent is the API server as a cloud agent may use it.
func (r *rig) asAgent() *rest.Config {
	c := rest.CopyConfig(r.config)
	c.Impersonate = rest.ImpersonationConfig{UserName: "provision:cloud-agent:demo-cp-0", Groups: []string{templates.CloudGroup, "system:authenticated"}}
	c.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return denials{r, next} }
	return c
}

// denials fails the test when the agent asks for what it may not.
type denials struct {
	r    *rig
	next http.RoundTripper
}

func (d denials) RoundTrip(q *http.Request) (*http.Response, error) {
	res, err := d.next.RoundTrip(q)
	if err == nil && res.StatusCode == http.StatusForbidden {
		d.r.t.Errorf("the agent may not %s %s", q.Method, q.URL.Path)
	}
	return res, err
}

// agent runs the autoscaler until stop is called.
func (r *rig) agent(pools ...templates.CloudPool) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Cloud:    templates.Cloud{Cluster: "demo", UID: "u-1", Vendor: "fake", Network: string(r.net), Pools: pools},
			Provider: r.vendor, Config: r.asAgent(), Elect: true, Root: r.root, Settle: 2 * time.Second,
		})
	}()
	once := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("the autoscaler ended: %v", err)
		}
	})
	r.t.Cleanup(once)
	return once
}

// karpenter is a client of Karpenter's kinds.
func (r *rig) karpenter() ctrlclient.Client {
	r.t.Helper()
	if r.kube == nil {
		r.eventually("Karpenter's kinds are there", time.Minute, func() (bool, string) {
			c, err := ctrlclient.New(r.config, ctrlclient.Options{})
			if err == nil {
				err = c.List(r.t.Context(), &karpv1.NodeClaimList{})
			}
			r.kube = c
			return err == nil, fmt.Sprint(err)
		})
	}
	return r.kube
}

func (r *rig) eventually(what string, limit time.Duration, ok func() (bool, string)) time.Duration {
	r.t.Helper()
	start := time.Now()
	for {
		good, last := ok()
		if good {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			r.t.Fatalf("%s: not within %v: %s", what, limit, last)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// kubelets makes a node of every machine, as its user data would, and ends pods that are to end.
func (r *rig) kubelets(ctx context.Context) {
	for ctx.Err() == nil {
		ms, _ := r.vendor.Machines().List(ctx, "demo")
		for _, m := range ms {
			if !m.Partial && m.State == providers.Running {
				r.register(ctx, m)
			}
		}
		pods, err := r.admin.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		for i := 0; err == nil && i < len(pods.Items); i++ {
			if p := pods.Items[i]; p.DeletionTimestamp != nil { // it was evicted, and has ended
				_ = r.admin.CoreV1().Pods("default").Delete(ctx, p.Name, *metav1.NewDeleteOptions(0))
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (r *rig) register(ctx context.Context, m providers.Machine) {
	if n, err := r.admin.CoreV1().Nodes().Get(ctx, m.Name, metav1.GetOptions{}); err == nil {
		// Kubernetes' node controller would do this, which does not run here.
		ready := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
		if len(ready) < len(n.Spec.Taints) {
			n.Spec.Taints = ready
			_, _ = r.admin.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{})
		}
		if len(n.Status.Conditions) == 0 {
			r.beat(ctx, n, m.Type)
		}
		return
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, Labels: map[string]string{corev1.LabelHostname: m.Name}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: karpv1.UnregisteredTaintKey, Effect: corev1.TaintEffectNoExecute}}},
	}
	if n, err := r.admin.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err == nil {
		r.beat(ctx, n, m.Type)
	}
}

// beat says that a node is ready, and how large it is. It is tried again when somebody else wrote at the same time.
func (r *rig) beat(ctx context.Context, n *corev1.Node, machine string) {
	types, _ := r.vendor.Machines().Types(ctx)
	i := slices.IndexFunc(types, func(t providers.MachineType) bool { return t.Name == machine })
	n.Status.Capacity = capacity(templates.CloudPool{}, types[i])
	n.Status.Allocatable = n.Status.Capacity
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
	_, _ = r.admin.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
}

// A vendor is the fake, which has none of some types, and what it was asked for.
type vendor struct {
	providers.Provider
	mu      sync.Mutex
	soldOut map[string]bool
	denied  error
	asked   map[string]providers.MachineSpec
}

func (v *vendor) Machines() providers.Machines { return machines{v.Provider.Machines(), v} }

type machines struct {
	providers.Machines
	v *vendor
}

func (m machines) Create(ctx context.Context, s providers.MachineSpec) (providers.Machine, error) {
	m.v.mu.Lock()
	none, denied := m.v.soldOut[s.Type], m.v.denied
	if !none && denied == nil {
		m.v.asked[s.Name] = s
	}
	m.v.mu.Unlock()
	if denied != nil {
		return providers.Machine{}, denied
	}
	if none {
		return providers.Machine{}, fmt.Errorf("run %s: %w: none of %s", s.Name, providers.Capacity, s.Type)
	}
	return m.Machines.Create(ctx, s)
}

func (v *vendor) set(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}
