package ccm

import (
	v1 "k8s.io/api/core/v1"
)

// Class is the class of Services, spec.loadBalancerClass, that every cloud agent serves; with a vendor's name before it, only
// that vendor's does.
const Class = "provision.sh/balancer"

// VendorClass is the class that only one vendor's agent serves.
func VendorClass(vendor string) string { return vendor + "." + Class }

// serves says whether the agent of the vendor gives the Service its address. Services without a class are everybody's.
func serves(vendor string, s *v1.Service) bool {
	if s.Spec.Type != v1.ServiceTypeLoadBalancer {
		return false
	}
	c := s.Spec.LoadBalancerClass
	return c == nil || *c == Class || *c == VendorClass(vendor)
}

// unclassed is a transform of Services for upstream's service controller, which leaves alone every Service that has a
// class: those of ours lose it in the copy that the controller sees. What it writes are patches of status and
// finalizers, made without the spec, so the class stays where it is.
func unclassed(vendor string) func(any) (any, error) {
	return func(object any) (any, error) {
		if s, ok := object.(*v1.Service); ok && serves(vendor, s) && s.Spec.LoadBalancerClass != nil {
			s.Spec.LoadBalancerClass = nil
		}
		return slim(object)
	}
}
