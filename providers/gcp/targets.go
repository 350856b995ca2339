package gcp

import (
	"context"
	"maps"
	"slices"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
)

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
