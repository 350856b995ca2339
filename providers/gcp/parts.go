package gcp

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"github.com/provisionhq/provision/providers"
)

// probers are where Google's health checks come from. From memory, not compared yet with
// https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges
func probers(internal bool) []string {
	if internal {
		return []string{"130.211.0.0/22", "35.191.0.0/16"}
	}
	return []string{"209.85.152.0/22", "209.85.204.0/22", "35.191.0.0/16"}
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
