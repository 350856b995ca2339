package ccm

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Annotations of ours.
const (
	prefix                  = "provision.sh/balancer"
	InternalAnnotation      = prefix + "-internal"       // "true": reached from the network alone
	AddressAnnotation       = prefix + "-address"        // a fixed address, or one of each family
	ProxyProtocolAnnotation = prefix + "-proxy-protocol" // "true": connections begin with a PROXY header
	IdleAnnotation          = prefix + "-idle-seconds"   // after which an idle connection is given up
)

// An annotation is one that is understood, ours or another controller's.
type annotation struct {
	name  string
	is    string // what it says, for a person: the table in docs/services.md has these words
	apply func(r *request, value string) error
}

// annotations are all that are understood. Where several say the same thing in different ways, a later line wins: ours
// are last.
func annotations() []annotation {
	const k8s, aws, azure = "service.beta.kubernetes.io/", "service.beta.kubernetes.io/aws-load-balancer-", "service.beta.kubernetes.io/azure-load-balancer-"
	return []annotation{
		{aws + "scheme", "internal with the value `internal`", choice("internal", "internet-facing")},
		{aws + "internal", "internal, unless the value is `false`", func(r *request, v string) error { r.internal = v != "false" && v != ""; return nil }},
		{aws + "proxy-protocol", "PROXY header, with the value `*`", func(r *request, v string) error { return set(&r.proxy, v == "*", v, "*") }},
		{aws + "connection-idle-timeout", "idle time in seconds", seconds(time.Second)},
		{aws + "private-ipv4-addresses", "fixed address", addresses},
		{aws + "type", "nothing: what the vendor has is taken", nothingOf},
		{aws + "nlb-target-type", "nothing but `instance`", only("instance")},
		{aws + "cross-zone-load-balancing-enabled", "nothing: the vendor's default is taken", nothingOf},
		{azure + "internal", "internal", boolean(func(r *request) *bool { return &r.internal })},
		{azure + "ipv4", "fixed address", addresses},
		{azure + "ipv6", "fixed address", addresses},
		{azure + "tcp-idle-timeout", "idle time in minutes", seconds(time.Minute)},
		{k8s + "azure-allowed-ip-ranges", "who may connect, beside `loadBalancerSourceRanges`", sources},
		{k8s + "load-balancer-source-ranges", "who may connect, if `loadBalancerSourceRanges` is empty", func(*request, string) error { return nil }}, // read by upstream's helper
		{"cloud.google.com/load-balancer-type", "internal with the value `Internal`", choice("Internal", "External")},
		{"networking.gke.io/load-balancer-type", "internal with the value `Internal`", choice("Internal", "External")},
		{"metallb.universe.tf/loadBalancerIPs", "fixed address", addresses},
		{"metallb.io/loadBalancerIPs", "fixed address", addresses},
		{"kube-vip.io/loadbalancerIPs", "fixed address", addresses},
		{"io.cilium/lb-ipam-ips", "fixed address", addresses},
		{"lbipam.cilium.io/ips", "fixed address", addresses},
		{InternalAnnotation, "internal", boolean(func(r *request) *bool { return &r.internal })},
		{AddressAnnotation, "fixed address", addresses},
		{ProxyProtocolAnnotation, "PROXY header", boolean(func(r *request) *bool { return &r.proxy })},
		{IdleAnnotation, "idle time in seconds", seconds(time.Second)},
	}
}

// strangers are the beginnings of annotations that are for a balancer. One of them that is not understood is worth a word.
func strangers() []string {
	return []string{prefix, "service.beta.kubernetes.io/", "service.kubernetes.io/aws-", "metallb.io/", "metallb.universe.tf/", "kube-vip.io/", "lbipam.cilium.io/",
		"networking.gke.io/load-balancer-", "cloud.google.com/load-balancer-", "cloud.google.com/network-tier"}
}

// unknown returns the Service's annotations that are for a balancer and are not understood, sorted as annotated.
func unknown(s *v1.Service) (names []string) {
	known := map[string]bool{}
	for _, a := range annotations() {
		known[a.name] = true
	}
	for name := range s.Annotations {
		if known[name] {
			continue
		}
		for _, p := range strangers() {
			if strings.HasPrefix(name, p) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// set sets what a value says, or says what it may be.
func set(to *bool, yes bool, value, want string) error {
	if !yes {
		return fmt.Errorf("it is %q and may be %s", value, want)
	}
	*to = true
	return nil
}

func choice(internal, external string) func(*request, string) error {
	return func(r *request, v string) error {
		r.internal = v == internal
		if v != internal && v != external {
			return fmt.Errorf("it is %q and may be %q or %q", v, internal, external)
		}
		return nil
	}
}

func boolean(of func(*request) *bool) func(*request, string) error {
	return func(r *request, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("it is %q and may be \"true\" or \"false\"", v)
		}
		*of(r) = b
		return nil
	}
}

func seconds(unit time.Duration) func(*request, string) error {
	return func(r *request, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1<<20 {
			return fmt.Errorf("it is %q and must be a whole number above 0", v)
		}
		r.idle = n * int(unit/time.Second)
		return nil
	}
}

// addresses reads one address, or several with commas between. A later annotation replaces what an earlier one said.
func addresses(r *request, v string) error {
	r.addresses = nil
	for _, s := range strings.Split(v, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("%q is no address", strings.TrimSpace(s))
		}
		r.addresses = append(r.addresses, a.Unmap())
	}
	return nil
}

func sources(r *request, v string) error {
	for _, s := range strings.Split(v, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("%q is no range of addresses", strings.TrimSpace(s))
		}
		r.sources, r.annotated = append(r.sources, p.Masked()), true
	}
	return nil
}

func only(want string) func(*request, string) error {
	return func(_ *request, v string) error {
		if v != want {
			return fmt.Errorf("it is %q; only %q is to be had", v, want)
		}
		return nil
	}
}

func nothingOf(*request, string) error { return nil }
