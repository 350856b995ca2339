//go:build e2e

package sidecars

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"k8s.io/client-go/rest"

	"github.com/provisionhq/provision/controlplane/csi"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// kube is the bundle's Kubernetes: one program of many names.
const kube = "../../../.cache/bundle/amd64/bin/kube"

// A plane is etcd, an API server and a controller manager on this host, and nothing else: no node, no scheduler.
type plane struct {
	t    *testing.T
	dir  string
	port int
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	program, err := filepath.Abs(kube)
	if err != nil {
		t.Fatal(err)
	}
	if from := os.Getenv("PROVISION_KUBE"); from != "" {
		program = from
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("the bundle's programs are not here, make bundle: %v", err)
	}
	p := &plane{t, t.TempDir(), freePort(t)}
	for _, n := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"} {
		if err := os.Symlink(program, filepath.Join(p.dir, n)); err != nil {
			t.Fatal(err)
		}
	}
	client, peer := freePort(t), freePort(t)
	p.start("etcd", "--data-dir="+p.dir+"/etcd-data", fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", client), fmt.Sprintf("--advertise-client-urls=http://127.0.0.1:%d", client),
		fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peer), fmt.Sprintf("--initial-advertise-peer-urls=http://127.0.0.1:%d", peer), fmt.Sprintf("--initial-cluster=default=http://127.0.0.1:%d", peer), "--unsafe-no-fsync")
	p.run("openssl", "genrsa", "-out", p.dir+"/sa.key", "2048")
	p.run("openssl", "rsa", "-in", p.dir+"/sa.key", "-pubout", "-out", p.dir+"/sa.pub")
	p.write("tokens", "admin,admin,1,system:masters\nagent,provision:cloud-agent:one,2,"+templates.CloudGroup+"\n")
	p.start("kube-apiserver", fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", client), fmt.Sprintf("--secure-port=%d", p.port), "--bind-address=127.0.0.1", "--cert-dir="+p.dir+"/certs",
		"--service-account-issuer=https://test", "--service-account-key-file="+p.dir+"/sa.pub", "--service-account-signing-key-file="+p.dir+"/sa.key",
		"--token-auth-file="+p.dir+"/tokens", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount")
	p.write("kubeconfig", fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:%d","insecure-skip-tls-verify":true}}],
		"users":[{"name":"u","user":{"token":"admin"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x"}`, p.port))
	p.until("the API server is ready", func() string { return p.kubectl("get", "--raw=/readyz") }, "ok")
	p.start("kube-controller-manager", "--kubeconfig="+p.dir+"/kubeconfig", "--leader-elect=false", "--secure-port=0", "--controllers=persistentvolume-binder-controller,persistentvolume-expander-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller")
	return p
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

// start starts a program until the test ends, with its output in a file.
func (p *plane) start(name string, args ...string) {
	p.t.Helper()
	log, err := os.Create(filepath.Join(p.dir, name+".log"))
	if err != nil {
		p.t.Fatal(err)
	}
	c := exec.Command(filepath.Join(p.dir, name), args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			p.t.Logf("%s said last:\n%s", name, b[max(0, len(b)-1500):])
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	})
}

func (p *plane) run(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func (p *plane) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// kubectl returns what kubectl says, errors too.
func (p *plane) kubectl(args ...string) string {
	out, _ := exec.Command(filepath.Join(p.dir, "kubectl"), append([]string{"--kubeconfig=" + p.dir + "/kubeconfig"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

func (p *plane) apply(yaml string) {
	p.t.Helper()
	c := exec.Command(filepath.Join(p.dir, "kubectl"), "--kubeconfig="+p.dir+"/kubeconfig", "apply", "--server-side", "-f", "-")
	c.Stdin = strings.NewReader(yaml)
	if out, err := c.CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s\n%s", err, out, yaml)
	}
}

// until waits until something is so.
func (p *plane) until(what string, look func() string, want string) time.Duration {
	p.t.Helper()
	began, got := time.Now(), ""
	for time.Since(began) < 90*time.Second {
		if got = look(); got == want {
			p.t.Logf("%s after %s", what, time.Since(began).Round(10*time.Millisecond))
			return time.Since(began)
		}
		time.Sleep(200 * time.Millisecond)
	}
	p.t.Fatalf("not so after %s: %s; it is %q, want %q", time.Since(began).Round(time.Second), what, got, want)
	return 0
}

func (p *plane) get(path string, object ...string) func() string {
	return func() string { return p.kubectl(append(append([]string{"get"}, object...), "-o", "jsonpath="+path)...) }
}

// TestE2ESidecars lets a claim become a volume, be attached, grow, be copied and cloned, and go, at a real API server, as the user that cloud agents are.
func TestE2ESidecars(t *testing.T) {
	p := startPlane(t)
	f := fake.New(fake.Options{})
	zone := machines(t, f)
	manifests, err := templates.RenderStorage(templates.Storage{Vendor: "fake", Snapshots: true})
	if err != nil {
		t.Fatal(err)
	}
	p.apply(string(manifests))
	driver := templates.CSIDriver("fake")
	serveDriver(t, p, f, driver)
	config := &rest.Config{Host: fmt.Sprintf("https://127.0.0.1:%d", p.port), BearerToken: "agent", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 100, Burst: 200}
	refused := watchRefusals(config)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Driver: driver, Socket: "unix://" + p.dir + "/csi.sock", Config: config, Identity: "one"})
	}()
	p.apply(fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"one","labels":{"topology.kubernetes.io/zone":%q}}}`, zone))
	p.apply(fmt.Sprintf(`{"apiVersion":"storage.k8s.io/v1","kind":"CSINode","metadata":{"name":"one"},"spec":{"drivers":[{"name":%q,"nodeID":"one","topologyKeys":["topology.kubernetes.io/zone"]}]}}`, driver))

	claim := func(name, more string) string {
		return `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"` + name + `","namespace":"default","annotations":{"volume.kubernetes.io/selected-node":"one"}},
			"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"3Gi"}}` + more + `}}`
	}
	p.apply(claim("data", ""))
	p.until("a claim without a class has its volume", p.get("{.status.phase}", "pvc", "data"), "Bound")
	pv := p.get("{.spec.volumeName}", "pvc", "data")()
	volumes, err := f.Volumes().List(t.Context(), "c")
	if err != nil || len(volumes) != 1 || volumes[0].Zone != zone || volumes[0].SizeGiB != 3 || volumes[0].Name != pv || volumes[0].Tags["kubernetes.io/created-for/pvc/name"] != "data" {
		t.Fatalf("the vendor has %+v, %v", volumes, err)
	}

	p.apply(fmt.Sprintf(`{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment","metadata":{"name":"a"},"spec":{"attacher":%q,"nodeName":"one","source":{"persistentVolumeName":%q}}}`, driver, pv))
	p.until("it is attached", p.get("{.status.attached}", "volumeattachment", "a"), "true")
	if got := p.get("{.status.attachmentMetadata.device}", "volumeattachment", "a")(); !strings.HasPrefix(got, "/dev/") {
		t.Errorf("the node is told the device %q", got)
	}

	p.kubectl("patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"5Gi"}}}}`)
	p.until("it has grown", p.get("{.spec.capacity.storage}", "pv", pv), "5Gi")

	p.apply(`{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"s","namespace":"default"},"spec":{"source":{"persistentVolumeClaimName":"data"}}}`)
	p.until("it is copied", p.get("{.status.readyToUse}", "volumesnapshot", "s"), "true")
	p.apply(strings.Replace(claim("restored", `,"dataSource":{"apiGroup":"snapshot.storage.k8s.io","kind":"VolumeSnapshot","name":"s"}`), "3Gi", "5Gi", 1))
	p.until("the copy is a volume", p.get("{.status.phase}", "pvc", "restored"), "Bound")
	p.apply(strings.Replace(claim("cloned", `,"storageClassName":"provision","dataSource":{"kind":"PersistentVolumeClaim","name":"data"}`), "3Gi", "5Gi", 1))
	p.until("the clone is a volume", p.get("{.status.phase}", "pvc", "cloned"), "Bound")

	p.apply(fmt.Sprintf(`{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"wrong"},"provisioner":%q,"parameters":{"encrypted":"perhaps"}}`, driver))
	p.apply(claim("wrong", `,"storageClassName":"wrong"`))
	p.until("who asks for what there is not reads why in the claim's events", func() string {
		said := p.get("{.items[*].message}", "events", "--field-selector=involvedObject.name=wrong,reason=ProvisioningFailed")()
		return fmt.Sprint(strings.Contains(said, "it must be true or false"))
	}, "true")
	p.kubectl("delete", "--wait=false", "volumeattachment", "a")
	p.kubectl("delete", "--wait=false", "pvc", "--all")
	p.kubectl("delete", "--wait=false", "volumesnapshot", "--all")
	p.until("all volumes are gone at the vendor", func() string {
		v, _ := f.Volumes().List(t.Context(), "c")
		s, _ := f.Volumes().Snapshots().List(t.Context(), "c")
		return fmt.Sprint(len(v), " ", len(s))
	}, "0 0")
	p.until("and in the cluster", func() string { return p.kubectl("get", "pv,volumesnapshotcontents", "-o", "name") }, "")
	if r := refused(); len(r) > 0 {
		t.Errorf("the API server refused the sidecars: %v", r)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func machines(t *testing.T, f *fake.Fake) string {
	t.Helper()
	n, err := f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "c", Name: "net"})
	if err != nil {
		t.Fatal(err)
	}
	zone := f.Caps().Zones[1]
	if _, err := f.Machines().Create(t.Context(), providers.MachineSpec{Owner: "c", Name: "one", Network: n.ID, Type: "small", Zone: zone}); err != nil {
		t.Fatal(err)
	}
	return zone
}

func serveDriver(t *testing.T, p *plane, f *fake.Fake, driver string) {
	t.Helper()
	l, err := net.Listen("unix", p.dir+"/csi.sock")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	d := csi.New(csi.Options{Name: driver, Owner: "c", Provider: f, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	spec.RegisterIdentityServer(s, d)
	spec.RegisterControllerServer(s, d)
	go s.Serve(l) // to the end of the process: the sidecars end theirs when they lose it
}

// watchRefusals notes what the API server forbids.
func watchRefusals(c *rest.Config) func() []string {
	all := make(chan string, 1000)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(q *http.Request) (*http.Response, error) {
			r, err := next.RoundTrip(q)
			if err == nil && r.StatusCode == http.StatusForbidden {
				select {
				case all <- q.Method + " " + q.URL.Path:
				default:
				}
			}
			return r, err
		})
	})
	return func() (got []string) {
		for len(all) > 0 {
			got = append(got, <-all)
		}
		return got
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }
