package azure

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

// balancers are Standard load balancers in their network's group. Their pools have the addresses of machines, so that a change of
// targets is one call.
type balancers struct{ p *Provider }

// sideTag is on a balancer: whether it is reached from its network only.
const sideTag = ownTags + "internal"

// Get returns the balancer as it is.
func (w balancers) Get(ctx context.Context, of providers.ID) (_ providers.LoadBalancer, err error) {
	defer about(providers.GetVerb, providers.BalancerNoun, string(of), &err)
	b, err := w.balancer(ctx, of)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	return b.object(), nil
}

// List returns the owner's balancers.
func (w balancers) List(ctx context.Context, o providers.Owner) (all []providers.LoadBalancer, err error) {
	defer about(providers.ListVerb, providers.BalancerNoun, string(o), &err)
	nets, err := w.p.networksOf(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, n := range nets {
		found, err := w.in(ctx, n.id.group)
		if err != nil {
			return nil, err
		}
		for _, b := range found {
			if belongs(b.tags(), providers.BalancerNoun, o) {
				all = append(all, b.object())
			}
		}
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// in returns what there is of all balancers in a group.
func (w balancers) in(ctx context.Context, group string) (map[string]*balancer, error) {
	by := map[string]*balancer{}
	lbs, err := collect(ctx, w.p.lbs.NewListPager(group, nil), func(o armnetwork.LoadBalancersClientListResponse) []*armnetwork.LoadBalancer { return o.Value })
	if ignoring(err) != nil {
		return nil, err
	}
	for _, lb := range lbs {
		by[val(lb.Name)] = &balancer{group: group, name: val(lb.Name), lb: lb}
	}
	ips, err := collect(ctx, w.p.addresses.NewListPager(group, nil), func(o armnetwork.PublicIPAddressesClientListResponse) []*armnetwork.PublicIPAddress { return o.Value })
	if ignoring(err) != nil {
		return nil, err
	}
	for _, a := range ips {
		name, ok := regexp.MustCompile(`^(.*)_balancer$`).FindStringSubmatch(val(a.Name)), false
		if len(name) == 2 {
			if _, ok = by[name[1]]; !ok {
				by[name[1]] = &balancer{group: group, name: name[1]}
			}
			by[name[1]].address = a
		}
	}
	if len(by) == 0 {
		return by, nil
	}
	f, err := w.p.firewalls.Get(ctx, group, nodesPart, nil)
	if err == nil {
		for _, b := range by {
			b.lookRules(&f.SecurityGroup)
		}
	}
	return by, ignoring(err)
}

// Create makes the balancer's address, the balancer, and the rules that let its clients in, in this order.
func (w balancers) Create(ctx context.Context, spec providers.LoadBalancerSpec) (_ providers.LoadBalancer, err error) {
	defer about(providers.CreateVerb, providers.BalancerNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.LoadBalancer{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.BalancerNoun, networkName(spec.Network)+"/"+spec.Name)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	defer unlock()
	n, err := w.p.standing(ctx, spec.Owner, spec.Network)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	b, err := w.named(ctx, spec.Key(), n)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if b.there() && !b.object().Partial {
		return b.object(), providers.Exists
	}
	addresses, err := w.targets(ctx, n.id.group, spec.Targets)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if err := w.bring(ctx, b, spec, n, addresses); err != nil {
		return providers.LoadBalancer{}, err
	}
	w.p.made.note(providers.BalancerNoun, spec.Key(), spec.Name)
	var o providers.LoadBalancer
	err = w.p.wait(ctx, "balancer "+spec.Name+" is not complete", func() (bool, error) {
		b, err := w.look(ctx, n.id.group, spec.Name)
		if err == nil && b.there() {
			o = b.object()
		}
		return err == nil && b.there() && !o.Partial, err
	})
	return o, err
}

// networkName is the group in a network's ID.
func networkName(of providers.ID) string {
	i, _ := parse(providers.NetworkNoun, of)
	return i.group
}

// named returns what there is of the owner's balancer of that name.
func (w balancers) named(ctx context.Context, k providers.Key, n *network) (b *balancer, err error) {
	err = w.p.known(ctx, providers.BalancerNoun, k, func() error {
		b, err = w.look(ctx, n.id.group, k.Name)
		if err == nil && b.lb == nil {
			return fail(providers.NotFound, "balancer %s", k)
		}
		return err
	})
	if ignoring(err) != nil {
		return nil, err
	}
	if b.there() {
		if t := b.tags(); t[providers.OwnerTag] != string(k.Owner) || t[providers.NameTag] != k.Name {
			return nil, fail(providers.Conflict, "%s is there and its tags say that it is another's", b.anchor())
		}
		return b, nil
	}
	nets, err := w.p.networksOf(ctx, k.Owner)
	if err != nil {
		return nil, err
	}
	for _, other := range nets {
		if other.id.group == n.id.group {
			continue
		}
		if o, err := w.look(ctx, other.id.group, k.Name); err != nil || o.there() {
			if err == nil && o.object().Partial {
				err = fail(providers.Conflict, "%s is there, not complete, in another network", o.anchor())
			}
			return o, err
		}
	}
	return b, nil
}

// targets returns the addresses of machines by the names that they have in a pool; NotFound if one is no machine of the network.
func (w balancers) targets(ctx context.Context, group string, all []providers.ID) (map[string]string, error) {
	by := map[string]string{}
	for _, t := range all {
		i, err := parse(providers.MachineNoun, t)
		if err != nil {
			return nil, err
		}
		if i.group != group {
			return nil, fail(providers.NotFound, "machine %s in network %s", t, group)
		}
		nic, err := w.p.nics.Get(ctx, group, i.name, nil)
		if err != nil {
			return nil, err
		}
		v := &vm{nic: &nic.Interface}
		if !i.fits(read(nic.Tags)) || val(v.ip().PrivateIPAddress) == "" {
			return nil, fail(providers.NotFound, "machine %s", t)
		}
		by[i.name+"."+i.generation] = val(v.ip().PrivateIPAddress)
	}
	return by, nil
}

// bring makes or changes what differs from the spec.
func (w balancers) bring(ctx context.Context, b *balancer, spec providers.LoadBalancerSpec, n *network, addresses map[string]string) error {
	generation := b.tags()[providers.GenerationTag]
	if generation == "" {
		generation = fresh()
	}
	tags := label(providers.BalancerNoun, spec.Key(), generation, spec.Tags, map[string]string{networkTag: string(spec.Network), sideTag: strconv.FormatBool(spec.Internal)})
	if !spec.Internal && b.address == nil {
		if err := w.p.putAddress(ctx, b.group, addressOf(b.name), written(tags), w.p.everywhere()); err != nil {
			return err
		}
	}
	if want := w.describe(spec, n, addresses); b.lb == nil || b.lb.Properties == nil || !reflect.DeepEqual(portsOf(b.lb), portsOf(want)) || !maps.Equal(backends(b.lb), addresses) {
		want.Tags = written(tags)
		if b.lb != nil {
			want.Tags = b.lb.Tags
			keepFront(b.lb, want)
		}
		if err := w.put(ctx, b.group, b.name, want); err != nil {
			return err
		}
	}
	return w.p.admit(ctx, b.group, w.clients(spec, b.group), isRuleOf(b.name))
}

// keepFront keeps the address that an internal balancer was given.
func keepFront(have, want *armnetwork.LoadBalancer) {
	if have.Properties != nil && len(have.Properties.FrontendIPConfigurations) > 0 {
		want.Properties.FrontendIPConfigurations = have.Properties.FrontendIPConfigurations
	}
}

func (w balancers) put(ctx context.Context, group, name string, lb *armnetwork.LoadBalancer) error {
	return w.p.settled(ctx, func() error {
		poller, err := w.p.lbs.BeginCreateOrUpdate(ctx, group, name, *lb, nil)
		_, err = done(ctx, w.p, poller, err)
		return err
	})
}

// clients are the rules that let a balancer's clients in, at the ports that it leads to: a Standard load balancer keeps the
// clients' addresses, so the network's own rules apply to them.
func (w balancers) clients(spec providers.LoadBalancerSpec, group string) (all []*armnetwork.SecurityRule) {
	for _, name := range []string{"tcp", "udp"} {
		var ports []string
		for _, p := range spec.Ports {
			if p.Protocol == name {
				ports = append(ports, strconv.Itoa(p.TargetPort))
			}
		}
		if len(ports) > 0 {
			slices.Sort(ports)
			r := w.p.inward(group, ruleOf(spec.Name, name), 0, protocol(name), ports...)
			from(r, spec.Sources)
			all = append(all, r)
		}
	}
	return all
}

// Update changes what differs of tags, ports, targets and sources.
func (w balancers) Update(ctx context.Context, of providers.ID, spec providers.LoadBalancerSpec) (_ providers.LoadBalancer, err error) {
	defer about(providers.UpdateVerb, providers.BalancerNoun, spec.Key().String(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.LoadBalancer{}, err
	}
	i, err := parse(providers.BalancerNoun, of)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	unlock, err := w.p.keys.lock(ctx, providers.BalancerNoun, i.group+"/"+i.name)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	defer unlock()
	b, err := w.balancer(ctx, of)
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	o := b.object()
	if err := mine(o.Meta, spec.Key()); err != nil {
		return providers.LoadBalancer{}, err
	}
	if spec.Network != "" && spec.Network != o.Network || spec.Internal != o.Internal || spec.Address.IsValid() && spec.Address != o.Address {
		return providers.LoadBalancer{}, fail(providers.Invalid, "network, side and address of a balancer cannot be changed")
	}
	spec.Network = o.Network
	n, err := w.p.network(ctx, o.Network)
	if err != nil {
		return providers.LoadBalancer{}, fail(providers.Invalid, "its network: %v", err)
	}
	addresses, err := w.targets(ctx, b.group, spec.Targets)
	if gone(err) {
		err = fail(providers.Invalid, "%v", err)
	}
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if err := w.p.retag(ctx, b.anchor(), b.tags(), label(providers.BalancerNoun, spec.Key(), i.generation, spec.Tags, nil)); err != nil {
		return providers.LoadBalancer{}, err
	}
	if b, err = w.balancer(ctx, of); err == nil && b.lb != nil {
		err = w.bring(ctx, b, spec, n, addresses)
	}
	if err != nil {
		return providers.LoadBalancer{}, err
	}
	if b, err = w.balancer(ctx, of); err != nil {
		return providers.LoadBalancer{}, err
	}
	return b.object(), nil
}

// Delete takes the balancer apart: what lets its clients in, the load balancer, its address.
func (w balancers) Delete(ctx context.Context, of providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.BalancerNoun, string(of), &err)
	i, err := parse(providers.BalancerNoun, of)
	if err := errors.Join(ctx.Err(), ignoring(err)); err != nil {
		return err
	}
	// Machines that go at the same time take themselves out of it by writing it whole: after its end that would make it anew.
	unlock, err := w.p.keys.lock(ctx, providers.BalancerNoun, i.group+"/"+i.name)
	if err != nil {
		return err
	}
	defer unlock()
	b, err := w.balancer(ctx, of)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := w.p.admit(ctx, b.group, nil, isRuleOf(b.name)); ignoring(err) != nil {
		return err
	}
	if err := w.p.settled(ctx, func() error {
		poller, err := w.p.lbs.BeginDelete(ctx, b.group, b.name, nil)
		_, err = done(ctx, w.p, poller, err)
		return ignoring(err)
	}); err != nil {
		return err
	}
	if b.address != nil {
		if err := w.p.settled(ctx, func() error {
			poller, err := w.p.addresses.BeginDelete(ctx, b.group, addressOf(b.name), nil)
			_, err = done(ctx, w.p, poller, err)
			return ignoring(err)
		}); err != nil {
			return err
		}
	}
	w.p.made.drop(providers.BalancerNoun, providers.Key{Owner: providers.Owner(b.tags()[providers.OwnerTag]), Name: b.tags()[providers.NameTag]})
	return w.p.wait(ctx, "balancer "+b.name+" is still there", func() (bool, error) {
		left, err := w.look(ctx, b.group, b.name)
		return err == nil && !left.there(), err
	})
}

// without takes a machine out of the balancers of its network.
func (w balancers) without(ctx context.Context, v *vm) error {
	lbs, err := collect(ctx, w.p.lbs.NewListPager(v.group, nil), func(o armnetwork.LoadBalancersClientListResponse) []*armnetwork.LoadBalancer { return o.Value })
	if ignoring(err) != nil {
		return err
	}
	name := v.name + "." + v.id().generation
	for _, lb := range lbs {
		if _, ok := backends(lb)[name]; ok {
			if err := w.expel(ctx, v.group, val(lb.Name), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// expel takes an address out of a load balancer's pool.
func (w balancers) expel(ctx context.Context, group, name, address string) error {
	unlock, err := w.p.keys.lock(ctx, providers.BalancerNoun, group+"/"+name)
	if err != nil {
		return err
	}
	defer unlock()
	lb, err := w.p.lbs.Get(ctx, group, name, nil)
	if err != nil || lb.Properties == nil {
		return ignoring(err)
	}
	for _, pool := range lb.Properties.BackendAddressPools {
		if pool.Properties != nil {
			pool.Properties.LoadBalancerBackendAddresses = slices.DeleteFunc(pool.Properties.LoadBalancerBackendAddresses,
				func(a *armnetwork.LoadBalancerBackendAddress) bool { return val(a.Name) == address })
		}
	}
	return w.put(ctx, group, name, &lb.LoadBalancer)
}
