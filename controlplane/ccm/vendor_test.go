package ccm

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/cloud-provider/service/helpers"

	"github.com/provisionhq/provision/providers"
	vendorfake "github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

// TestServiceLife is a Service of two protocols from its first minute to its end.
func TestServiceLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		m := w.joined("w1", "w2")
		time.Sleep(time.Second)
		w.create(newService("shop", func(s *v1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, v1.ServicePort{Name: "dns", Protocol: v1.ProtocolUDP, Port: 80, NodePort: 30053})
			s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.7/24", "192.0.2.0/24"}
		}))
		time.Sleep(time.Second)
		all := w.balancersThere()
		if len(all) != 1 {
			t.Fatalf("there are %d balancers, want 1", len(all))
		}
		b := all[0]
		want := []providers.BalancerPort{
			{Name: "http", Protocol: "tcp", Port: 80, TargetPort: 30080, HealthPort: 10256, HealthPath: "/healthz"},
			{Name: "dns", Protocol: "udp", Port: 80, TargetPort: 30053, HealthPort: 10256, HealthPath: "/healthz"},
		}
		if b.Name != "svc-uid-shop" || !slices.Equal(b.Ports, want) || len(b.Targets) != 2 || b.Internal ||
			fmt.Sprint(b.Sources) != "[192.0.2.0/24 198.51.100.0/24]" || b.Tags[templates.ServiceTag] != "web/shop" || b.Tags[templates.UIDTag] != "u-1" {
			t.Errorf("the balancer is %+v", b)
		}
		s := w.service("shop")
		if in := s.Status.LoadBalancer.Ingress; len(in) != 1 || in[0].IP != b.Address.String() || *in[0].IPMode != v1.LoadBalancerIPModeVIP || len(s.Finalizers) != 1 {
			t.Errorf("the Service's status is %+v, its finalizers %v", in, s.Finalizers)
		}

		w.edit("shop", func(s *v1.Service) {
			s.Spec.Ports = s.Spec.Ports[:1]
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = v1.ServiceExternalTrafficPolicyLocal, 32000
			s.Spec.LoadBalancerSourceRanges = []string{"0.0.0.0/0"}
		})
		time.Sleep(time.Second)
		if now := w.balancersThere()[0]; now.ID != b.ID || len(now.Ports) != 1 || now.Ports[0].HealthPort != 32000 || len(now.Sources) != 0 {
			t.Errorf("after a change of the Service the balancer is %+v", now)
		}

		w.joined("w3")
		if err := w.client.CoreV1().Nodes().Delete(t.Context(), "w1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if now := w.balancersThere()[0]; len(now.Targets) != 2 || slices.Contains(now.Targets, m[0].ID) {
			t.Errorf("after w1 went and w3 came, the targets are %v", now.Targets)
		}

		w.delete("shop")
		if all := w.balancersThere(); len(all) != 0 {
			t.Errorf("the Service is gone, and the vendor has %v", all)
		}
	})
}

// TestServiceThatIsNoBalancerAnyMore lets go of its balancer when its type changes.
func TestServiceThatIsNoBalancerAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		w.joined("w1")
		w.create(newService("shop"))
		time.Sleep(time.Second)
		w.edit("shop", func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeClusterIP })
		time.Sleep(time.Second)
		s := w.service("shop")
		if len(w.balancersThere()) != 0 || len(s.Status.LoadBalancer.Ingress) != 0 || len(s.Finalizers) != 0 {
			t.Errorf("there are %v, status %v, finalizers %v", w.balancersThere(), s.Status.LoadBalancer, s.Finalizers)
		}
	})
}

func TestClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		w.joined("w1")
		class := func(c string) func(*v1.Service) {
			return func(s *v1.Service) { s.Spec.LoadBalancerClass = &c }
		}
		w.create(newService("ours", class(Class)))
		w.create(newService("fakes", class(VendorClass("fake"))))
		w.create(newService("theirs", class("service.example/nlb")))
		w.create(newService("metals", class(VendorClass("metal"))))
		time.Sleep(time.Second)
		for name, want := range map[string]bool{"ours": true, "fakes": true, "theirs": false, "metals": false} {
			s := w.service(name)
			if got := w.address(name) != ""; got != want || (len(s.Finalizers) > 0) != want {
				t.Errorf("Service %s has address %q and finalizers %v", name, w.address(name), s.Finalizers)
			}
			if s.Spec.LoadBalancerClass == nil {
				t.Errorf("Service %s lost its class", name)
			}
		}
		w.told("theirs", "Its class is service.example/nlb")
		w.edit("ours", func(s *v1.Service) { s.Spec.Ports[0].NodePort = 30081 })
		time.Sleep(time.Second)
		w.delete("ours")
		if n := len(w.balancersThere()); n != 1 {
			t.Errorf("%d balancers are left, want 1", n)
		}
	})
}

func TestVendorSaysNo(t *testing.T) {
	for kind, text := range words() {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, vendorfake.Options{})
				w.fail("balancer.create", kind)
				w.run()
				w.joined("w1")
				w.create(newService("shop"))
				time.Sleep(10 * time.Minute)
				if w.address("shop") != "" {
					t.Fatal("the Service has an address")
				}
				w.told("shop", text)
				if n := w.called("balancer.create"); n > 30 {
					t.Errorf("%d calls in ten minutes of no", n)
				}
				w.fail("balancer.create", "")
				time.Sleep(6 * time.Minute)
				if w.address("shop") == "" {
					t.Error("six minutes after the vendor said yes the Service has no address")
				}
				w.delete("shop")
				if all := w.balancersThere(); len(all) != 0 {
					t.Errorf("left behind: %v", all)
				}
			})
		})
	}
}

func TestWordsForEveryKind(t *testing.T) {
	for _, k := range providers.Kinds() {
		if words()[k] == "" {
			t.Errorf("there are no words for %s", k)
		}
	}
}

// TestNothingLeaks deletes Services at the worst moments: the Create failed after its effect, or half way, and the one
// who should have deleted it is another leader.
func TestNothingLeaks(t *testing.T) {
	for name, fault := range map[string]vendorfake.Fault{
		"after its effect": {Noun: providers.BalancerNoun, Verb: providers.CreateVerb, Times: -1, Error: providers.Quota, After: true},
		"half way":         {Noun: providers.BalancerNoun, Verb: providers.CreateVerb, Times: -1, Error: providers.Quota, Partial: 1},
	} {
		for _, lag := range []time.Duration{0, 30 * time.Second} {
			t.Run(fmt.Sprintf("%s, lag %v", name, lag), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, vendorfake.Options{Lag: vendorfake.Duration(lag), Faults: []vendorfake.Fault{fault}})
					w.run()
					w.joined("w1")
					w.create(newService("shop"))
					time.Sleep(time.Second)
					w.delete("shop")
					time.Sleep(2 * lag)
					if all := w.balancersThere(); len(all) != 0 {
						t.Errorf("the Service is gone, and the vendor has %v; %v %v", all, w.calls, w.events("shop"))
					}
				})
			})
		}
	}
}

// TestAnotherLeaderGoesOn is a leader who finds what the one before made, and one who is gone before its answer came.
func TestAnotherLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		stop := w.lead()
		w.joined("w1", "w2")
		w.create(newService("shop"))
		time.Sleep(time.Second)
		stop()
		before := w.called("balancer.create") + w.called("balancer.update")
		factory := informers.NewSharedInformerFactory(w.client, 0)
		nodes, services := factory.Core().V1().Nodes(), factory.Core().V1().Services()
		i := &instances{scheme: "fake", machines: machinesOf(w.cloud, w.provider())}
		b := &balancers{services: services.Lister(), form: newVendor(w.cloud, w.provider(), i, nodes.Lister())}
		nodes.Informer()
		services.Informer()
		factory.Start(t.Context().Done())
		factory.WaitForCacheSync(t.Context().Done())
		s := w.service("shop")
		got, err := b.EnsureLoadBalancer(t.Context(), "", s, nil)
		if err != nil || !helpers.LoadBalancerStatusEqual(got, &s.Status.LoadBalancer) {
			t.Errorf("a new leader says %v, %v; the Service has %v", got, err, s.Status.LoadBalancer)
		}
		if n := w.called("balancer.create") + w.called("balancer.update"); n != before || n == 0 {
			t.Errorf("a new leader changes what is right: %v", w.calls)
		}
		if err := b.EnsureLoadBalancerDeleted(t.Context(), "", s); err != nil || len(w.balancersThere()) != 0 {
			t.Errorf("the new leader left %v, %v", w.balancersThere(), err)
		}
	})
}

func TestSwitchToInternalReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		w.joined("w1")
		w.create(newService("shop"))
		time.Sleep(time.Second)
		w.edit("shop", func(s *v1.Service) { s.Annotations["service.beta.kubernetes.io/azure-load-balancer-internal"] = "true" })
		time.Sleep(time.Second)
		all := w.balancersThere()
		if len(all) != 1 || !all[0].Internal || w.address("shop") != all[0].Address.String() || !netip.MustParsePrefix("10.0.0.0/16").Contains(all[0].Address) {
			t.Errorf("there is %+v, the Service has %s", all, w.address("shop"))
		}
	})
}

func TestRefusedServices(t *testing.T) {
	for words, edit := range map[string]func(*v1.Service){
		"port 80/TCP is there twice":              func(s *v1.Service) { s.Spec.Ports = append(s.Spec.Ports, s.Spec.Ports[0]) },
		"a source range is no range of addresses": func(s *v1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"everybody"} },
		"allocateLoadBalancerNodePorts":           func(s *v1.Service) { s.Spec.Ports[0].NodePort = 0 },
		"port 80 is UDP":                          func(s *v1.Service) { s.Spec.Ports[0].Protocol = v1.ProtocolUDP },
		`"soon" is no address`:                    func(s *v1.Service) { s.Annotations[AddressAnnotation] = "soon" },
		`may be "true" or "false"`:                func(s *v1.Service) { s.Annotations[InternalAnnotation] = "perhaps" },
		"must be a whole number above 0":          func(s *v1.Service) { s.Annotations[IdleAnnotation] = "-1" },
		"the vendor says that it is in use": func(s *v1.Service) {
			s.Annotations[InternalAnnotation], s.Annotations[AddressAnnotation] = "true", "10.0.0.77"
		},
	} {
		t.Run(words, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, vendorfake.Options{Lacks: []string{"udp"}})
				w.run()
				w.joined("w1")
				w.create(newService("first", func(s *v1.Service) {
					s.Annotations[InternalAnnotation], s.Annotations[AddressAnnotation] = "true", "10.0.0.77"
				}))
				time.Sleep(time.Second)
				s := newService("shop", edit)
				s.Spec.ClusterIP = "10.96.0.10"
				w.create(s)
				time.Sleep(10 * time.Second)
				w.told("shop", words)
				if w.address("shop") != "" {
					t.Errorf("the Service has address %s", w.address("shop"))
				}
				w.edit("shop", func(s *v1.Service) {
					s.Annotations, s.Spec = nil, newService("shop").Spec
				})
				time.Sleep(time.Second)
				if w.address("shop") == "" {
					t.Errorf("the Service is right now, and has no address: %v", w.events("shop"))
				}
			})
		})
	}
}

func TestAnnotationsThatNobodyHeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		w.joined("w1")
		w.create(newService("shop", func(s *v1.Service) {
			s.Annotations["provision.sh/balancer-internl"] = "true"
			s.Annotations["service.beta.kubernetes.io/aws-load-balancer-eip-allocations"] = "eipalloc-1"
			s.Annotations["example.org/team"] = "shop"
		}))
		time.Sleep(2 * time.Second)
		w.told("shop", "There is no annotation provision.sh/balancer-internl")
		w.told("shop", "aws-load-balancer-eip-allocations has no effect here")
		if strings.Contains(strings.Join(w.events("shop"), "\n"), "example.org") {
			t.Error("an annotation that has nothing to do with balancers is told of")
		}
		if w.address("shop") == "" {
			t.Error("the Service has no address")
		}
	})
}

// TestStrangersAtTheVendor is what somebody does at the vendor's console: it is found and mended within an inspection.
func TestStrangersAtTheVendor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		w.joined("w1")
		w.create(newService("shop"))
		w.create(newService("lost"))
		time.Sleep(time.Minute)
		for _, b := range w.balancersThere() {
			if b.Name == "svc-uid-shop" {
				if err := w.vendor.LoadBalancers().Delete(t.Context(), b.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Its finalizer is taken away by force, so nobody asks for the balancer's end.
		w.edit("lost", func(s *v1.Service) { s.Finalizers = nil })
		if err := w.client.CoreV1().Services("web").Delete(t.Context(), "lost", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*inspectEvery + time.Minute)
		all := w.balancersThere()
		if len(all) != 1 || all[0].Name != "svc-uid-shop" || all[0].Address.String() != w.address("shop") {
			t.Errorf("there is %+v, the Service has %s", all, w.address("shop"))
		}
	})
}

// TestStatusOfAddressAsName: what Kubernetes would refuse as a name is told as an address that nodes do not answer for.
func TestStatusOfAddressAsName(t *testing.T) {
	for name, want := range map[string]v1.LoadBalancerIngress{
		"10.0.0.9":    {IP: "10.0.0.9", IPMode: new(v1.LoadBalancerIPModeProxy)},
		"lb.elb.test": {Hostname: "lb.elb.test"},
	} {
		got := status(providers.LoadBalancer{Hostname: name}, request{})
		if len(got.Ingress) != 1 || !reflect.DeepEqual(got.Ingress[0], want) {
			t.Errorf("%s: %+v", name, got.Ingress)
		}
	}
}
