package ccm

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/cloud-provider/service/helpers"
)

// kubeProxyHealth is where kube-proxy says on each node whether it is well.
const kubeProxyHealth = 10256

// A request is what a Service asks for.
type request struct {
	internal  bool
	proxy     bool
	idle      int // seconds; 0: the vendor's default
	addresses []netip.Addr
	sources   []netip.Prefix // empty: everybody
	annotated bool           // some of the sources are in annotations, which kube-proxy does not read
}

// A refusal says what is wrong with a Service, to whoever looks at its events. Nothing is changed until it is right.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, a ...any) error { return &refusal{fmt.Sprintf(format, a...)} }

// read returns what the Service asks for, or a refusal that says all that is wrong.
func read(s *v1.Service) (request, error) {
	var r request
	errs := []error{checkPorts(s), r.readSources(s)}
	for _, a := range annotations() {
		if v, ok := s.Annotations[a.name]; ok {
			if err := a.apply(&r, strings.TrimSpace(v)); err != nil {
				errs = append(errs, fmt.Errorf("annotation %s: %w", a.name, err))
			}
		}
	}
	if ip := s.Spec.LoadBalancerIP; ip != "" && len(r.addresses) == 0 {
		if err := addresses(&r, ip); err != nil {
			errs = append(errs, fmt.Errorf("spec.loadBalancerIP: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return request{}, refuse("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if slices.ContainsFunc(r.sources, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		r.sources = nil
	}
	return r, nil
}

func (r *request) readSources(s *v1.Service) error {
	inAnnotation := strings.TrimSpace(s.Annotations[v1.AnnotationLoadBalancerSourceRangesKey]) != ""
	if len(s.Spec.LoadBalancerSourceRanges) == 0 && !inAnnotation {
		return nil
	}
	ranges, err := helpers.GetLoadBalancerSourceRanges(s)
	if err != nil {
		return fmt.Errorf("a source range is no range of addresses, like 192.0.2.0/24: %w", err)
	}
	for _, text := range ranges.StringSlice() {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("source range %s: %w", text, err)
		}
		r.sources = append(r.sources, p)
	}
	slices.SortFunc(r.sources, comparePrefixes)
	r.annotated = len(s.Spec.LoadBalancerSourceRanges) == 0
	return nil
}

// checkPorts says which ports clash. The API server refuses most of it; who calls it otherwise is told too.
func checkPorts(s *v1.Service) error {
	seen := map[string]bool{}
	for _, p := range s.Spec.Ports {
		key := fmt.Sprintf("%d/%s", p.Port, protocolOf(p))
		if seen[key] {
			return fmt.Errorf("port %s is there twice", key)
		}
		seen[key] = true
		if protocolOf(p) == v1.ProtocolSCTP {
			return fmt.Errorf("port %s: balancers forward TCP and UDP", key)
		}
	}
	return nil
}

func protocolOf(p v1.ServicePort) v1.Protocol {
	if p.Protocol == "" {
		return v1.ProtocolTCP
	}
	return p.Protocol
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
