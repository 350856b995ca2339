package aws

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/provisionhq/provision/providers"
)

// balancers are Network Load Balancers. Each has a security group of its own, which is made first and goes last: its tags are
// the balancer's, and its ID is the balancer's ID. All else has names made of it.
type balancers struct{ p *Provider }

// Tags of a balancer's group, and of listeners.
const (
	sideTag      = ownTags + "internal"  // whether it is reached from its network only
	listenersTag = ownTags + "listeners" // how many it has when it is complete
	portTag      = ownTags + "port"      // on a listener: which ports of the spec it is, and their names
	idleTag      = ownTags + "idle"      // on a listener: its idle timeout, once that is set
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
	groups, err := w.groups(ctx, providers.Key{Owner: o})
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		b := &balancer{group: g}
		if err := w.look(ctx, b); err != nil {
			return nil, err
		}
		all = append(all, b.object())
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// Create makes the group, the target groups with the machines in them, the balancer and its listeners, in this order.
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
	if b != nil && !b.object().Partial {
		return b.object(), providers.Exists
	}
	n, err := w.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if err := w.stand(ctx, spec); err != nil {
		return providers.LoadBalancer{}, err
	}
	if b == nil {
		if b, err = w.begin(ctx, spec, n); err != nil {
			return providers.LoadBalancer{}, err
		}
	}
	if err := w.bring(ctx, b, spec, n); err != nil {
		return providers.LoadBalancer{}, err
	}
	return w.seen(ctx, b.id(), len(merged(spec.Ports)))
}

// named returns the owner's balancer of that name; nil if there is none.
func (w balancers) named(ctx context.Context, k providers.Key) (b *balancer, err error) {
	if id := w.p.made.recent(providers.BalancerNoun, k, w.p.o.Lag); id != "" {
		err := w.p.soon(ctx, func() (err error) { b, err = w.balancer(ctx, providers.ID(id)); return err })
		if err == nil || !gone(err) {
			return b, err
		}
	}
	groups, err := w.groups(ctx, k)
	if err != nil || len(groups) == 0 {
		return nil, err
	}
	b = &balancer{group: groups[0]}
	return b, w.look(ctx, b)
}

// begin makes the balancer's group.
func (w balancers) begin(ctx context.Context, spec providers.LoadBalancerSpec, n *network) (b *balancer, err error) {
	tags := label(providers.BalancerNoun, spec.Key(), spec.Tags, map[string]string{networkTag: string(spec.Network), sideTag: strconv.FormatBool(spec.Internal), listenersTag: strconv.Itoa(len(merged(spec.Ports)))})
	id, err := w.p.makeGroup(ctx, groupName(spec.Key(), "balancer"), n.vpc, tags)
	if err != nil {
		return nil, err
	}
	w.p.made.note(providers.BalancerNoun, spec.Key(), id)
	err = w.p.soon(ctx, func() (err error) { b, err = w.balancer(ctx, providers.ID(id)); return err })
	return b, err
}

// seen returns a balancer once it works.
func (w balancers) seen(ctx context.Context, id string, listeners int) (o providers.LoadBalancer, err error) {
	err = w.p.wait(ctx, "balancer "+id+" is not active", func() (bool, error) {
		b, err := w.balancer(ctx, providers.ID(id))
		if err != nil {
			return false, ignoring(err)
		}
		if b.lb != nil && b.lb.State != nil && b.lb.State.Code == elbtypes.LoadBalancerStateEnumFailed {
			return false, fail(providers.Unavailable, "balancer %s failed: %s", id, aws.ToString(b.lb.State.Reason))
		}
		o = b.object()
		return !o.Partial && len(b.listeners) >= listeners, nil
	})
	return o, err
}

// stand returns NotFound if a target is no machine of the network.
func (w balancers) stand(ctx context.Context, spec providers.LoadBalancerSpec) error {
	for _, t := range slices.Compact(slices.Sorted(slices.Values(spec.Targets))) {
		i, err := w.p.instance(ctx, t)
		if err != nil {
			return err
		}
		if read(i.Tags)[networkTag] != string(spec.Network) {
			return fail(providers.NotFound, "machine %s in network %s", t, spec.Network)
		}
	}
	return nil
}

// Update changes what differs of tags, ports, targets and sources.
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
	if err := mine(o.Meta, spec.Key(), func() (providers.ID, error) {
		groups, err := w.groups(ctx, spec.Key())
		if err != nil || len(groups) == 0 {
			return "", err
		}
		return providers.ID(aws.ToString(groups[0].GroupId)), nil
	}); err != nil {
		return providers.LoadBalancer{}, err
	}
	if spec.Network != "" && spec.Network != o.Network || spec.Internal != o.Internal {
		return providers.LoadBalancer{}, fail(providers.Invalid, "network and side of a balancer cannot be changed")
	}
	spec.Network = o.Network
	if err := w.stand(ctx, spec); err != nil {
		if gone(err) {
			err = fail(providers.Invalid, "%v", err)
		}
		return providers.LoadBalancer{}, err
	}
	if err := w.p.retag(ctx, b.id(), b.tags, label(providers.BalancerNoun, spec.Key(), spec.Tags, nil)); err != nil {
		return providers.LoadBalancer{}, err
	}
	if o.Partial {
		return w.again(ctx, id)
	}
	n, err := w.p.network(ctx, o.Network)
	if err != nil {
		return providers.LoadBalancer{}, fail(providers.Invalid, "its network: %v", err)
	}
	if err := w.bring(ctx, b, spec, n); err != nil {
		return providers.LoadBalancer{}, err
	}
	return w.again(ctx, id)
}

func (w balancers) again(ctx context.Context, id providers.ID) (providers.LoadBalancer, error) {
	b, err := w.balancer(ctx, id)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	return b.object(), nil
}

// Delete takes the balancer apart: listeners go with it, then target groups, then what the nodes let in from it, then its group.
func (w balancers) Delete(ctx context.Context, id providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.BalancerNoun, string(id), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := w.balancer(ctx, id)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if b.lb != nil {
		if _, err := w.p.elb.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: b.lb.LoadBalancerArn}); ignoring(err) != nil {
			return err
		}
	}
	for _, g := range b.pools {
		if err := w.dropPool(ctx, aws.ToString(g.TargetGroupArn)); err != nil {
			return err
		}
	}
	n, err := w.p.network(ctx, providers.ID(b.tags[networkTag]))
	if ignoring(err) != nil {
		return err
	}
	if err == nil {
		if err := w.admit(ctx, b, n, nil); err != nil {
			return err
		}
	}
	if err := w.p.dropGroup(ctx, b.id()); err != nil {
		return err
	}
	w.p.made.drop(providers.BalancerNoun, providers.Key{Owner: providers.Owner(b.tags[providers.OwnerTag]), Name: b.tags[providers.NameTag]})
	return w.p.wait(ctx, "balancer "+string(id)+" is still there", func() (bool, error) {
		_, err := w.balancer(ctx, id)
		return gone(err), ignoring(err)
	})
}

// dropPool deletes a target group, as soon as its listener is gone.
func (w balancers) dropPool(ctx context.Context, arn string) error {
	return w.p.wait(ctx, "target group "+arn+" is still in use", func() (bool, error) {
		_, err := w.p.elb.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &arn})
		if is(err, "ResourceInUse") {
			return false, nil
		}
		return true, ignoring(err)
	})
}

// without takes a machine out of its owner's balancers.
func (w balancers) without(ctx context.Context, i types.Instance) error {
	groups, err := w.groups(ctx, providers.Key{Owner: providers.Owner(read(i.Tags)[providers.OwnerTag])})
	if err != nil {
		return err
	}
	for _, g := range groups {
		b := &balancer{group: g}
		if err := w.look(ctx, b); err != nil {
			return err
		}
		for arn, ts := range b.targets {
			if !slices.Contains(ts, aws.ToString(i.InstanceId)) {
				continue
			}
			_, err := w.p.elb.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: []elbtypes.TargetDescription{{Id: i.InstanceId}}})
			if ignoring(err) != nil && !is(err, "InvalidTarget") {
				return err
			}
		}
	}
	return nil
}

// check returns why there can be no such balancer.
func (w balancers) check(s providers.LoadBalancerSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if s.Address.IsValid() {
		return fail(providers.Unsupported, "a balancer at a fixed address: AWS gives a name")
	}
	if len(s.Ports) == 0 || len(s.Ports) > 50 {
		return fail(providers.Invalid, "%d ports: it can have from 1 to 50", len(s.Ports))
	}
	named := regexp.MustCompile(`^[a-zA-Z0-9._-]{0,63}$`)
	for i, p := range s.Ports {
		switch {
		case p.Protocol != "tcp" && p.Protocol != "udp":
			return fail(providers.Invalid, "port %d: protocol %q is neither tcp nor udp", p.Port, p.Protocol)
		case p.Port < 1 || p.Port > 65535 || p.TargetPort < 1 || p.TargetPort > 65535 || p.HealthPort < 0 || p.HealthPort > 65535:
			return fail(providers.Invalid, "port %d, target port %d, health port %d: they must be from 1 to 65535", p.Port, p.TargetPort, p.HealthPort)
		case !named.MatchString(p.Name):
			return fail(providers.Invalid, "port name %q: it can have letters, digits, dots, _ and -", p.Name)
		case p.IdleSeconds != 0 && (p.Protocol != "tcp" || p.IdleSeconds < 60 || p.IdleSeconds > 6000):
			return fail(providers.Invalid, "port %d: idle timeout of %d s: AWS has 60 to 6000, for tcp", p.Port, p.IdleSeconds)
		case p.HealthPath != "" && p.HealthPath[0] != '/':
			return fail(providers.Invalid, "port %d: health path %q does not begin with /", p.Port, p.HealthPath)
		}
		for _, o := range s.Ports[:i] {
			if o.Port == p.Port && (o.Protocol == p.Protocol || poolOf(o, "") != poolOf(p, "")) {
				return fail(providers.Invalid, "port %d is there twice: AWS can have one as tcp and one as udp if they lead to the same target port", p.Port)
			}
		}
	}
	for i, c := range s.Sources {
		if !c.Addr().Is4() || c != c.Masked() || slices.Contains(s.Sources[:i], c) {
			return fail(providers.Invalid, "source %s: it must be the first address of an IPv4 range, once", c)
		}
	}
	return checkTags(s.Tags)
}
