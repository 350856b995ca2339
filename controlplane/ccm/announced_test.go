package ccm

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vendorfake "github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// announcing is a world whose nodes announce the addresses from first to last.
func announcing(t *testing.T, first, last string) *world {
	w := newWorld(t, vendorfake.Options{})
	w.cloud.Balancers = []templates.Addresses{{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}}
	return w
}

// endpoints says on which nodes the Service has pods that are ready.
func (w *world) endpoints(name string, nodes ...string) {
	w.t.Helper()
	s := &discovery.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name + "-1", Labels: map[string]string{discovery.LabelServiceName: name}}, AddressType: discovery.AddressTypeIPv4}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discovery.Endpoint{Addresses: []string{"10.244.0.1"}, NodeName: &n})
	}
	slices := w.client.DiscoveryV1().EndpointSlices("web")
	_, err := slices.Update(w.t.Context(), s, metav1.UpdateOptions{})
	if err != nil {
		_, err = slices.Create(w.t.Context(), s, metav1.CreateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAnnouncedLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := announcing(t, "192.0.2.10", "192.0.2.11")
		w.run()
		w.joined("w1", "w2", "w3", "w4")
		time.Sleep(time.Second)
		w.create(newService("shop", func(s *v1.Service) { s.Spec.Ports[0].NodePort = 0 }))
		time.Sleep(time.Second)
		in := w.service("shop").Status.LoadBalancer.Ingress
		if len(in) != 1 || in[0].IP != "192.0.2.10" || *in[0].IPMode != v1.LoadBalancerIPModeVIP {
			t.Fatalf("the status is %+v", in)
		}
		before := w.table()["192.0.2.10"]
		if len(before) != candidates {
			t.Fatalf("the table is %v", w.table())
		}
		others := slices.DeleteFunc([]string{"w1", "w2", "w3", "w4"}, func(n string) bool { return n == before[0] })

		// Another node goes: the address stays. Its own goes: the next one has it.
		w.unready(others[0], v1.ConditionUnknown)
		time.Sleep(time.Second)
		if now := w.table()["192.0.2.10"]; len(now) != candidates || now[0] != before[0] || slices.Contains(now, others[0]) {
			t.Errorf("%s was lost, and the candidates are %v, before %v", others[0], now, before)
		}
		w.unready(others[0], v1.ConditionTrue)
		w.unready(before[0], v1.ConditionUnknown)
		time.Sleep(time.Second)
		if now := w.table()["192.0.2.10"]; len(now) != candidates || now[0] != before[1] {
			t.Errorf("%s was lost, and the candidates are %v, before %v", before[0], now, before)
		}

		w.create(newService("two"))
		time.Sleep(time.Second)
		w.create(newService("three"))
		time.Sleep(10 * time.Second)
		if w.address("two") != "192.0.2.11" || w.address("three") != "" {
			t.Errorf("of two addresses, the second Service has %q and the third %q", w.address("two"), w.address("three"))
		}
		w.told("three", "no IPv4 address is free: Services have all of 192.0.2.10-192.0.2.11")
		w.delete("shop")
		time.Sleep(6 * time.Minute)
		if w.address("three") != "192.0.2.10" {
			t.Errorf("an address was given back, and the Service that waits has %q", w.address("three"))
		}
		w.delete("two")
		w.delete("three")
		time.Sleep(time.Second)
		if len(w.table()) != 0 {
			t.Errorf("all Services are gone, and the table is %v", w.table())
		}
		if n := w.called("balancer.list") + w.called("balancer.create"); n != 0 {
			t.Error("the vendor's balancers were asked for")
		}
	})
}

func TestLocalTrafficGoesWhereThePodsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := announcing(t, "192.0.2.10", "192.0.2.20")
		w.run()
		w.joined("w1", "w2", "w3")
		w.endpoints("shop", "w2")
		w.create(newService("shop", func(s *v1.Service) { s.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal }))
		for _, pods := range [][]string{{"w2"}, {"w3"}, {}, {"w1", "w3"}} {
			w.endpoints("shop", pods...)
			time.Sleep(time.Second)
			got := slices.Clone(w.table()["192.0.2.10"])
			slices.Sort(got)
			if !slices.Equal(got, pods) {
				t.Errorf("pods are on %v, and the candidates are %v", pods, got)
			}
		}
	})
}

func TestWhichNodesAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := announcing(t, "192.0.2.10", "192.0.2.20")
		w.run()
		w.joined("w1", "w2", "w3")
		w.node("theirs", "other://x", netip.MustParseAddr("10.9.0.1"))
		w.create(newService("shop"))
		time.Sleep(time.Second)
		for name, edit := range map[string]func(*v1.Node){
			"w1": func(n *v1.Node) { n.Labels[v1.LabelNodeExcludeBalancers] = "" },
			"w2": func(n *v1.Node) {
				n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: disrupted, Effect: v1.TaintEffectNoSchedule})
			},
		} {
			n := w.get(name)
			edit(n)
			if _, err := w.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if got := w.table()["192.0.2.10"]; !slices.Equal(got, []string{"w3"}) {
			t.Errorf("the candidates are %v, want w3 alone", got)
		}
		w.unready("w3", v1.ConditionUnknown)
		time.Sleep(time.Second)
		if got := w.table()["192.0.2.10"]; !slices.Equal(got, []string{"w3"}) {
			t.Errorf("no node says that it is well, and the candidates are %v, want w3 all the same", got)
		}
	})
}

func TestFixedAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := announcing(t, "192.0.2.10", "192.0.2.20")
		w.run()
		w.joined("w1")
		fixed := func(a string) func(*v1.Service) { return func(s *v1.Service) { s.Annotations[AddressAnnotation] = a } }
		w.create(newService("field", func(s *v1.Service) { s.Spec.LoadBalancerIP = "192.0.2.15" }))
		w.create(newService("metallb", func(s *v1.Service) { s.Annotations["metallb.io/loadBalancerIPs"] = "192.0.2.16" }))
		time.Sleep(time.Second)
		w.create(newService("taken", fixed("192.0.2.15")))
		w.create(newService("outside", fixed("192.0.2.99")))
		w.create(newService("six", fixed("2001:db8::1")))
		w.create(newService("moves"))
		time.Sleep(10 * time.Second)
		for name, want := range map[string]string{"field": "192.0.2.15", "metallb": "192.0.2.16", "taken": "", "outside": "", "six": "", "moves": "192.0.2.10"} {
			if got := w.address(name); got != want {
				t.Errorf("Service %s has %q, want %q", name, got, want)
			}
		}
		w.told("taken", "address 192.0.2.15 is taken by Service web/field")
		w.told("outside", "network { balancers } has 192.0.2.10-192.0.2.20")
		w.told("six", "address 2001:db8::1")
		w.edit("moves", fixed("192.0.2.12"))
		time.Sleep(time.Second)
		if got := w.address("moves"); got != "192.0.2.12" || len(w.table()) != 3 || w.table()[got] == nil {
			t.Errorf("the Service asks for another address and has %s; the table is %v", got, w.table())
		}
		w.delete("field")
		time.Sleep(6 * time.Minute)
		if got := w.address("taken"); got != "192.0.2.15" {
			t.Errorf("the address is free, and the Service that asks for it has %q", got)
		}
	})
}

func TestWhatAnnouncersCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := announcing(t, "192.0.2.10", "192.0.2.20")
		w.run()
		w.joined("w1")
		w.create(newService("proxy", func(s *v1.Service) {
			s.Annotations["service.beta.kubernetes.io/aws-load-balancer-proxy-protocol"] = "*"
		}))
		w.create(newService("ranges", func(s *v1.Service) { s.Annotations[v1.AnnotationLoadBalancerSourceRangesKey] = "192.0.2.0/24" }))
		w.create(newService("dual", func(s *v1.Service) {
			p := v1.IPFamilyPolicyRequireDualStack
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &p, []v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol}
		}))
		time.Sleep(10 * time.Second)
		w.told("proxy", "have no PROXY header")
		w.told("ranges", "put them into spec.loadBalancerSourceRanges")
		w.told("dual", "no IPv6 address is free")
		if len(w.table()) != 0 {
			t.Errorf("the table is %v", w.table())
		}
	})
}

// TestAddressesAreSpread holds the two promises of the order: no node has far more than its share, and a node that goes
// moves its own addresses only.
func TestAddressesAreSpread(t *testing.T) {
	var nodes []*v1.Node
	for i := range 10 {
		n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}}
		n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}
		n.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", i+1)}}
		nodes = append(nodes, n)
	}
	share, first := map[string]int{}, map[netip.Addr]string{}
	a := netip.MustParseAddr("192.0.2.0")
	for range 250 {
		a = a.Next()
		first[a] = announcers(a, nodes)[0].Name
		share[first[a]]++
	}
	for _, n := range nodes {
		if got := share[n.Name]; got < 12 || got > 40 {
			t.Errorf("%s is the first for %d of 250 addresses, with 10 nodes", n.Name, got)
		}
	}
	for a, was := range first {
		if now := announcers(a, nodes[1:])[0].Name; now != was && was != nodes[0].Name {
			t.Errorf("%s left, and %s moved from %s to %s", nodes[0].Name, a, was, now)
		}
	}
}

// TestSomebodyWritesTheTable is put right within half a minute.
func TestSomebodyWritesTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := announcing(t, "192.0.2.10", "192.0.2.20")
		w.run()
		w.joined("w1")
		w.create(newService("shop"))
		time.Sleep(time.Second)
		if err := w.client.CoreV1().ConfigMaps("kube-system").Delete(t.Context(), templates.AnnouncementsName, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck + time.Second)
		if len(w.table()) != 1 {
			t.Errorf("the table is %v", w.table())
		}
	})
}

// TestNoBalancers leaves Services to others, says so, and lets go of those that it once served.
func TestNoBalancers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{Lacks: []string{"balancer"}})
		w.run()
		w.joined("w1")
		w.create(newService("shop"))
		time.Sleep(time.Second)
		w.told("shop", "has no balancers")
		w.edit("shop", func(s *v1.Service) { s.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: "203.0.113.1"}} })
		time.Sleep(10 * time.Minute)
		if w.address("shop") != "203.0.113.1" {
			t.Errorf("what another controller wrote is %q now", w.address("shop"))
		}
		w.delete("shop")
	})
}
