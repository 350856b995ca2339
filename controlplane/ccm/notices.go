package ccm

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// Reasons of the events that are no failures: what a Service says and nobody heeds.
const (
	unknownAnnotation = "UnknownAnnotation" // of ours: a mistake
	ignoredAnnotation = "IgnoredAnnotation" // of another controller
	otherClass        = "OtherClass"
	noBalancers       = "NoBalancers"
)

// A teller writes events on Services that say what will not happen, when the Service comes or says something else.
type teller struct {
	vendor   string
	none     bool // this cluster has no balancers
	recorder record.EventRecorder
}

// handler is what the Services' informer calls.
func (t *teller) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if s, ok := o.(*v1.Service); ok && len(s.Status.LoadBalancer.Ingress) == 0 { // else it was told of when it came
				t.tell(s, nil)
			}
		},
		UpdateFunc: func(was, is any) {
			old, ok1 := was.(*v1.Service)
			s, ok2 := is.(*v1.Service)
			if ok1 && ok2 && old.ResourceVersion != s.ResourceVersion {
				t.tell(s, old)
			}
		},
	}
}

// tell says what is not heeded in the Service and was not there before.
func (t *teller) tell(s, old *v1.Service) {
	if s.Spec.Type != v1.ServiceTypeLoadBalancer || s.DeletionTimestamp != nil {
		return
	}
	came := old == nil || old.Spec.Type != v1.ServiceTypeLoadBalancer
	if !serves(t.vendor, s) {
		if c := *s.Spec.LoadBalancerClass; came {
			t.recorder.Eventf(s, v1.EventTypeNormal, otherClass, "Its class is %s: left to whoever serves that. This cluster's cloud agent serves %s, %s and Services without a class",
				c, Class, VendorClass(t.vendor))
		}
		return
	}
	if t.none && came {
		t.recorder.Event(s, v1.EventTypeNormal, noBalancers, "This cluster's cloud agent has no balancers: say which addresses Services may have in network { balancers }, or run another controller")
	}
	names := unknown(s)
	slices.Sort(names)
	for _, name := range names {
		if v, had := before(old, name); had && v == s.Annotations[name] {
			continue
		}
		if strings.HasPrefix(name, prefix) {
			t.recorder.Eventf(s, v1.EventTypeWarning, unknownAnnotation, "There is no annotation %s: it has no effect", name)
		} else {
			t.recorder.Eventf(s, v1.EventTypeNormal, ignoredAnnotation, "The annotation %s has no effect here", name)
		}
	}
}

func before(s *v1.Service, name string) (value string, had bool) {
	if s == nil {
		return "", false
	}
	value, had = s.Annotations[name]
	return value, had
}
