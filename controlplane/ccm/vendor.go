package ccm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/cloud-provider/api"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// vendor is the form in which a Service gets one of the vendor's balancers.
//
// What the vendor has is listed once; after that it is known from what our own calls returned, and compared with a new
// list by inspect.
type vendor struct {
	cloud     templates.Cloud
	caps      providers.Caps
	balancers providers.LoadBalancers
	machines  *instances
	nodes     corelisters.NodeLister

	reading sync.Mutex // held while the vendor is listed
	mu      sync.Mutex // of what follows
	started time.Time  // before that, another agent may have made something
	listed  time.Time  // when the last list was asked for
	known   map[string]providers.LoadBalancer
	changed map[string]time.Time // when our own calls last changed one
	doubted map[string]time.Time // a Create failed: there may be one by this name since
}

func newVendor(c templates.Cloud, p providers.Provider, machines *instances, nodes corelisters.NodeLister) *vendor {
	return &vendor{cloud: c, caps: p.Caps(), balancers: p.LoadBalancers(), machines: machines, nodes: nodes, started: time.Now(),
		known: map[string]providers.LoadBalancer{}, changed: map[string]time.Time{}, doubted: map[string]time.Time{}}
}

// ensure makes the balancer, changes it in place, or, where the vendor cannot, replaces it.
func (v *vendor) ensure(ctx context.Context, s *v1.Service) (*v1.LoadBalancerStatus, error) {
	r, err := read(s)
	if err != nil {
		return nil, err
	}
	if _, err := v.list(ctx, time.Time{}); err != nil {
		return nil, told(err)
	}
	b, err := v.try(ctx, s, r)
	if errors.Is(err, providers.NotFound) {
		v.machines.machines.forget() // it was about a machine that is gone, and whose node is not yet
		b, err = v.try(ctx, s, r)
	}
	if err != nil {
		return nil, err
	}
	return status(b, r), nil
}

func (v *vendor) try(ctx context.Context, s *v1.Service, r request) (b providers.LoadBalancer, err error) {
	spec, err := v.spec(ctx, s, r)
	if err != nil {
		return b, err
	}
	b, err = v.apply(ctx, spec)
	return b, told(err)
}

// retarget is ensure: it touches only what differs.
func (v *vendor) retarget(ctx context.Context, s *v1.Service) error {
	_, err := v.ensure(ctx, s)
	return err
}

// apply makes the vendor have what the spec says. It calls nothing if it has.
func (v *vendor) apply(ctx context.Context, spec providers.LoadBalancerSpec) (providers.LoadBalancer, error) {
	have, ok := v.have(spec.Name)
	if ok && !have.Partial && rigid(have, spec) {
		if err := v.delete(ctx, have); err != nil {
			return have, err
		}
		ok = false
	}
	if ok && !have.Partial {
		if matches(have, spec) {
			return have, nil
		}
		b, err := v.balancers.Update(ctx, have.ID, spec)
		if !errors.Is(err, providers.NotFound) {
			return v.keep(b, err)
		}
		v.forget(spec.Name) // somebody deleted it: or one of its machines is gone, then Create says so
	}
	return v.create(ctx, spec)
}

// create makes the balancer. One that is there already was made by an agent whose answer was lost.
func (v *vendor) create(ctx context.Context, spec providers.LoadBalancerSpec) (providers.LoadBalancer, error) {
	v.mu.Lock()
	v.doubted[spec.Name] = time.Now()
	v.mu.Unlock()
	b, err := v.balancers.Create(ctx, spec)
	if errors.Is(err, providers.Exists) && b.ID != "" {
		if err = nil; !matches(b, spec) {
			b, err = v.balancers.Update(ctx, b.ID, spec)
		}
	}
	return v.keep(b, err)
}

// remove deletes the balancer, and is sure then that there is none.
func (v *vendor) remove(ctx context.Context, s *v1.Service) error {
	name := balancerName(s)
	v.mu.Lock()
	since := v.started
	if at, ok := v.doubted[name]; ok {
		since = at
	}
	v.mu.Unlock()
	have, ok := v.have(name)
	if !ok {
		sure := since.Add(v.caps.Lag) // a list of before may miss what was made until then
		at, err := v.list(ctx, sure)
		if err != nil {
			return told(err)
		}
		if have, ok = v.have(name); !ok && at.Before(sure) {
			return api.NewRetryError("the vendor's list may not have everything yet; it is looked at again", max(time.Until(sure), time.Second))
		}
	}
	if !ok {
		v.forget(name)
		return nil
	}
	return told(v.delete(ctx, have))
}

func (v *vendor) delete(ctx context.Context, b providers.LoadBalancer) error {
	if err := v.balancers.Delete(ctx, b.ID); err != nil {
		return err
	}
	v.forget(b.Name)
	return nil
}

// list makes known what the vendor has, if that was not listed after the time given, and returns when it was.
func (v *vendor) list(ctx context.Context, since time.Time) (at time.Time, err error) {
	v.reading.Lock()
	defer v.reading.Unlock()
	v.mu.Lock()
	at = v.listed
	v.mu.Unlock()
	if at.After(since) {
		return at, nil
	}
	at = time.Now()
	all, err := v.balancers.List(ctx, providers.Owner(v.cloud.Cluster))
	if err != nil {
		return time.Time{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, b := range all {
		if _, ok := v.known[b.Name]; !ok {
			v.known[b.Name] = b // what our own calls returned is newer
		}
	}
	v.listed = at
	return at, nil
}

func (v *vendor) have(name string) (providers.LoadBalancer, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b, ok := v.known[name]
	return b, ok
}

// keep remembers what a call returned. After an error nothing is sure.
func (v *vendor) keep(b providers.LoadBalancer, err error) (providers.LoadBalancer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		v.known[b.Name], v.changed[b.Name] = b, time.Now()
		delete(v.doubted, b.Name)
	}
	return b, err
}

func (v *vendor) forget(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.known, name)
	delete(v.changed, name)
	delete(v.doubted, name)
}

// spec is the balancer that the Service asks for.
func (v *vendor) spec(ctx context.Context, s *v1.Service, r request) (spec providers.LoadBalancerSpec, err error) {
	spec = providers.LoadBalancerSpec{
		Owner: providers.Owner(v.cloud.Cluster), Name: balancerName(s), Network: providers.ID(v.cloud.Network), Internal: r.internal, Sources: r.sources,
		Tags: map[string]string{templates.UIDTag: v.cloud.UID, templates.ServiceTag: serviceKey(s)},
	}
	switch len(r.addresses) {
	case 0:
	case 1:
		spec.Address = r.addresses[0]
	default:
		return spec, refuse("%d fixed addresses are asked for; a balancer of vendor %s has one", len(r.addresses), v.cloud.Vendor)
	}
	if spec.Ports, err = v.ports(s, r); err != nil {
		return spec, err
	}
	spec.Targets, err = v.targets(ctx)
	return spec, err
}

// ports forwards each port to the port that the Service has on every node. Local traffic goes to nodes that say they
// have pods for it; else to those whose kube-proxy is well.
func (v *vendor) ports(s *v1.Service, r request) (ports []providers.BalancerPort, err error) {
	health := kubeProxyHealth
	if s.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal && s.Spec.HealthCheckNodePort != 0 {
		health = int(s.Spec.HealthCheckNodePort)
	}
	for _, p := range s.Spec.Ports {
		udp := protocolOf(p) == v1.ProtocolUDP
		switch {
		case p.NodePort == 0:
			return nil, refuse("port %d has no node port, which balancers of vendor %s need: set allocateLoadBalancerNodePorts to true", p.Port, v.cloud.Vendor)
		case udp && !v.caps.UDP:
			return nil, refuse("port %d is UDP, which balancers of vendor %s do not forward", p.Port, v.cloud.Vendor)
		}
		b := providers.BalancerPort{Name: p.Name, Protocol: strings.ToLower(string(protocolOf(p))), Port: int(p.Port), TargetPort: int(p.NodePort),
			HealthPort: health, HealthPath: "/healthz"}
		if b.Name == "" {
			b.Name = fmt.Sprintf("%s-%d", b.Protocol, b.Port)
		}
		if !udp {
			b.ProxyProtocol, b.IdleSeconds = r.proxy, r.idle
		}
		ports = append(ports, b)
	}
	return ports, nil
}

// targets are the machines of the nodes that stay.
func (v *vendor) targets(ctx context.Context) (ids []providers.ID, err error) {
	nodes, err := ownNodes(v.nodes, v.machines.scheme)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Spec.ProviderID == "" {
			continue // it is completed in a moment, and comes again then
		}
		id, err := v.machines.machine(ctx, n)
		if err != nil {
			return nil, told(err)
		}
		if id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// rigid says whether no vendor can change the one into the other.
func rigid(have providers.LoadBalancer, want providers.LoadBalancerSpec) bool {
	return have.Internal != want.Internal || want.Address.IsValid() && have.Address != want.Address
}

// matches says whether the balancer is what the spec says.
func matches(have providers.LoadBalancer, want providers.LoadBalancerSpec) bool {
	byPort := func(a, b providers.BalancerPort) int {
		return strings.Compare(fmt.Sprint(a.Protocol, a.Port), fmt.Sprint(b.Protocol, b.Port))
	}
	same := func(a, b netip.Prefix) int { return comparePrefixes(a, b) }
	return !rigid(have, want) && slices.Equal(sorted(have.Ports, byPort), sorted(want.Ports, byPort)) &&
		slices.Equal(sorted(have.Sources, same), sorted(want.Sources, same)) &&
		slices.Equal(slices.Sorted(slices.Values(have.Targets)), slices.Sorted(slices.Values(want.Targets))) && maps.Equal(have.Tags, want.Tags)
}

func sorted[T any](s []T, by func(a, b T) int) []T {
	s = slices.Clone(s)
	slices.SortFunc(s, by)
	return s
}

// status says where the balancer is reached. Traffic from within the cluster goes to the pods directly, unless they
// expect the balancer's PROXY header.
func status(b providers.LoadBalancer, r request) *v1.LoadBalancerStatus {
	mode := v1.LoadBalancerIPModeVIP
	if r.proxy {
		mode = v1.LoadBalancerIPModeProxy
	}
	if b.Address.IsValid() {
		return &v1.LoadBalancerStatus{Ingress: []v1.LoadBalancerIngress{{IP: b.Address.String(), IPMode: &mode}}}
	}
	if a, err := netip.ParseAddr(b.Hostname); err == nil { // Kubernetes refuses it as a name; as with a name, nodes do not answer in its place
		mode = v1.LoadBalancerIPModeProxy
		return &v1.LoadBalancerStatus{Ingress: []v1.LoadBalancerIngress{{IP: a.String(), IPMode: &mode}}}
	}
	return &v1.LoadBalancerStatus{Ingress: []v1.LoadBalancerIngress{{Hostname: b.Hostname}}}
}
