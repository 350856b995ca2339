package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	karpenter "sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/operator/options"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// guests are the invitations that are open.
type guests struct {
	open map[string]bool
	runs string
}

func (g *guests) invite(_ context.Context, machine string) ([]byte, string, error) {
	g.open[machine] = true
	return []byte("#!" + machine), g.runs, nil
}

func (g *guests) revoke(_ context.Context, machine string) error {
	delete(g.open, machine)
	return nil
}

func (g *guests) bundle() (string, error) { return g.runs, nil }

// open returns the vendor that behaves so, as Karpenter sees it, with a pool.
func open(t *testing.T, o fake.Options, change func(*templates.CloudPool)) (*cloud, *guests) {
	t.Helper()
	p := fake.New(o)
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	pool := templates.CloudPool{Name: "burst", Max: 4, Types: []string{"small", "medium"}, Zones: []string{"b"}}
	if change != nil {
		change(&pool)
	}
	g := &guests{open: map[string]bool{}, runs: "b1"}
	conf := templates.Cloud{Cluster: "demo", UID: "u-1", Vendor: "fake", Network: string(n.ID), Pools: []templates.CloudPool{pool}, AuthorizedKeys: []string{"ssh-ed25519 AAAA"}}
	return newCloud(conf, p, g), g
}

// ctx is one as Karpenter has them.
func ctx(t *testing.T) context.Context { return options.ToContext(t.Context(), karpenterOptions()) }

func claim(name, cpu string, types ...string) *karpv1.NodeClaim {
	c := &karpv1.NodeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-" + "1"}}
	c.Spec.NodeClassRef = &karpv1.NodeClassReference{Group: "provision.sh", Kind: "MachineClass", Name: "burst"}
	c.Spec.Requirements = []karpv1.NodeSelectorRequirementWithMinValues{{Key: corev1.LabelInstanceTypeStable, Operator: corev1.NodeSelectorOpIn, Values: types}}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	return c
}

func TestCreate(t *testing.T) {
	c, g := open(t, fake.Options{}, nil)
	got, err := c.Create(ctx(t), claim("burst-x7k2q", "1", "small", "medium"))
	if err != nil {
		t.Fatal(err)
	}
	l := got.Labels
	if l[corev1.LabelInstanceTypeStable] != "small" || l[corev1.LabelTopologyZone] != "b" || l[karpv1.CapacityTypeLabelKey] != "on-demand" || l[corev1.LabelArchStable] != "amd64" || got.Annotations[bundleKey] != "b1" {
		t.Errorf("labels %v, annotations %v", l, got.Annotations)
	}
	again, err := c.Create(ctx(t), claim("burst-x7k2q", "1", "small", "medium"))
	ms, _ := c.provider.Machines().List(t.Context(), "demo")
	if err != nil || again.Status.ProviderID != got.Status.ProviderID || len(ms) != 1 || !g.open["demo-burst-x7k2q"] {
		t.Fatalf("a second call: %v, %v; machines %v", again, err, ms)
	}
	if m := ms[0]; m.Name != "demo-burst-x7k2q" || m.Pool != "burst" || m.Tags[uidTag] != "u-1" || m.NodeID != got.Status.ProviderID {
		t.Errorf("machine %+v", m)
	}
	other := claim("burst.min-x7k2q", "1", "small")
	other.UID = "uid-2"
	if _, err := c.Create(ctx(t), other); !karpenter.IsInsufficientCapacityError(err) {
		t.Errorf("another claim whose machine would have the same name: %v, want it made anew", err)
	}
	if err := c.Delete(ctx(t), got); !karpenter.IsNodeClaimNotFoundError(err) || g.open["demo-burst-x7k2q"] {
		t.Errorf("delete: %v; invitations %v", err, g.open)
	}
	if _, err := c.Get(ctx(t), got.Status.ProviderID); !karpenter.IsNodeClaimNotFoundError(err) {
		t.Errorf("it is still there: %v", err)
	}
	if err := c.Delete(ctx(t), got); !karpenter.IsNodeClaimNotFoundError(err) {
		t.Errorf("delete again: %v", err)
	}
}

func TestCreateFails(t *testing.T) {
	fail := func(kind providers.Kind, times int) fake.Options {
		return fake.Options{Faults: []fake.Fault{{Noun: providers.MachineNoun, Verb: providers.CreateVerb, Times: times, Error: kind}}}
	}
	for _, x := range []struct {
		name string
		o    fake.Options
		want func(error) bool
	}{
		{"none of anything", fail(providers.Capacity, -1), karpenter.IsInsufficientCapacityError},
		{"quota", fail(providers.Quota, -1), karpenter.IsInsufficientCapacityError},
		{"a right is missing", fail(providers.Denied, -1), karpenter.IsNodeClassNotReadyError},
		{"not accepted", fail(providers.Invalid, -1), karpenter.IsNodeClassNotReadyError},
		{"not answering", fail(providers.Unavailable, -1), func(err error) bool {
			var e *karpenter.CreateError
			return errors.As(err, &e) && e.ConditionReason == "VendorNotAnswering"
		}},
	} {
		c, g := open(t, x.o, nil)
		if _, err := c.Create(ctx(t), claim("burst-aaaaa", "1", "small", "medium")); !x.want(err) {
			t.Errorf("%s: %v", x.name, err)
		}
		if len(g.open) > 0 {
			t.Errorf("%s: a token is left", x.name)
		}
	}
	// The first choice is sold out once: the next is taken at once, and the first not offered for a while.
	c, _ := open(t, fail(providers.Capacity, 1), nil)
	got, err := c.Create(ctx(t), claim("burst-aaaaa", "1", "small", "medium"))
	if err != nil || got.Labels[corev1.LabelInstanceTypeStable] != "medium" {
		t.Fatalf("the next choice: %v, %v", got, err)
	}
	types, err := c.GetInstanceTypes(ctx(t), nodePool(c.conf.Pools[0], "burst", time.Second))
	if err != nil || len(types) != 2 {
		t.Fatal(types, err)
	}
	for _, it := range types {
		if len(it.Offerings.Available()) != map[string]int{"small": 0, "medium": 1}[it.Name] {
			t.Errorf("%s is offered as %v", it.Name, it.Offerings)
		}
	}
}

// A create that is cut off in the middle is begun anew, with an invitation that is good.
func TestHalfMadeMachine(t *testing.T) {
	c, g := open(t, fake.Options{Faults: []fake.Fault{{Noun: providers.MachineNoun, Verb: providers.CreateVerb, Error: providers.Unavailable, Partial: 1}}}, nil)
	if _, err := c.Create(ctx(t), claim("burst-aaaaa", "1", "small")); err == nil {
		t.Fatal("the vendor's fault was not seen")
	}
	if got, err := c.Create(ctx(t), claim("burst-aaaaa", "1", "small")); err != nil || !g.open["demo-burst-aaaaa"] {
		t.Errorf("got %v, %v", got, err)
	}
	if ms, _ := c.provider.Machines().List(t.Context(), "demo"); len(ms) != 1 || ms[0].Partial {
		t.Errorf("machines %v", ms)
	}
}

func TestTooLargeForAll(t *testing.T) {
	c, _ := open(t, fake.Options{}, nil)
	if _, err := c.Create(ctx(t), claim("burst-aaaaa", "64", "small", "medium")); !karpenter.IsInsufficientCapacityError(err) {
		t.Errorf("got %v", err)
	}
}

func TestDrift(t *testing.T) {
	c, g := open(t, fake.Options{}, nil)
	made, err := c.Create(ctx(t), claim("burst-aaaaa", "1", "small"))
	if err != nil {
		t.Fatal(err)
	}
	made.Spec.NodeClassRef = &karpv1.NodeClassReference{Name: "burst"}
	for _, x := range []struct {
		change func()
		want   karpenter.DriftReason
	}{
		{func() {}, ""},
		{func() { c.conf.Pools[0].DiskGiB = 99 }, driftDisk},
		{func() { c.conf.Pools[0].Image = "ubuntu" }, driftImage},
		{func() { g.runs = "b2" }, driftBundle},
	} {
		x.change()
		if got, err := c.IsDrifted(ctx(t), made); err != nil || got != x.want {
			t.Errorf("drifted by %q, %v; want %q", got, err, x.want)
		}
	}
}

func TestEveryKindHasAVerdict(t *testing.T) {
	for _, k := range providers.Kinds() {
		if _, ok := verdicts()[k]; !ok {
			t.Errorf("nothing follows from %s", k)
		}
		if got := judge(fmt.Errorf("x: %w", k)); got != verdicts()[k] {
			t.Errorf("%s: %v", k, got)
		}
	}
}

func TestNodePools(t *testing.T) {
	for _, x := range []struct {
		min, max int
		want     string
	}{{0, 4, "burst:4"}, {1, 4, "burst.min=1:2 burst:3"}, {3, 3, "burst.min=3:4"}} {
		var got []string
		for _, np := range nodePools(templates.CloudPool{Name: "burst", Min: x.min, Max: x.max, Types: []string{"small"}}, time.Second) {
			nodes := np.Spec.Limits["nodes"]
			s := np.Name
			if np.Spec.Replicas != nil {
				s += fmt.Sprintf("=%d", *np.Spec.Replicas)
			}
			got = append(got, s+":"+nodes.String())
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%d to %d machines: %v, want %s", x.min, x.max, got, x.want)
		}
	}
}

// A machine whose claim is gone is given back, after a while; others, and other clusters', are not.
func TestOrphans(t *testing.T) {
	register()
	c, _ := open(t, fake.Options{}, nil)
	made, err := c.Create(ctx(t), claim("burst-aaaaa", "1", "small"))
	if err != nil {
		t.Fatal(err)
	}
	person := providers.MachineSpec{Owner: "demo", Name: "demo-workers-0", Network: providers.ID(c.conf.Network), Type: "small"}
	if _, err := c.provider.Machines().Create(t.Context(), person); err != nil {
		t.Fatal(err)
	}
	with := func(objects ...client.Object) *orphans {
		return &orphans{client: clientfake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...).Build(), cloud: c}
	}
	now := time.Now()
	there := with(claim("burst-aaaaa", "1", "small"))
	for _, after := range []time.Duration{0, time.Hour} {
		if err := there.collect(ctx(t), now.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(ctx(t), made.Status.ProviderID); err != nil {
		t.Fatalf("a machine with a claim is gone: %v", err)
	}
	gone := with()
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{0, 2}, {orphanGrace / 2, 2}, {orphanGrace, 1}} {
		if err := gone.collect(ctx(t), now.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if ms, _ := c.provider.Machines().List(t.Context(), "demo"); len(ms) != step.left {
			t.Errorf("after %v: %d machines, want %d", step.after, len(ms), step.left)
		}
	}
}

// Questions of the same moment are one call of the vendor.
func TestListsAreShared(t *testing.T) {
	calls := 0
	c, _ := open(t, fake.Options{}, nil)
	c.provider = providers.Wrap(c.provider, func(ctx context.Context, _ *providers.Call, next func(context.Context) error) error {
		calls++
		return next(ctx)
	})
	for range 100 {
		if _, err := c.List(ctx(t)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Get(ctx(t), "x")
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestTokenID(t *testing.T) {
	if a, b := tokenID("demo-burst-aaaaa"), tokenID("demo-burst-aaaab"); len(a) != 6 || a == b || a != tokenID("demo-burst-aaaaa") {
		t.Errorf("%q and %q", a, b)
	}
}
