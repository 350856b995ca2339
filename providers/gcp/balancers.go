package gcp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

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
