package gcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"github.com/provisionhq/provision/providers"
)

// balancers are passthrough Network Load Balancers. A reserved address is made first and goes last: its labels are the balancer's,
// and its ID is the balancer's ID. One forwarding rule takes all protocols and ports to one backend service; what of it comes
// in, a firewall rule says, which is for that address alone.
type balancers struct{ p *Provider }

// Parts of a balancer.
const (
	doorPart    = "door"    // the firewall rule for clients; its description has the ports
	probePart   = "probe"   // the firewall rule for Google's health checks
	checkPart   = "check"   // the health check
	targetsPart = "targets" // a group of endpoints in each zone
	servicePart = "service" // the backend service
	rulePart    = "rule"    // the forwarding rule
)

// probers are where Google's health checks come from. From memory, not compared yet with
// https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges
func probers(internal bool) []string {
	if internal {
		return []string{"130.211.0.0/22", "35.191.0.0/16"}
	}
	return []string{"209.85.152.0/22", "209.85.204.0/22", "35.191.0.0/16"}
}

// Get returns the balancer as it is.
func (w balancers) Get(ctx context.Context, id providers.ID) (_ providers.LoadBalancer, err error) {
	defer about(providers.GetVerb, providers.BalancerNoun, string(id), &err)
	b, err := w.balancer(ctx, id)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	return b.object(), nil
}

// List returns the owner's balancers.
func (w balancers) List(ctx context.Context, o providers.Owner) (all []providers.LoadBalancer, err error) {
	defer about(providers.ListVerb, providers.BalancerNoun, string(o), &err)
	addresses, err := w.p.reserved(ctx, o)
	if err != nil {
		return nil, err
	}
	var found []*balancer
	for _, a := range addresses {
		if b := ofAddress(a); b != nil {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	if err := w.look(ctx, found...); err != nil {
		return nil, err
	}
	for _, b := range found {
		all = append(all, b.object())
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// Create makes the address and all that stands on it; the forwarding rule comes last.
func (w balancers) Create(ctx context.Context, spec providers.LoadBalancerSpec) (_ providers.LoadBalancer, err error) {
	defer about(providers.CreateVerb, providers.BalancerNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.LoadBalancer{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.BalancerNoun, spec.Key().String())
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	defer unlock()
	b, err := w.named(ctx, spec.Key())
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if b != nil {
		if o := b.object(); !o.Partial {
			return o, providers.Exists
		}
	}
	n, err := w.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	targets, err := w.stand(ctx, spec)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if b == nil {
		if b, err = w.begin(ctx, spec, n); err != nil {
			return providers.LoadBalancer{}, err
		}
	}
	if err := w.bring(ctx, b, spec, n, targets); err != nil {
		return providers.LoadBalancer{}, err
	}
	return w.seen(ctx, b.id(), len(targets))
}

// seen returns a balancer once Google's readers see all of it.
func (w balancers) seen(ctx context.Context, id providers.ID, targets int) (o providers.LoadBalancer, err error) {
	err = w.p.wait(ctx, "balancer "+string(id)+" is not complete", func() (bool, error) {
		b, err := w.balancer(ctx, id)
		if err == nil {
			o = b.object()
		}
		return err == nil && !o.Partial && len(o.Targets) >= targets, ignoring(err)
	})
	return o, err
}

// named returns the owner's balancer of that name; nil if there is none.
func (w balancers) named(ctx context.Context, k providers.Key) (*balancer, error) {
	a, err := w.p.addressAt(ctx, vendorName(providers.BalancerNoun, k, ""))
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := ofAddress(a)
	if b == nil {
		return nil, fail(providers.Conflict, "there is an address %s that is not ours", a.GetName())
	}
	if err := ours(meta(b.ref(), unlabel(a.GetLabels())), k); err != nil {
		return nil, err
	}
	return b, w.look(ctx, b)
}

// begin reserves the address.
func (w balancers) begin(ctx context.Context, spec providers.LoadBalancerSpec, n *network) (*balancer, error) {
	k := spec.Key()
	tags := label(providers.BalancerNoun, k, spec.Tags, nil)
	made := label(providers.BalancerNoun, k, nil, map[string]string{networkTag: string(spec.Network), sideTag: strconv.FormatBool(spec.Internal)})
	in := &computepb.Address{Name: ptr(vendorName(providers.BalancerNoun, k, "")), Description: describe(made), Labels: labels(tags), AddressType: ptr("EXTERNAL")}
	if spec.Internal {
		in.AddressType, in.Purpose, in.Subnetwork = ptr("INTERNAL"), ptr("GCE_ENDPOINT"), n.subnet.SelfLink
		if spec.Address.IsValid() {
			in.Address = ptr(spec.Address.String())
		}
	}
	err := w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.addresses.Insert(ctx, &computepb.InsertAddressRequest{Project: w.p.o.Project, Region: w.p.o.Region, AddressResource: in, RequestId: id})
	})
	if err != nil && !taken(err) {
		return nil, err
	}
	a, err := soon(ctx, w.p, func() (*computepb.Address, error) { return w.p.addressAt(ctx, in.GetName()) })
	if err != nil {
		return nil, err
	}
	b := ofAddress(a)
	if b == nil {
		return nil, fail(providers.Conflict, "there is an address %s that is not ours", a.GetName())
	}
	return b, w.look(ctx, b)
}

// stand returns the targets; NotFound if one is no machine of the network.
func (w balancers) stand(ctx context.Context, spec providers.LoadBalancerSpec) (all []*computepb.Instance, err error) {
	for _, t := range slices.Compact(slices.Sorted(slices.Values(spec.Targets))) {
		i, err := w.p.instance(ctx, t)
		if err != nil {
			return nil, err
		}
		if record(i)[networkTag] != string(spec.Network) {
			return nil, fail(providers.Invalid, "target %s is not in network %s", t, spec.Network)
		}
		all = append(all, i)
	}
	return all, nil
}

// door is the firewall rule for clients. Machines of the network all have the tag for nodes.
func (b *balancer) door(spec providers.LoadBalancerSpec, n *network) *computepb.Firewall {
	var from, words []string
	for _, s := range spec.Sources {
		words = append(words, s.String())
		if s.Addr().Is4() {
			from = append(from, s.String())
		}
	}
	if len(spec.Sources) == 0 {
		from = []string{"0.0.0.0/0"}
	}
	tags := label(partKind, b.key, nil, map[string]string{partTag: doorPart, portsTag: writePorts(spec.Ports), sourcesTag: strings.Join(words, " ")})
	f := &computepb.Firewall{Name: ptr(b.name(doorPart)), Network: n.vpc.SelfLink, Direction: ptr("INGRESS"), Description: describe(tags), Disabled: ptr(len(from) == 0),
		Allowed: opened(spec.Ports), SourceRanges: from, DestinationRanges: []string{b.address.GetAddress() + "/32"}, TargetTags: []string{n.name(nodesPart)}}
	if len(from) == 0 {
		f.SourceRanges = []string{"192.0.2.0/32"} // which is nobody's: RFC 5737
	}
	return f
}

// probe is the firewall rule for health checks.
func (b *balancer) probe(spec providers.LoadBalancerSpec, n *network) *computepb.Firewall {
	port, _ := health(spec.Ports)
	return &computepb.Firewall{Name: ptr(b.name(probePart)), Network: n.vpc.SelfLink, Direction: ptr("INGRESS"), Description: describe(label(partKind, b.key, nil, map[string]string{partTag: probePart})),
		Allowed: []*computepb.Allowed{{IPProtocol: ptr("tcp"), Ports: []string{strconv.Itoa(port)}}}, SourceRanges: probers(spec.Internal), TargetTags: []string{n.name(nodesPart)}}
}

// healthCheck is the health check that the ports ask for.
func (b *balancer) healthCheck(spec providers.LoadBalancerSpec) *computepb.HealthCheck {
	port, path := health(spec.Ports)
	c := &computepb.HealthCheck{Name: ptr(b.name(checkPart)), CheckIntervalSec: ptr(int32(8)), TimeoutSec: ptr(int32(1)), HealthyThreshold: ptr(int32(1)), UnhealthyThreshold: ptr(int32(3)), Type: ptr("TCP")}
	if path != "" {
		c.Type, c.HttpHealthCheck = ptr("HTTP"), &computepb.HTTPHealthCheck{Port: ptr(int32(port)), RequestPath: &path}
		if (providers.BalancerPort{TargetPort: port}).HealthScheme() == "https" {
			c.Type, c.HttpHealthCheck, c.HttpsHealthCheck = ptr("HTTPS"), nil, &computepb.HTTPSHealthCheck{Port: ptr(int32(port)), RequestPath: &path}
		}
	} else {
		c.TcpHealthCheck = &computepb.TCPHealthCheck{Port: ptr(int32(port))}
	}
	return c
}

func scheme(internal bool) *string {
	if internal {
		return ptr("INTERNAL")
	}
	return ptr("EXTERNAL")
}

// bring makes what is missing of the balancer and changes what differs.
func (w balancers) bring(ctx context.Context, b *balancer, spec providers.LoadBalancerSpec, n *network, targets []*computepb.Instance) error {
	door := b.door(spec, n)
	if len(door.GetDescription()) > longest {
		return fail(providers.Invalid, "its ports and sources are kept as %d letters, and Google takes %d", len(door.GetDescription()), longest)
	}
	err := together(
		func() error { return w.firewalled(ctx, b.firewall, door) },
		func() error { return w.probed(ctx, b.probe(spec, n)) },
		func() error { return w.checked(ctx, b.healthCheck(spec)) },
		func() error { return w.grouped(ctx, b, n, targets) },
	)
	if err != nil {
		return err
	}
	if err := w.served(ctx, b, spec, n); err != nil {
		return err
	}
	if err := w.moved(ctx, b, targets); err != nil || b.rule != nil {
		return err
	}
	in := &computepb.ForwardingRule{Name: ptr(b.name(rulePart)), LoadBalancingScheme: scheme(spec.Internal), IPProtocol: ptr("L3_DEFAULT"), AllPorts: ptr(true),
		IPAddress: b.address.SelfLink, BackendService: ptr(w.url("backendServices", b.name(servicePart))), Labels: labels(label(partKind, b.key, nil, nil))}
	if spec.Internal {
		in.Network, in.Subnetwork, in.AllowGlobalAccess = n.vpc.SelfLink, n.subnet.SelfLink, ptr(true)
	}
	err = w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.rules.Insert(ctx, &computepb.InsertForwardingRuleRequest{Project: w.p.o.Project, Region: w.p.o.Region, ForwardingRuleResource: in, RequestId: id})
	})
	if taken(err) {
		return nil
	}
	return err
}

// url names a thing of the region.
func (w balancers) url(collection, name string) string {
	return fmt.Sprintf("projects/%s/regions/%s/%s/%s", w.p.o.Project, w.p.o.Region, collection, name)
}

// firewalled makes the firewall rule, or makes the one that there is what it should be.
func (w balancers) firewalled(ctx context.Context, have, want *computepb.Firewall) error {
	if have == nil {
		return networks(w).guard(ctx, want)
	}
	return networks(w).amend(ctx, have, want)
}

// probed does that for the health checks' rule, which is looked for first.
func (w balancers) probed(ctx context.Context, want *computepb.Firewall) error {
	have, err := w.p.firewall(ctx, want.GetName())
	if gone(err) {
		have, err = nil, nil
	}
	if err != nil {
		return err
	}
	return w.firewalled(ctx, have, want)
}

// checked makes the health check, or changes what is checked.
func (w balancers) checked(ctx context.Context, want *computepb.HealthCheck) error {
	have, err := get(ctx, w.p, func() (*computepb.HealthCheck, error) {
		return w.p.api.checks.Get(ctx, &computepb.GetRegionHealthCheckRequest{Project: w.p.o.Project, Region: w.p.o.Region, HealthCheck: want.GetName()})
	})
	if gone(err) {
		err = w.p.do(ctx, func(id *string) (*compute.Operation, error) {
			return w.p.api.checks.Insert(ctx, &computepb.InsertRegionHealthCheckRequest{Project: w.p.o.Project, Region: w.p.o.Region, HealthCheckResource: want, RequestId: id})
		})
		if taken(err) {
			return nil
		}
		return err
	}
	if err != nil || have.GetType() == want.GetType() && have.GetTcpHealthCheck().GetPort() == want.GetTcpHealthCheck().GetPort() &&
		have.GetHttpHealthCheck().GetPort() == want.GetHttpHealthCheck().GetPort() && have.GetHttpHealthCheck().GetRequestPath() == want.GetHttpHealthCheck().GetRequestPath() &&
		have.GetHttpsHealthCheck().GetPort() == want.GetHttpsHealthCheck().GetPort() && have.GetHttpsHealthCheck().GetRequestPath() == want.GetHttpsHealthCheck().GetRequestPath() {
		return err
	}
	return w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.checks.Update(ctx, &computepb.UpdateRegionHealthCheckRequest{Project: w.p.o.Project, Region: w.p.o.Region, HealthCheck: want.GetName(), HealthCheckResource: want, RequestId: id})
	})
}

// grouped makes a group of endpoints in each zone that has targets.
func (w balancers) grouped(ctx context.Context, b *balancer, n *network, targets []*computepb.Instance) error {
	var steps []func() error
	zones := map[string]bool{}
	for _, g := range b.groups {
		zones[last(g.GetZone())] = true
	}
	for _, i := range targets {
		zone := last(i.GetZone())
		if zones[zone] {
			continue
		}
		zones[zone] = true
		steps = append(steps, func() error {
			err := w.p.do(ctx, func(id *string) (*compute.Operation, error) {
				return w.p.api.groups.Insert(ctx, &computepb.InsertNetworkEndpointGroupRequest{Project: w.p.o.Project, Zone: zone, RequestId: id, NetworkEndpointGroupResource: &computepb.NetworkEndpointGroup{
					Name: ptr(b.name(targetsPart)), NetworkEndpointType: ptr("GCE_VM_IP"), Network: n.vpc.SelfLink, Subnetwork: n.subnet.SelfLink}})
			})
			if taken(err) {
				return nil
			}
			return err
		})
	}
	if err := together(steps...); err != nil || len(steps) == 0 {
		return err
	}
	b.groups = nil
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		g, err := soon(ctx, w.p, func() (*computepb.NetworkEndpointGroup, error) {
			return get(ctx, w.p, func() (*computepb.NetworkEndpointGroup, error) {
				return w.p.api.groups.Get(ctx, &computepb.GetNetworkEndpointGroupRequest{Project: w.p.o.Project, Zone: zone, NetworkEndpointGroup: b.name(targetsPart)})
			})
		})
		if err != nil {
			return err
		}
		b.groups = append(b.groups, g)
	}
	return nil
}

// served makes the backend service, or gives it groups that it has not got.
func (w balancers) served(ctx context.Context, b *balancer, spec providers.LoadBalancerSpec, n *network) error {
	want := &computepb.BackendService{Name: ptr(b.name(servicePart)), LoadBalancingScheme: scheme(spec.Internal), Protocol: ptr("UNSPECIFIED"), HealthChecks: []string{w.url("healthChecks", b.name(checkPart))}}
	if spec.Internal {
		want.Network = n.vpc.SelfLink
	}
	for _, g := range b.groups {
		want.Backends = append(want.Backends, &computepb.Backend{Group: g.SelfLink, BalancingMode: ptr("CONNECTION")})
	}
	return w.p.fresh(ctx, func() error {
		have, err := get(ctx, w.p, func() (*computepb.BackendService, error) {
			return w.p.api.services.Get(ctx, &computepb.GetRegionBackendServiceRequest{Project: w.p.o.Project, Region: w.p.o.Region, BackendService: want.GetName()})
		})
		if gone(err) {
			err = w.p.do(ctx, func(id *string) (*compute.Operation, error) {
				return w.p.api.services.Insert(ctx, &computepb.InsertRegionBackendServiceRequest{Project: w.p.o.Project, Region: w.p.o.Region, BackendServiceResource: proto.Clone(want).(*computepb.BackendService), RequestId: id})
			})
			if taken(err) {
				return nil
			}
			return err
		}
		if err != nil || len(have.GetBackends()) >= len(want.GetBackends()) {
			return err
		}
		return w.p.do(ctx, func(id *string) (*compute.Operation, error) {
			return w.p.api.services.Patch(ctx, &computepb.PatchRegionBackendServiceRequest{Project: w.p.o.Project, Region: w.p.o.Region, BackendService: want.GetName(), RequestId: id,
				BackendServiceResource: &computepb.BackendService{Backends: want.Backends, Fingerprint: have.Fingerprint}})
		})
	})
}

// moved puts targets into their groups and takes others out.
func (w balancers) moved(ctx context.Context, b *balancer, targets []*computepb.Instance) error {
	want := map[string][]string{}
	for _, i := range targets {
		want[last(i.GetZone())] = append(want[last(i.GetZone())], i.GetName())
	}
	var steps []func() error
	for _, g := range b.groups {
		zone := last(g.GetZone())
		steps = append(steps, func() error {
			if err := w.join(ctx, zone, g.GetName(), without(want[zone], b.ends[zone])); err != nil {
				return err
			}
			return w.leave(ctx, zone, g.GetName(), without(b.ends[zone], want[zone]))
		})
	}
	return together(steps...)
}

// without returns the names that are not among others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(others, n) })
}

func (w balancers) ends(zone string, names []string) (all []*computepb.NetworkEndpoint) {
	for _, n := range names {
		all = append(all, &computepb.NetworkEndpoint{Instance: ptr("projects/" + w.p.o.Project + "/zones/" + zone + "/instances/" + n)})
	}
	return all
}

// join puts instances into a group.
func (w balancers) join(ctx context.Context, zone, group string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.groups.AttachNetworkEndpoints(ctx, &computepb.AttachNetworkEndpointsNetworkEndpointGroupRequest{Project: w.p.o.Project, Zone: zone, NetworkEndpointGroup: group, RequestId: id,
			NetworkEndpointGroupsAttachEndpointsRequestResource: &computepb.NetworkEndpointGroupsAttachEndpointsRequest{NetworkEndpoints: w.ends(zone, names)}})
	})
}

// leave takes instances out of a group.
func (w balancers) leave(ctx context.Context, zone, group string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return ignoring(w.p.do(ctx, func(id *string) (*compute.Operation, error) {
		return w.p.api.groups.DetachNetworkEndpoints(ctx, &computepb.DetachNetworkEndpointsNetworkEndpointGroupRequest{Project: w.p.o.Project, Zone: zone, NetworkEndpointGroup: group, RequestId: id,
			NetworkEndpointGroupsDetachEndpointsRequestResource: &computepb.NetworkEndpointGroupsDetachEndpointsRequest{NetworkEndpoints: w.ends(zone, names)}})
	}))
}

// without takes an instance out of the balancers of its owner.
func (w balancers) without(ctx context.Context, i *computepb.Instance) error {
	addresses, err := w.p.reserved(ctx, keyOf(unlabel(i.GetLabels())).Owner)
	if err != nil || len(addresses) == 0 {
		return err
	}
	groups, err := w.groups(ctx)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		b := ofAddress(a)
		for _, g := range groups {
			if b == nil || g.GetName() != b.name(targetsPart) || last(g.GetZone()) != last(i.GetZone()) {
				continue
			}
			names, err := w.members(ctx, g)
			if err != nil {
				return err
			}
			if slices.Contains(names, i.GetName()) {
				if err := w.leave(ctx, last(g.GetZone()), g.GetName(), []string{i.GetName()}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Update changes what differs: tags, ports, targets, sources, health check.
func (w balancers) Update(ctx context.Context, id providers.ID, spec providers.LoadBalancerSpec) (_ providers.LoadBalancer, err error) {
	defer about(providers.UpdateVerb, providers.BalancerNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.LoadBalancer{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.BalancerNoun, spec.Key().String())
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	defer unlock()
	b, err := w.balancer(ctx, id)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	o := b.object()
	if err := mine(o.Meta, spec.Key()); err != nil {
		return providers.LoadBalancer{}, err
	}
	switch {
	case b.key != spec.Key():
		return o, fail(providers.Invalid, "it is %s", b.key)
	case o.Network != spec.Network:
		return o, fail(providers.Invalid, "its network is %s and cannot be changed to %s", o.Network, spec.Network)
	case o.Internal != spec.Internal:
		return o, fail(providers.Invalid, "whether it is internal cannot be changed")
	case spec.Address.IsValid() && spec.Address != o.Address:
		return o, fail(providers.Invalid, "its address is %s and cannot be changed to %s", o.Address, spec.Address)
	}
	n, err := w.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return o, fail(providers.Invalid, "its network: %v", err)
	}
	targets, err := w.stand(ctx, spec)
	if err != nil {
		return o, fail(providers.Invalid, "its targets: %v", err)
	}
	if err := w.relabel(ctx, id, b.address.GetName(), label(providers.BalancerNoun, spec.Key(), spec.Tags, nil)); err != nil {
		return o, err
	}
	if !o.Partial {
		if err := w.bring(ctx, b, spec, n, targets); err != nil {
			return o, err
		}
	}
	if b, err = w.balancer(ctx, id); err != nil {
		return o, err
	}
	return b.object(), nil
}

// relabel gives the address the labels of the tags, if it has not got them.
func (w balancers) relabel(ctx context.Context, id providers.ID, name string, tags map[string]string) error {
	return w.p.fresh(ctx, func() error {
		a, err := w.p.addressAt(ctx, name)
		if err != nil {
			return err
		}
		want := labels(retagged(unlabel(a.GetLabels()), tags))
		if same(a.GetLabels(), want) {
			return nil
		}
		return w.p.do(ctx, func(request *string) (*compute.Operation, error) {
			return w.p.api.addresses.SetLabels(ctx, &computepb.SetLabelsAddressRequest{Project: w.p.o.Project, Region: w.p.o.Region, Resource: name, RequestId: request,
				RegionSetLabelsRequestResource: &computepb.RegionSetLabelsRequest{Labels: want, LabelFingerprint: a.LabelFingerprint}})
		})
	})
}

// Delete removes the balancer, in the order in which nothing is used any more by what is left; the address goes last.
func (w balancers) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.BalancerNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := refOf(providers.BalancerNoun, id)
	if err != nil {
		return nil
	}
	a, err := w.p.addressAt(ctx, r.name)
	if err != nil || a.GetId() != r.num || ofAddress(a) == nil {
		return ignoring(err)
	}
	b, project, region := ofAddress(a), w.p.o.Project, w.p.o.Region
	groups, err := w.groups(ctx)
	if err != nil {
		return err
	}
	gonePart := func(call func(id *string) (*compute.Operation, error)) func() error {
		return func() error { return ignoring(w.p.do(ctx, call)) }
	}
	if err := gonePart(func(id *string) (*compute.Operation, error) {
		return w.p.api.rules.Delete(ctx, &computepb.DeleteForwardingRuleRequest{Project: project, Region: region, ForwardingRule: b.name(rulePart), RequestId: id})
	})(); err != nil {
		return err
	}
	if err := gonePart(func(id *string) (*compute.Operation, error) {
		return w.p.api.services.Delete(ctx, &computepb.DeleteRegionBackendServiceRequest{Project: project, Region: region, BackendService: b.name(servicePart), RequestId: id})
	})(); err != nil {
		return err
	}
	rest := []func() error{
		gonePart(func(id *string) (*compute.Operation, error) {
			return w.p.api.checks.Delete(ctx, &computepb.DeleteRegionHealthCheckRequest{Project: project, Region: region, HealthCheck: b.name(checkPart), RequestId: id})
		}),
		func() error { return networks(w).unguard(ctx, b.name(doorPart)) },
		func() error { return networks(w).unguard(ctx, b.name(probePart)) },
	}
	for _, g := range groups {
		if g.GetName() == b.name(targetsPart) {
			rest = append(rest, gonePart(func(id *string) (*compute.Operation, error) {
				return w.p.api.groups.Delete(ctx, &computepb.DeleteNetworkEndpointGroupRequest{Project: project, Zone: last(g.GetZone()), NetworkEndpointGroup: g.GetName(), RequestId: id})
			}))
		}
	}
	if err := together(rest...); err != nil {
		return err
	}
	if err := gonePart(func(id *string) (*compute.Operation, error) {
		return w.p.api.addresses.Delete(ctx, &computepb.DeleteAddressRequest{Project: project, Region: region, Address: r.name, RequestId: id})
	})(); err != nil {
		return err
	}
	return vanished(ctx, w.p, "balancer "+string(id), func() (*balancer, error) { return w.balancer(ctx, id) })
}

// check returns why there can be no such balancer.
func (w balancers) check(s providers.LoadBalancerSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if len(s.Ports) == 0 {
		return fail(providers.Invalid, "it has no ports")
	}
	if s.Address.IsValid() && !s.Internal {
		return fail(providers.Unsupported, "address %s: Google chooses the address of a balancer that the internet reaches", s.Address)
	}
	port, path := health(s.Ports)
	seen := map[string]bool{}
	for _, p := range s.Ports {
		key := p.Protocol + " " + strconv.Itoa(p.Port)
		switch {
		case p.Protocol != "tcp" && p.Protocol != "udp":
			return fail(providers.Invalid, "port %q: the protocol can be tcp or udp, not %q", p.Name, p.Protocol)
		case min(p.Port, p.TargetPort) < 1 || max(p.Port, p.TargetPort, p.HealthPort) > 65535 || p.HealthPort < 0:
			return fail(providers.Invalid, "port %q: there are ports from 1 to 65535", p.Name)
		case seen[key]:
			return fail(providers.Invalid, "port %s is there twice", key)
		case p.ProxyProtocol:
			return fail(providers.Unsupported, "port %q: a passthrough balancer has no proxy protocol; machines see the client's address as it is", p.Name)
		case p.IdleSeconds != 0:
			return fail(providers.Unsupported, "port %q: a passthrough balancer has no idle timeout", p.Name)
		case p.HealthPath != "" && p.HealthPath[0] != '/':
			return fail(providers.Invalid, "port %q: health path %q does not begin with /", p.Name, p.HealthPath)
		case p.HealthPort != 0 && p.HealthPort != port || p.HealthPath != "" && p.HealthPath != path:
			return fail(providers.Unsupported, "port %q: a balancer at Google has one health check for all its ports", p.Name)
		}
		seen[key] = true
	}
	for _, c := range s.Sources {
		if !c.IsValid() || c != c.Masked() || c == (netip.Prefix{}) {
			return fail(providers.Invalid, "source %s has host bits", c)
		}
	}
	return checkTags(providers.BalancerNoun, s.Tags)
}
