package fake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

func network(name string) providers.NetworkSpec {
	return providers.NetworkSpec{Owner: "demo", Name: name}
}

func machine(n providers.ID, name string) providers.MachineSpec {
	return providers.MachineSpec{Owner: "demo", Name: name, Network: n, Type: "small"}
}

// must returns v or ends the test.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestParse(t *testing.T) {
	got, err := fake.Parse([]byte(`{
		"latency": {"create": "50ms", "machine.delete": "1s"},
		"quota": {"machine": 3},
		"faults": [{"noun": "machine", "verb": "create", "name": "demo-cp-0", "nth": 2, "times": -1, "error": "capacity", "retry_after": "3s"},
			{"error": "unavailable", "partial": 2, "verb": "delete"}, {"error": "throttled", "after": true, "rate": 0.3}],
		"lag": "2s",
		"limits": [{"verbs": ["create"], "per_second": 2.5, "burst": 5}],
		"seed": 7,
		"lacks": ["snapshot", "udp"]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := fake.Options{
		Latency: map[string]fake.Duration{"create": fake.Duration(50 * time.Millisecond), "machine.delete": fake.Duration(time.Second)},
		Quota:   map[providers.Noun]int{"machine": 3},
		Faults: []fake.Fault{
			{Noun: "machine", Verb: "create", Name: "demo-cp-0", Nth: 2, Times: -1, Error: providers.Capacity, RetryAfter: fake.Duration(3 * time.Second)},
			{Error: providers.Unavailable, Partial: 2, Verb: "delete"},
			{Error: providers.Throttled, After: true, Rate: 0.3},
		},
		Limits: []fake.Limit{{Verbs: []providers.Verb{"create"}, PerSecond: 2.5, Burst: 5}},
		Seed:   7,
		Lag:    fake.Duration(2 * time.Second),
		Lacks:  []string{"snapshot", "udp"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %+v\nwant    %+v", got, want)
	}
	again := must[fake.Options](t)(fake.Parse(must[[]byte](t)(json.Marshal(want))))
	if !reflect.DeepEqual(again, want) {
		t.Errorf("written and read again: %+v\nwant %+v", again, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ in, says string }{
		{``, "EOF"},
		{`{"latency": 3}`, "latency"},
		{`{"latency": {"create": "soon"}}`, "soon"},
		{`{"latency": {"fly": "1s"}}`, `there is no such call`},
		{`{"latency": {"network.resize": "1s"}}`, `there is no such call`},
		{`{"latency": {"machine.": "1s"}}`, `there is no such call`},
		{`{"latency": {"create": "-1s"}}`, "negative"},
		{`{"quota": {"planet": 1}}`, "planet"},
		{`{"quota": {"machine": -1}}`, "negative"},
		{`{"lag": "-1s"}`, "negative"},
		{`{"lacks": ["machine"]}`, "cannot be taken away"},
		{`{"faults": [{}]}`, "fault 0: there is no kind of error"},
		{`{"faults": [{"error": "bad luck"}]}`, "bad luck"},
		{`{"faults": [{"error": "quota", "verb": "attach", "noun": "machine"}]}`, "there is no call"},
		{`{"faults": [{"error": "quota", "nth": -1}]}`, "negative"},
		{`{"faults": [{"error": "quota", "partial": 1, "after": true}]}`, "either"},
		{`{"faults": [{"error": "quota", "partial": 1, "verb": "list"}]}`, "sub-calls"},
		{`{"faults": [{"error": "quota", "rate": 1.5}]}`, "no probability"},
		{`{"limits": [{"per_second": 1}]}`, "limit 0: 1 per second, 0 at once"},
		{`{"limits": [{"verbs": ["fly"], "per_second": 1, "burst": 1}]}`, "there is no call"},
		{`{"limits": [{"nouns": ["planet"], "per_second": 1, "burst": 1}]}`, "planet"},
		{`{"account": {"cpus": -1}}`, "-1 processors"},
		{`{"account": {"problems": [{"kind": "odd", "noun": "machine", "text": "x"}]}}`, "problem 0"},
		{`{"prices": {"date": "today"}}`, "today"},
		{`{"colour": "red"}`, "colour"},
		{`{} {}`, "more than one"},
	} {
		_, err := fake.Parse([]byte(c.in))
		if !errors.Is(err, providers.Invalid) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("Parse(%s) = %v, want Invalid and %q", c.in, err, c.says)
		}
	}
}

func TestFaults(t *testing.T) {
	type outcome struct {
		partial, there bool
	}
	for _, c := range []struct {
		name  string
		fault fake.Fault
		fails []bool // which of five Creates, of different networks
		first outcome
	}{
		{"before", fake.Fault{Error: providers.Unavailable}, []bool{true, false, false, false, false}, outcome{}},
		{"after", fake.Fault{Error: providers.Unavailable, After: true}, []bool{true, false, false, false, false}, outcome{there: true}},
		{"partial", fake.Fault{Error: providers.Unavailable, Partial: 3}, []bool{true, false, false, false, false}, outcome{true, true}},
		{"partial beyond the end", fake.Fault{Error: providers.Unavailable, Partial: 9}, []bool{true, false, false, false, false}, outcome{there: true}},
		{"nth and times", fake.Fault{Error: providers.Unavailable, Nth: 2, Times: 2}, []bool{false, true, true, false, false}, outcome{there: true}},
		{"for ever", fake.Fault{Error: providers.Unavailable, Nth: 3, Times: -1}, []bool{false, false, true, true, true}, outcome{there: true}},
		{"by name", fake.Fault{Error: providers.Unavailable, Name: "n3"}, []bool{false, false, false, true, false}, outcome{there: true}},
		{"another kind", fake.Fault{Error: providers.Unavailable, Noun: "machine"}, make([]bool, 5), outcome{there: true}},
		{"another verb", fake.Fault{Error: providers.Unavailable, Verb: "delete"}, make([]bool, 5), outcome{there: true}},
	} {
		f := fake.New(fake.Options{Faults: []fake.Fault{c.fault}})
		for i, fails := range c.fails {
			_, err := f.Networks().Create(t.Context(), network(fmt.Sprintf("n%d", i)))
			if fails != (providers.KindOf(err) == providers.Unavailable) || !fails && err != nil {
				t.Errorf("%s: Create %d = %v, want failure = %v", c.name, i, err, fails)
			}
		}
		f.SetFaults(nil)
		var got outcome
		for _, n := range must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")) {
			if n.Name == "n0" {
				got = outcome{n.Partial, true}
			}
		}
		if got != c.first {
			t.Errorf("%s: the first network is %+v, want %+v", c.name, got, c.first)
		}
	}
}

func TestFaultByNameOfAnID(t *testing.T) {
	f := fake.New(fake.Options{Faults: []fake.Fault{{Verb: "delete", Name: "b", Partial: 1, Error: providers.Denied}}})
	for _, name := range []string{"a", "b"} {
		n := must[providers.Network](t)(f.Networks().Create(t.Context(), network(name)))
		err := f.Networks().Delete(t.Context(), n.ID)
		if (name == "b") != errors.Is(err, providers.Denied) {
			t.Errorf("Delete of %s = %v", name, err)
		}
	}
	left := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo"))
	if len(left) != 1 || !left[0].Partial {
		t.Errorf("after a Delete that was cut off: %+v, want it Partial", left)
	}
}

func TestQuota(t *testing.T) {
	f := fake.New(fake.Options{Quota: map[providers.Noun]int{"machine": 2}})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	a := must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, "a")))
	must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, "b")))
	if _, err := f.Machines().Create(t.Context(), machine(n.ID, "c")); !errors.Is(err, providers.Quota) {
		t.Errorf("the third of 2 = %v, want Quota", err)
	}
	if _, err := f.Machines().Create(t.Context(), machine(n.ID, "a")); !errors.Is(err, providers.Exists) {
		t.Errorf("one that is there = %v, want Exists", err)
	}
	if err := f.Machines().Delete(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, "c")))
}

func TestQuotaOfAddresses(t *testing.T) {
	f := fake.New(fake.Options{})
	spec := network("tiny")
	spec.CIDR = netip.MustParsePrefix("10.0.0.0/29")
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), spec))
	seen := map[netip.Addr]bool{}
	for i := range 5 {
		m := must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, fmt.Sprintf("m%d", i))))
		if seen[m.Private] || !spec.CIDR.Contains(m.Private) {
			t.Errorf("machine %d has address %s", i, m.Private)
		}
		seen[m.Private] = true
	}
	for _, kept := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.7"} {
		if seen[netip.MustParseAddr(kept)] {
			t.Errorf("a machine has %s, which is the network's own", kept)
		}
	}
	if _, err := f.Machines().Create(t.Context(), machine(n.ID, "full")); !errors.Is(err, providers.Quota) {
		t.Errorf("in a full network: %v, want Quota", err)
	}
}

func TestLatencyAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Options{Latency: map[string]fake.Duration{
			"create": fake.Duration(4 * time.Second), "network.list": fake.Duration(time.Second)}})
		start := time.Now()
		took := func(want time.Duration) {
			t.Helper()
			if got := time.Since(start); got != want {
				t.Errorf("it took %s, want %s", got, want)
			}
			start = time.Now()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		_, err := f.Networks().Create(ctx, network("main"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cut off: %v, want the context's error", err)
		}
		took(2500 * time.Millisecond)
		all := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo"))
		took(time.Second)
		if len(all) != 1 || !all[0].Partial || f.Writes() != 2 {
			t.Fatalf("after 2 of 4 sub-calls: %+v and %d writes", all, f.Writes())
		}
		n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
		took(2 * time.Second)
		if n.Partial || n.ID != all[0].ID || f.Writes() != 4 {
			t.Errorf("completed: %+v after %d writes, want %s after 4", n, f.Writes(), all[0].ID)
		}
		if _, err := f.Networks().Get(t.Context(), n.ID); err != nil {
			t.Error(err)
		}
		took(0)
	})
}

func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Options{Lag: fake.Duration(10 * time.Second)})
		n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
		count := func(want int) {
			t.Helper()
			if all := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")); len(all) != want {
				t.Errorf("List has %d networks, want %d", len(all), want)
			}
			if _, err := f.Networks().Get(t.Context(), n.ID); (err == nil) != (want == 1) {
				t.Errorf("Get = %v, want it there: %v", err, want == 1)
			}
		}
		time.Sleep(9 * time.Second)
		count(0)
		if _, err := f.Networks().Create(t.Context(), network("main")); !errors.Is(err, providers.Exists) {
			t.Errorf("Create of what readers do not see yet = %v, want Exists", err)
		}
		time.Sleep(time.Second)
		count(1)
		if err := f.Networks().Delete(t.Context(), n.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		count(1)
		time.Sleep(time.Second)
		count(0)
	})
}

// TestDerived holds IDs, addresses and keys to what depends on nothing but names.
func TestDerived(t *testing.T) {
	build := func(names ...string) map[string]providers.Machine {
		f := fake.New(fake.Options{})
		n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
		got := map[string]providers.Machine{}
		for _, name := range names {
			got[name] = must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, name)))
		}
		return got
	}
	a, b := build("demo-cp-0", "demo-workers-0", "demo-workers-1"), build("demo-workers-1", "demo-cp-0", "demo-workers-0")
	if !reflect.DeepEqual(a, b) {
		t.Errorf("in another order they are others:\n%+v\n%+v", a, b)
	}
	m := a["demo-cp-0"]
	if m.ID != "machine.demo.demo-cp-0.1" || m.NodeID != "fake:///"+m.Zone+"/"+string(m.ID) || m.SSH.IsValid() {
		t.Errorf("ID %s, NodeID %s, SSH %s", m.ID, m.NodeID, m.SSH)
	}
	if len(m.HostKeys) != 1 || len(m.HostKeys[0]) != len("ssh-ed25519 ")+68 || m.HostKeys[0] == a["demo-workers-0"].HostKeys[0] {
		t.Errorf("host keys %v, want one ed25519 key of its own", m.HostKeys)
	}
}

func TestNetworksOfOneOwnerDoNotOverlap(t *testing.T) {
	f := fake.New(fake.Options{})
	var all []netip.Prefix
	for i := range 16 {
		n := must[providers.Network](t)(f.Networks().Create(t.Context(), network(fmt.Sprintf("n%d", i))))
		for _, other := range all {
			if other.Overlaps(n.CIDR) {
				t.Errorf("%s overlaps %s", n.CIDR, other)
			}
		}
		all = append(all, n.CIDR)
	}
	if _, err := f.Networks().Create(t.Context(), network("n16")); !errors.Is(err, providers.Quota) {
		t.Errorf("the 17th range = %v, want Quota", err)
	}
}

func TestZonesAreSpread(t *testing.T) {
	f := fake.New(fake.Options{})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	count := map[string]int{}
	for i := range 300 {
		count[must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, fmt.Sprintf("m-%d", i)))).Zone]++
	}
	for _, z := range f.Caps().Zones {
		if count[z] < 70 {
			t.Errorf("of 300 machines %d are in zone %s", count[z], z)
		}
	}
}

func TestVolumeInAnotherZone(t *testing.T) {
	f := fake.New(fake.Options{})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	spec := machine(n.ID, "m")
	spec.Zone = "a"
	m := must[providers.Machine](t)(f.Machines().Create(t.Context(), spec))
	v := must[providers.Volume](t)(f.Volumes().Create(t.Context(), providers.VolumeSpec{Owner: "demo", Name: "v", SizeGiB: 1, Zone: "b"}))
	if _, err := f.Volumes().Attach(t.Context(), v.ID, m.ID); !errors.Is(err, providers.Invalid) {
		t.Errorf("Attach across zones = %v, want Invalid", err)
	}
}

// TestMachineTakesSoManyVolumes attaches as many as the machine's type says, and one more.
func TestMachineTakesSoManyVolumes(t *testing.T) {
	f := fake.New(fake.Options{})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	spec := machine(n.ID, "m")
	spec.Type = "small"
	m := must[providers.Machine](t)(f.Machines().Create(t.Context(), spec))
	types := must[[]providers.MachineType](t)(f.Machines().Types(t.Context()))
	most := types[slices.IndexFunc(types, func(mt providers.MachineType) bool { return mt.Name == "small" })].Volumes
	for i := range most + 1 {
		v := must[providers.Volume](t)(f.Volumes().Create(t.Context(), providers.VolumeSpec{Owner: "demo", Name: fmt.Sprint("v", i), SizeGiB: 1, Zone: m.Zone}))
		_, err := f.Volumes().Attach(t.Context(), v.ID, m.ID)
		if over := i == most; over != errors.Is(err, providers.Quota) || !over && err != nil {
			t.Fatalf("volume %d of %d: %v", i+1, most, err)
		}
	}
}

func TestDeletedMachineLeavesItsBalancers(t *testing.T) {
	f := fake.New(fake.Options{})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	a := must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, "a")))
	b := must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, "b")))
	l := must[providers.LoadBalancer](t)(f.LoadBalancers().Create(t.Context(), providers.LoadBalancerSpec{
		Owner: "demo", Name: "api", Network: n.ID, Targets: []providers.ID{b.ID, a.ID},
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 6443, TargetPort: 6443}}}))
	if err := f.Machines().Delete(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	l = must[providers.LoadBalancer](t)(f.LoadBalancers().Get(t.Context(), l.ID))
	if !reflect.DeepEqual(l.Targets, []providers.ID{b.ID}) {
		t.Errorf("its targets are %v, want %s alone", l.Targets, b.ID)
	}
}
