package ccm

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/provisionhq/provision/templates"
)

// announced is the form in which a Service gets one of the addresses that the cluster's nodes announce. Which is whose
// is in the Services' status; what is given away here and not written there yet is held.
type announced struct {
	ranges   []templates.Addresses
	services corelisters.ServiceLister

	mu   sync.Mutex
	held map[netip.Addr]types.UID
}

func newAnnounced(ranges []templates.Addresses, services corelisters.ServiceLister) *announced {
	return &announced{ranges: ranges, services: services, held: map[netip.Addr]types.UID{}}
}

// ensure gives the Service an address of each of its families: the one that it asks for, the one that it has, or the
// first that is free.
func (a *announced) ensure(_ context.Context, s *v1.Service) (*v1.LoadBalancerStatus, error) {
	r, err := read(s)
	if err != nil {
		return nil, err
	}
	if err := a.cannot(r); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	taken, err := a.taken(s)
	if err != nil {
		return nil, err
	}
	chosen, err := a.choose(s, r, taken)
	if err != nil {
		return nil, err
	}
	a.release(s.UID)
	mode := v1.LoadBalancerIPModeVIP
	var to v1.LoadBalancerStatus
	for _, address := range chosen {
		a.held[address] = s.UID
		to.Ingress = append(to.Ingress, v1.LoadBalancerIngress{IP: address.String(), IPMode: &mode})
	}
	return &to, nil
}

// cannot refuses what nodes that announce an address cannot do.
func (a *announced) cannot(r request) error {
	switch {
	case r.proxy:
		return refuse("addresses that nodes announce have no PROXY header: with externalTrafficPolicy Local pods see the client's own address")
	case r.annotated && len(r.sources) > 0:
		return refuse("source ranges in annotations are not enforced on addresses that nodes announce: put them into spec.loadBalancerSourceRanges")
	}
	return nil
}

// retarget has nothing to do: the announcer follows nodes by itself.
func (*announced) retarget(context.Context, *v1.Service) error { return nil }

// remove gives the Service's addresses back.
func (a *announced) remove(_ context.Context, s *v1.Service) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.release(s.UID)
	return nil
}

func (a *announced) release(id types.UID) {
	for address, holder := range a.held {
		if holder == id {
			delete(a.held, address)
		}
	}
}

// choose returns the Service's addresses, in the order of its families.
func (a *announced) choose(s *v1.Service, r request, taken map[netip.Addr]string) (chosen []netip.Addr, err error) {
	for _, want := range r.addresses {
		if by, ok := taken[want]; ok {
			return nil, refuse("address %s is taken by %s", want, by)
		}
		if !a.contains(want) {
			return nil, refuse("address %s is not one of this cluster's: network { balancers } has %s", want, a)
		}
		if !slices.ContainsFunc(families(s), func(f v1.IPFamily) bool { return of(f, want) }) {
			return nil, refuse("address %s is asked for, and the Service has no such family: its ipFamilies are %v", want, families(s))
		}
	}
	for i, family := range families(s) {
		address := one(r.addresses, family)
		if !address.IsValid() {
			address = a.current(s, family, taken)
		}
		if !address.IsValid() {
			address = a.free(family, taken)
		}
		switch {
		case address.IsValid():
			chosen = append(chosen, address)
		case i == 0 || s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == v1.IPFamilyPolicyRequireDualStack:
			return nil, refuse("no %s address is free: Services have all of %s, which network { balancers } says", family, a)
		}
	}
	return chosen, nil
}

// families are the Service's; IPv4 if it does not say.
func families(s *v1.Service) []v1.IPFamily {
	if len(s.Spec.IPFamilies) == 0 {
		return []v1.IPFamily{v1.IPv4Protocol}
	}
	return s.Spec.IPFamilies
}

func of(family v1.IPFamily, a netip.Addr) bool { return a.Is6() == (family == v1.IPv6Protocol) }

func one(all []netip.Addr, family v1.IPFamily) netip.Addr {
	for _, a := range all {
		if of(family, a) {
			return a
		}
	}
	return netip.Addr{}
}

// current is the address that the Service has, if it may keep it.
func (a *announced) current(s *v1.Service, family v1.IPFamily, taken map[netip.Addr]string) netip.Addr {
	for _, address := range addressesOf(s) {
		if _, other := taken[address]; of(family, address) && a.contains(address) && !other {
			return address
		}
	}
	return netip.Addr{}
}

// free is the first address that nobody has.
func (a *announced) free(family v1.IPFamily, taken map[netip.Addr]string) netip.Addr {
	for _, r := range a.ranges {
		for address := r.First; of(family, r.First) && address.IsValid() && !r.Last.Less(address); address = address.Next() {
			if _, other := taken[address]; !other {
				return address
			}
		}
	}
	return netip.Addr{}
}

func (a *announced) contains(address netip.Addr) bool { return contains(a.ranges, address) }

func contains(ranges []templates.Addresses, address netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(address) {
			return true
		}
	}
	return false
}

// taken are the addresses that other Services have, and which. Of two that say they have the same one, the older has it.
func (a *announced) taken(s *v1.Service) (map[netip.Addr]string, error) {
	all, err := a.services.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	taken, names := map[netip.Addr]string{}, map[types.UID]string{}
	for _, other := range all {
		names[other.UID] = "Service " + serviceKey(other)
		if other.UID == s.UID || other.Spec.Type != v1.ServiceTypeLoadBalancer {
			continue
		}
		for _, address := range addressesOf(other) {
			if a.held[address] != s.UID && !(has(s, address) && older(s, other)) {
				taken[address] = names[other.UID]
			}
		}
	}
	for address, id := range a.held {
		if id == s.UID {
			continue
		}
		if names[id] == "" {
			delete(a.held, address) // its Service went without a word
			continue
		}
		taken[address] = names[id]
	}
	return taken, nil
}

// addressesOf are the addresses in the Service's status.
func addressesOf(s *v1.Service) (all []netip.Addr) {
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

func has(s *v1.Service, address netip.Addr) bool {
	for _, a := range addressesOf(s) {
		if a == address {
			return true
		}
	}
	return false
}

// older says which of two Services was there first.
func older(a, b *v1.Service) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// String is the ranges, for a person.
func (a *announced) String() string {
	var all []string
	for _, r := range a.ranges {
		if r.First == r.Last {
			all = append(all, r.First.String())
			continue
		}
		all = append(all, fmt.Sprintf("%s-%s", r.First, r.Last))
	}
	return strings.Join(all, ", ")
}
