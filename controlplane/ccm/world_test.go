package ccm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	cloudapi "k8s.io/cloud-provider/api"

	"github.com/provisionhq/provision/providers"
	vendorfake "github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/limit"
	"github.com/provisionhq/provision/templates"
)

const owner = "blue"

// A world is a cluster's API and its vendor, both in memory, in simulated time.
type world struct {
	t       *testing.T
	client  *fake.Clientset
	vendor  *vendorfake.Fake
	network providers.ID
	cloud   templates.Cloud

	limits []limit.Rate // that the agent keeps to

	mu        sync.Mutex
	calls     map[string]int // of the vendor, by noun and verb
	throttled int            // of them
	fails     map[string]providers.Kind
	named     int // events
}

func newWorld(t *testing.T, o vendorfake.Options) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(), vendor: vendorfake.New(o), calls: map[string]int{}, fails: map[string]providers.Kind{}}
	w.client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
		// Their names are of the time, which stands still here where it would go on by a microsecond.
		w.mu.Lock()
		defer w.mu.Unlock()
		w.named++
		a.(clienttesting.CreateAction).GetObject().(*v1.Event).Name += fmt.Sprintf("-%d", w.named)
		return false, nil, nil
	})
	n, err := w.vendor.Networks().Create(t.Context(), providers.NetworkSpec{Owner: owner, Name: "net", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	w.network = n.ID
	w.cloud = templates.Cloud{Cluster: owner, UID: "u-1", Vendor: "fake", Network: string(n.ID), Options: map[string]any{"region": "north"}}
	return w
}

// provider is the vendor with its calls counted, and failing where the test says so.
func (w *world) provider() providers.Provider {
	counted := providers.Wrap(w.vendor, func(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
		name := fmt.Sprintf("%s.%s", c.Noun, c.Verb)
		w.mu.Lock()
		w.calls[name]++
		kind := w.fails[name]
		w.mu.Unlock()
		if kind != "" {
			return fmt.Errorf("%s: %w: the test says so", name, kind)
		}
		err := next(ctx)
		if errors.Is(err, providers.Throttled) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.throttled++
		}
		return err
	})
	return limit.Wrap(counted, limit.Options{Rates: w.limits})
}

func (w *world) fail(call string, k providers.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails[call] = k
}

func (w *world) called(call string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[call]
}

func (w *world) allCalls() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		n += c
	}
	return n
}

// run leads for as long as the test does.
func (w *world) run() { w.t.Cleanup(w.lead()) }

// lead leads until stop is called.
func (w *world) lead() (stop func()) {
	w.t.Helper()
	o := Options{Cloud: w.cloud, Client: w.client, Identity: "test"}
	if !w.cloud.Blind {
		o.Provider = w.provider()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Lead(ctx, o) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("lead: %v", err)
		}
	}
}

// machine makes a machine of the pool w.
func (w *world) machine(name string) providers.Machine {
	w.t.Helper()
	m, err := w.vendor.Machines().Create(w.t.Context(), providers.MachineSpec{Owner: owner, Name: name, Network: w.network, Type: "small"})
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// node registers a node, as its kubelet does. Without an ID it waits to be completed.
func (w *world) node(name, id string, private netip.Addr) *v1.Node {
	w.t.Helper()
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Now(), UID: types.UID("node-" + name)}, Spec: v1.NodeSpec{ProviderID: id}}
	n.Spec.Taints = []v1.Taint{{Key: cloudapi.TaintExternalCloudProvider, Value: "true", Effect: v1.TaintEffectNoSchedule}}
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	if private.IsValid() {
		n.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: private.String()}}
	}
	n, err := w.client.CoreV1().Nodes().Create(w.t.Context(), n, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// joined makes machines and their nodes, and waits until they are complete. Upstream's service controller has a data race of
// its own between a Service that comes and a node that does (serviceCache's state, a pointer), which tests keep out of.
func (w *world) joined(names ...string) (machines []providers.Machine) {
	w.t.Helper()
	for _, name := range names {
		m := w.machine(name)
		w.node(name, m.NodeID, m.Private)
		machines = append(machines, m)
	}
	time.Sleep(3 * time.Second) // lists are a second apart
	return machines
}

// unready makes the node say that it is not ready, or that it is.
func (w *world) unready(name string, status v1.ConditionStatus) {
	w.t.Helper()
	n := w.get(name)
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: status, LastTransitionTime: metav1.Now()}}
	if _, err := w.client.CoreV1().Nodes().UpdateStatus(w.t.Context(), n, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// get returns the node; nil if it is gone.
func (w *world) get(name string) *v1.Node {
	n, err := w.client.CoreV1().Nodes().Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return n
}

// newService is a Service with one TCP port, as the API server completes it.
func newService(name string, edit ...func(*v1.Service)) *v1.Service {
	s := &v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.Now(), Annotations: map[string]string{}}}
	s.Spec = v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.9", IPFamilies: []v1.IPFamily{v1.IPv4Protocol},
		Ports: []v1.ServicePort{{Name: "http", Protocol: v1.ProtocolTCP, Port: 80, NodePort: 30080}}}
	for _, e := range edit {
		e(s)
	}
	return s
}

func (w *world) create(s *v1.Service) {
	w.t.Helper()
	if _, err := w.client.CoreV1().Services(s.Namespace).Create(w.t.Context(), s, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) service(name string) *v1.Service {
	s, err := w.client.CoreV1().Services("web").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return s
}

func (w *world) edit(name string, edit func(*v1.Service)) {
	w.t.Helper()
	s := w.service(name)
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	edit(s)
	s.ResourceVersion += "1"
	if _, err := w.client.CoreV1().Services("web").Update(w.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// delete asks for the Service's deletion, which its finalizer delays, and lets go of it when there is none any more, as
// the API server does.
func (w *world) delete(name string) {
	w.t.Helper()
	w.edit(name, func(s *v1.Service) { now := metav1.Now(); s.DeletionTimestamp = &now })
	for range 600 {
		if s := w.service(name); len(s.Finalizers) == 0 {
			if err := w.client.CoreV1().Services("web").Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
				w.t.Fatal(err)
			}
			return
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("the Service %s keeps its finalizer", name)
}

// address is where the Service is reached; empty if nowhere.
func (w *world) address(name string) string {
	if s := w.service(name); s != nil && len(s.Status.LoadBalancer.Ingress) > 0 {
		return s.Status.LoadBalancer.Ingress[0].IP
	}
	return ""
}

// balancersThere are what the vendor has.
func (w *world) balancersThere() []providers.LoadBalancer {
	w.t.Helper()
	all, err := w.vendor.LoadBalancers().List(w.t.Context(), owner)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// events are those of the object, reason and message.
func (w *world) events(name string) (all []string) {
	w.t.Helper()
	l, err := w.client.CoreV1().Events("").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range l.Items {
		if e.InvolvedObject.Name == name {
			all = append(all, e.Reason+": "+e.Message)
		}
	}
	return all
}

// told fails the test unless an event of the object has the words.
func (w *world) told(name, words string) {
	w.t.Helper()
	if all := w.events(name); !slices.ContainsFunc(all, func(e string) bool { return strings.Contains(e, words) }) {
		w.t.Errorf("no event of %s says %q:\n%s", name, words, strings.Join(all, "\n"))
	}
}

// table is the ConfigMap's content.
func (w *world) table() map[string][]string {
	w.t.Helper()
	m, err := w.client.CoreV1().ConfigMaps("kube-system").Get(w.t.Context(), templates.AnnouncementsName, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	var a templates.Announcements
	if err := json.Unmarshal([]byte(m.Data[templates.AnnouncementsKey]), &a); err != nil {
		w.t.Fatal(err)
	}
	got := map[string][]string{}
	for _, x := range a.Addresses {
		got[x.Address.String()] = []string{}
		for _, n := range x.Nodes {
			got[x.Address.String()] = append(got[x.Address.String()], n.Name)
		}
	}
	return got
}
