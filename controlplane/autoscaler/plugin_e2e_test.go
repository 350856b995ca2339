//go:build e2e

package autoscaler

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/remote/plugins"
	"github.com/provisionhq/provision/templates"
)

// TestPluginInAgent runs the cloud agent with a vendor that is a plug-in's program, at a real API server: nodes, a Service, a claim and a
// pending pod get from it what they want, also after it was killed. `make plugin` runs it.
func TestPluginInAgent(t *testing.T) {
	r := newRig(t)
	vendor, err := fake.Open(filepath.Join(r.dir, "vendor"), fake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	network, err := vendor.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vendor.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "w0", Network: network.ID, Type: "small"}); err != nil {
		t.Fatal(err)
	}
	sum := r.plugin()
	agent := r.cloudAgent(templates.Cloud{
		Cluster: "demo", UID: "u-1", Vendor: "fakeplug", Options: map[string]any{"path": filepath.Join(r.dir, "vendor")}, Network: string(network.ID),
		Plugin: &templates.CloudPlugin{SHA256: sum}, Pools: []templates.CloudPool{burst(nil)},
	})
	n := realNode("w0")
	n.Status.Images = nil
	if _, err := r.admin.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.vendor.set(func() { r.vendor.Provider = vendor }) // kubelets are of the machines in the file
	driver := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "w0"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
		{Name: templates.CSIDriver("fakeplug"), NodeID: "w0", TopologyKeys: []string{templates.VolumeZone}},
	}}}
	if _, err := r.admin.StorageV1().CSINodes().Create(t.Context(), driver, metav1.CreateOptions{}); err != nil { // as the node half does
		t.Fatal(err)
	}
	took := r.eventually("the node is taken up", time.Minute, func() (bool, string) {
		n, err := r.admin.CoreV1().Nodes().Get(t.Context(), "w0", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return strings.HasPrefix(n.Spec.ProviderID, "fakeplug:///") && len(n.Spec.Taints) == 0, fmt.Sprint(n.Spec)
	})
	t.Logf("node taken up %.1f s after it came", took.Seconds())
	r.served("first")
	r.bound("first")

	was := agent.plugin(t)
	if err := syscall.Kill(was, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.served("second")
	r.bound("second")
	if now := agent.plugin(t); now == was {
		t.Errorf("the plug-in is process %d still", was)
	}

	r.pod("waits", "1")
	m := r.placed("waits", 2*time.Minute)
	if !strings.HasPrefix(m.NodeID, "fake") || m.Pool != "burst" {
		t.Errorf("its machine is %+v", m)
	}
	r.kill("waits")
	took = r.eventually("the machine is given back", 4*time.Minute, func() (bool, string) { ms := r.machines(); return len(ms) == 1, fmt.Sprint(ms) })
	t.Logf("given back after %.1f s", took.Seconds())
}

// plugin puts the fake as a plug-in where the agent looks for it, and returns its sum.
func (r *rig) plugin() string {
	r.t.Helper()
	path := filepath.Join(r.dir, "root", templates.PluginPath("fakeplug"))
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "../../providers/remote/fakeplugin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	sum, err := plugins.Sum(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return sum
}

// plugin is the process of the plug-in, a child of the agent's.
func (a *agentProcess) plugin(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		b, _ := os.ReadFile(f)
		name, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(a.pid) && strings.Contains(name, "provision-prov") {
			pid, _ := strconv.Atoi(strings.Fields(name)[0])
			return pid
		}
	}
	t.Fatal("no plug-in runs below the agent")
	return 0
}

// served makes a Service and waits for its address.
func (r *rig) served(name string) {
	r.t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := r.admin.CoreV1().Services("default").Create(r.t.Context(), s, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	took := r.eventually("Service "+name+" has an address", time.Minute, func() (bool, string) {
		s, err := r.admin.CoreV1().Services("default").Get(r.t.Context(), name, metav1.GetOptions{})
		return err == nil && len(s.Status.LoadBalancer.Ingress) > 0, fmt.Sprint(err)
	})
	r.t.Logf("Service %s has an address after %.1f s", name, took.Seconds())
}

// bound makes a claim and waits for its volume.
func (r *rig) bound(name string) {
	r.t.Helper()
	immediate := storagev1.VolumeBindingImmediate
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: templates.CSIDriver("fakeplug"), VolumeBindingMode: &immediate}
	if _, err := r.admin.StorageV1().StorageClasses().Create(r.t.Context(), class, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	// The annotation is Kubernetes' own volume controller's, which does not run here.
	says := map[string]string{"volume.kubernetes.io/storage-provisioner": templates.CSIDriver("fakeplug")}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: says}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &name,
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	if _, err := r.admin.CoreV1().PersistentVolumeClaims("default").Create(r.t.Context(), claim, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	took := r.eventually("claim "+name+" has a volume", time.Minute, func() (bool, string) {
		all, err := r.admin.CoreV1().PersistentVolumes().List(r.t.Context(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, v := range all.Items {
			if c := v.Spec.ClaimRef; c != nil && c.Name == name && v.Spec.CSI != nil && v.Spec.CSI.Driver == templates.CSIDriver("fakeplug") {
				return true, ""
			}
		}
		return false, fmt.Sprint(all.Items)
	})
	r.t.Logf("claim %s has a volume after %.1f s", name, took.Seconds())
}
