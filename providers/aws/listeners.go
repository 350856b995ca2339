package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/provisionhq/provision/providers"
)

// A front is what one listener should be: a port, for tcp, udp or both.
type front struct {
	port     providers.BalancerPort // of both: the tcp one
	protocol string                 // TCP, UDP or TCP_UDP
	words    string                 // which of the spec's ports it is, as portTag has it
}

// merged are the listeners for the ports. Two of one number are one listener.
func merged(ports []providers.BalancerPort) (all []front) {
	for i, p := range ports {
		words := fmt.Sprintf("%d:%s:%s", i, p.Protocol, p.Name)
		at := slices.IndexFunc(all, func(f front) bool { return f.port.Port == p.Port })
		if at < 0 {
			all = append(all, front{p, strings.ToUpper(p.Protocol), words})
			continue
		}
		all[at].protocol = "TCP_UDP"
		all[at].words += " " + words
		if p.Protocol == "tcp" {
			all[at].port = p
		}
	}
	return all
}

// ports adds the ports that a listener is to those of the balancer, under their places; strangers' from the given place on.
func (b *balancer) ports(l listener, place int, all map[int]providers.BalancerPort) {
	p := providers.BalancerPort{Port: int(aws.ToInt32(l.Port))}
	for _, a := range l.DefaultActions {
		if g := b.pool(aws.ToString(a.TargetGroupArn)); g != nil {
			p.TargetPort = int(aws.ToInt32(g.Port))
			p.HealthPort, _ = strconv.Atoi(aws.ToString(g.HealthCheckPort)) // else it is traffic-port
			if g.HealthCheckProtocol == elbtypes.ProtocolEnumHttp || g.HealthCheckProtocol == elbtypes.ProtocolEnumHttps {
				p.HealthPath = aws.ToString(g.HealthCheckPath)
			}
			p.ProxyProtocol = strings.HasSuffix(aws.ToString(g.TargetGroupName), "p")
		}
	}
	for i, protocol := range strings.Split(strings.ToLower(string(l.Protocol)), "_") {
		p.Protocol, p.Name, p.IdleSeconds = protocol, "", 0
		at := place + i
		for _, w := range strings.Fields(l.tags[portTag]) {
			if parts := strings.SplitN(w, ":", 3); len(parts) == 3 && parts[1] == protocol {
				at, _ = strconv.Atoi(parts[0])
				p.Name = parts[2]
			}
		}
		if protocol == "tcp" {
			p.IdleSeconds, _ = strconv.Atoi(l.tags[idleTag])
		}
		all[at] = p
	}
}

// poolOf names the target group that a port leads to. It is made of all that a target group is, so none is ever changed: a port
// that changes gets another. The last letter says whether it speaks the proxy protocol.
func poolOf(p providers.BalancerPort, protocol string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", protocol, p.TargetPort, p.HealthPort, p.HealthPath))
	last := "n"
	if p.ProxyProtocol {
		last = "p"
	}
	return hex.EncodeToString(sum[:4]) + last
}

// bring makes the balancer what the spec says: all that is new first, then listeners, and at last what is no longer needed.
func (w balancers) bring(ctx context.Context, b *balancer, spec providers.LoadBalancerSpec, n *network) error {
	if err := w.open(ctx, b, spec); err != nil {
		return err
	}
	if err := w.admit(ctx, b, n, spec.Ports); err != nil {
		return err
	}
	fronts := merged(spec.Ports)
	pools := map[string]string{} // name to ARN
	for _, f := range fronts {
		name := b.name() + "-" + poolOf(f.port, f.protocol)
		if pools[name] != "" {
			continue
		}
		arn, err := w.pool(ctx, b, n, f, name)
		if err != nil {
			return err
		}
		pools[name] = arn
		if err := w.fill(ctx, arn, b.targets[arn], spec.Targets); err != nil {
			return err
		}
	}
	if err := w.raise(ctx, b, spec, n); err != nil {
		return err
	}
	if want := strconv.Itoa(len(fronts)); len(fronts) < len(b.listeners) && b.tags[listenersTag] != want {
		if err := w.p.retag(ctx, b.id(), nil, map[string]string{listenersTag: want}); err != nil {
			return err
		}
	}
	for _, l := range b.listeners { // before new ones, as one may take over its number
		if !slices.ContainsFunc(fronts, func(f front) bool { return same(f, l) }) {
			if _, err := w.p.elb.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: l.ListenerArn}); ignoring(err) != nil {
				return err
			}
		}
	}
	for _, f := range fronts {
		if err := w.front(ctx, b, f, pools[b.name()+"-"+poolOf(f.port, f.protocol)]); err != nil {
			return err
		}
	}
	if want := strconv.Itoa(len(fronts)); len(fronts) > len(b.listeners) && b.tags[listenersTag] != want {
		if err := w.p.retag(ctx, b.id(), nil, map[string]string{listenersTag: want}); err != nil {
			return err
		}
	}
	for _, g := range b.pools {
		if pools[aws.ToString(g.TargetGroupName)] == "" {
			if err := w.dropPool(ctx, aws.ToString(g.TargetGroupArn)); err != nil {
				return err
			}
		}
	}
	return nil
}

// same says whether a listener can be what is asked for without being made anew.
func same(f front, l listener) bool {
	return int(aws.ToInt32(l.Port)) == f.port.Port && string(l.Protocol) == f.protocol
}

// open lets the sources in at the balancer.
func (w balancers) open(ctx context.Context, b *balancer, spec providers.LoadBalancerSpec) error {
	sources, words := spec.Sources, func(i int) string { return fmt.Sprintf("provision %d", i) }
	if len(sources) == 0 {
		sources, words = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, func(int) string { return everybody }
	}
	want := map[opening]string{}
	for _, p := range spec.Ports {
		for i, s := range sources {
			want[opening{"", p.Protocol, p.Port, s}] = words(i)
		}
	}
	have := map[opening]string{}
	for _, p := range b.group.IpPermissions {
		for _, r := range p.IpRanges {
			if c, err := netip.ParsePrefix(aws.ToString(r.CidrIp)); err == nil {
				have[opening{"", aws.ToString(p.IpProtocol), int(aws.ToInt32(p.FromPort)), c}] = aws.ToString(r.Description)
			}
		}
	}
	var add, renamed, drop []types.IpPermission
	for _, o := range sortedOpenings(want) {
		if was, ok := have[o]; !ok {
			add = append(add, o.permission(want[o]))
		} else if was != want[o] {
			renamed = append(renamed, o.permission(want[o]))
		}
	}
	for _, o := range sortedOpenings(have) {
		if _, ok := want[o]; !ok {
			drop = append(drop, o.permission(""))
		}
	}
	return w.permit(ctx, b.id(), add, renamed, drop)
}

// permit changes what a group lets in.
func (w balancers) permit(ctx context.Context, group string, add, renamed, drop []types.IpPermission) error {
	if len(add) > 0 {
		err := w.p.soon(ctx, func() error {
			_, err := w.p.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: add})
			return err
		})
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return err
		}
	}
	if len(renamed) > 0 {
		if _, err := w.p.ec2.UpdateSecurityGroupRuleDescriptionsIngress(ctx, &ec2.UpdateSecurityGroupRuleDescriptionsIngressInput{GroupId: &group, IpPermissions: renamed}); err != nil {
			return err
		}
	}
	if len(drop) > 0 {
		if _, err := w.p.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &group, IpPermissions: drop}); ignoring(err) != nil {
			return err
		}
	}
	return nil
}

// admit lets the balancer in at the nodes, at the target and health ports; without ports, nowhere.
func (w balancers) admit(ctx context.Context, b *balancer, n *network, ports []providers.BalancerPort) error {
	g := n.group(nodesPart)
	if g == nil {
		return nil
	}
	want, have := map[opening]bool{}, map[opening]bool{}
	for _, p := range ports {
		want[opening{protocol: p.Protocol, port: p.TargetPort}] = true
		health := p.HealthPort
		if health == 0 {
			health = p.TargetPort
		}
		want[opening{protocol: "tcp", port: health}] = true
	}
	now, err := w.p.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{aws.ToString(g.GroupId)}})
	if err != nil {
		return err
	}
	for _, p := range now.SecurityGroups[0].IpPermissions {
		if inward(b.id())(p) {
			have[opening{protocol: aws.ToString(p.IpProtocol), port: int(aws.ToInt32(p.FromPort))}] = true
		}
	}
	pairs := func(from, not map[opening]bool) (all []types.IpPermission) {
		for _, o := range sortedOpenings(from) {
			if !not[o] {
				all = append(all, types.IpPermission{IpProtocol: ptr(o.protocol), FromPort: ptr(int32(o.port)), ToPort: ptr(int32(o.port)),
					UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: ptr(b.id())}}})
			}
		}
		return all
	}
	return w.permit(ctx, aws.ToString(g.GroupId), pairs(want, have), nil, pairs(have, want))
}

// part are the tags of a part of a balancer.
func (b *balancer) part(own map[string]string) (all []elbtypes.Tag) {
	tags := map[string]string{providers.OwnerTag: b.tags[providers.OwnerTag], providers.NameTag: b.tags[providers.NameTag], providers.KindTag: "part", networkTag: b.tags[networkTag]}
	for k, v := range own {
		tags[k] = v
	}
	for _, t := range written(tags) {
		all = append(all, elbtypes.Tag{Key: t.Key, Value: t.Value})
	}
	return all
}

// pool returns the target group of that name, which it makes if need be.
func (w balancers) pool(ctx context.Context, b *balancer, n *network, f front, name string) (arn string, err error) {
	for _, g := range b.pools {
		if aws.ToString(g.TargetGroupName) == name {
			arn = aws.ToString(g.TargetGroupArn)
		}
	}
	if arn == "" {
		in := &elb.CreateTargetGroupInput{Name: &name, Protocol: elbtypes.ProtocolEnum(f.protocol), Port: ptr(int32(f.port.TargetPort)), VpcId: &n.vpc,
			TargetType: elbtypes.TargetTypeEnumInstance, HealthCheckProtocol: elbtypes.ProtocolEnumTcp, HealthCheckPort: ptr("traffic-port"), Tags: b.part(nil)}
		if f.port.HealthPort != 0 {
			in.HealthCheckPort = ptr(strconv.Itoa(f.port.HealthPort))
		}
		if f.port.HealthPath != "" {
			in.HealthCheckProtocol, in.HealthCheckPath = elbtypes.ProtocolEnum(strings.ToUpper(f.port.HealthScheme())), ptr(f.port.HealthPath)
		}
		out, err := w.p.elb.CreateTargetGroup(ctx, in)
		if err != nil {
			return "", err
		}
		arn = aws.ToString(out.TargetGroups[0].TargetGroupArn)
	} else if slices.ContainsFunc(b.listeners, func(l listener) bool { return leads(l, arn) }) {
		return arn, nil // it is complete, or no listener would lead to it
	}
	if f.port.ProxyProtocol {
		_, err = w.p.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: &arn,
			Attributes: []elbtypes.TargetGroupAttribute{{Key: ptr("proxy_protocol_v2.enabled"), Value: ptr("true")}}})
	}
	return arn, err
}

func leads(l listener, arn string) bool {
	return slices.ContainsFunc(l.DefaultActions, func(a elbtypes.Action) bool { return aws.ToString(a.TargetGroupArn) == arn })
}

// fill makes the target group's machines those that are asked for.
func (w balancers) fill(ctx context.Context, arn string, have []string, want []providers.ID) error {
	var add, drop []elbtypes.TargetDescription
	for _, t := range slices.Compact(slices.Sorted(slices.Values(want))) {
		if !slices.Contains(have, string(t)) {
			add = append(add, elbtypes.TargetDescription{Id: ptr(string(t))})
		}
	}
	for _, t := range have {
		if !slices.Contains(want, providers.ID(t)) {
			drop = append(drop, elbtypes.TargetDescription{Id: ptr(t)})
		}
	}
	if len(add) > 0 {
		if _, err := w.p.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: &arn, Targets: add}); err != nil {
			return err
		}
	}
	if len(drop) > 0 {
		if _, err := w.p.elb.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: drop}); err != nil && !is(err, "InvalidTarget") {
			return err
		}
	}
	return nil
}

// raise makes the load balancer itself, in all zones of the network.
func (w balancers) raise(ctx context.Context, b *balancer, spec providers.LoadBalancerSpec, n *network) error {
	if b.lb != nil {
		return nil
	}
	part, scheme := publicPart, elbtypes.LoadBalancerSchemeEnumInternetFacing
	if spec.Internal {
		part, scheme = privatePart, elbtypes.LoadBalancerSchemeEnumInternal
	}
	in := &elb.CreateLoadBalancerInput{Name: ptr(b.name()), Type: elbtypes.LoadBalancerTypeEnumNetwork, Scheme: scheme, SecurityGroups: []string{b.id()}, Tags: b.part(nil)}
	for _, z := range n.zones() {
		if s := n.subnet(part, z); s != nil {
			in.Subnets = append(in.Subnets, aws.ToString(s.SubnetId))
		}
	}
	if len(in.Subnets) == 0 {
		return fail(providers.Invalid, "network %s has no %s subnet", n.id, part)
	}
	out, err := w.p.elb.CreateLoadBalancer(ctx, in)
	if err == nil {
		b.lb = &out.LoadBalancers[0]
	}
	return err
}

// front makes a listener, or makes the one that is there lead where it should.
func (w balancers) front(ctx context.Context, b *balancer, f front, pool string) error {
	to := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &pool}}
	var l listener
	if i := slices.IndexFunc(b.listeners, func(l listener) bool { return same(f, l) }); i >= 0 {
		l = b.listeners[i]
		if !leads(l, pool) {
			if _, err := w.p.elb.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: l.ListenerArn, DefaultActions: to}); err != nil {
				return err
			}
		}
		if l.tags[portTag] != f.words {
			if err := w.mark(ctx, l, portTag, f.words); err != nil {
				return err
			}
		}
	} else {
		out, err := w.p.elb.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: b.lb.LoadBalancerArn, Port: ptr(int32(f.port.Port)),
			Protocol: elbtypes.ProtocolEnum(f.protocol), DefaultActions: to, Tags: b.part(map[string]string{portTag: f.words})})
		if is(err, "DuplicateListener") { // it is there and not seen yet, or somebody makes it too
			return fail(providers.Unavailable, "the listener of port %d is being made: %w", f.port.Port, err)
		}
		if err != nil {
			return err
		}
		l = listener{out.Listeners[0], nil}
	}
	was, _ := strconv.Atoi(l.tags[idleTag])
	if was == f.port.IdleSeconds {
		return nil
	}
	seconds := f.port.IdleSeconds
	if seconds == 0 {
		seconds = 350 // AWS's default
	}
	if _, err := w.p.elb.ModifyListenerAttributes(ctx, &elb.ModifyListenerAttributesInput{ListenerArn: l.ListenerArn,
		Attributes: []elbtypes.ListenerAttribute{{Key: ptr("tcp.idle_timeout.seconds"), Value: ptr(strconv.Itoa(seconds))}}}); err != nil {
		return err
	}
	return w.mark(ctx, l, idleTag, strconv.Itoa(f.port.IdleSeconds))
}

// mark tags a listener.
func (w balancers) mark(ctx context.Context, l listener, key, value string) error {
	_, err := w.p.elb.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{aws.ToString(l.ListenerArn)}, Tags: []elbtypes.Tag{{Key: &key, Value: &value}}})
	return err
}
