package gcp

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// A balancer is what there is of one. All that is not its address has a name made of its key.
type balancer struct {
	key      providers.Key
	address  *computepb.Address // has its ID and labels
	made     map[string]string  // in the address's description: what does not change
	firewall *computepb.Firewall
	rule     *computepb.ForwardingRule         // made last, goes first
	groups   []*computepb.NetworkEndpointGroup // of targets, one in each zone
	ends     map[string][]string               // names of the targets' instances, by zone
	ids      map[string]providers.ID           // of instances, by zone and name
}

func (b *balancer) name(part string) string { return vendorName(providers.BalancerNoun, b.key, part) }
func (b *balancer) id() providers.ID        { return b.ref().id() }
func (b *balancer) ref() ref {
	return ref{last(b.address.GetRegion()), b.address.GetName(), b.address.GetId()}
}

// object is the balancer as the contract has it.
func (b *balancer) object() providers.LoadBalancer {
	o := providers.LoadBalancer{Meta: meta(b.ref(), unlabel(b.address.GetLabels())), Network: providers.ID(b.made[networkTag]), Internal: b.made[sideTag] == "true"}
	o.Address, _ = netip.ParseAddr(b.address.GetAddress())
	if b.firewall != nil {
		tags := described(b.firewall.GetDescription())
		o.Ports = parsePorts(tags[portsTag])
		if tags[sourcesTag] != "" {
			for _, s := range strings.Fields(tags[sourcesTag]) {
				if c, err := netip.ParsePrefix(s); err == nil {
					o.Sources = append(o.Sources, c)
				}
			}
		}
	}
	for zone, names := range b.ends {
		for _, n := range names {
			if id := b.ids[zone+"/"+n]; id != "" {
				o.Targets = append(o.Targets, id)
			}
		}
	}
	slices.Sort(o.Targets)
	o.Partial = b.firewall == nil || b.rule == nil
	return o
}

// writePorts makes text of ports for a description; parsePorts reads it.
func writePorts(ports []providers.BalancerPort) string {
	text, _ := json.Marshal(slices.Collect(func(yield func([]any) bool) {
		for _, p := range ports {
			if !yield([]any{p.Name, p.Protocol, p.Port, p.TargetPort, p.HealthPort, p.HealthPath}) {
				return
			}
		}
	}))
	return string(text)
}

func parsePorts(text string) (ports []providers.BalancerPort) {
	var all [][]any
	_ = json.Unmarshal([]byte(text), &all)
	for _, a := range all {
		if len(a) != 6 {
			continue
		}
		word := func(i int) string { s, _ := a[i].(string); return s }
		num := func(i int) int { f, _ := a[i].(float64); return int(f) }
		ports = append(ports, providers.BalancerPort{Name: word(0), Protocol: word(1), Port: num(2), TargetPort: num(3), HealthPort: num(4), HealthPath: word(5)})
	}
	return ports
}

// reserved returns the addresses of an owner's balancers.
func (p *Provider) reserved(ctx context.Context, o providers.Owner) ([]*computepb.Address, error) {
	return collect(ctx, p, func() func() (*computepb.Address, error) {
		return p.api.addresses.List(ctx, &computepb.ListAddressesRequest{Project: p.o.Project, Region: p.o.Region, Filter: filter(providers.BalancerNoun, o)}).Next
	})
}

func (p *Provider) addressAt(ctx context.Context, name string) (*computepb.Address, error) {
	return get(ctx, p, func() (*computepb.Address, error) {
		return p.api.addresses.Get(ctx, &computepb.GetAddressRequest{Project: p.o.Project, Region: p.o.Region, Address: name})
	})
}

func (p *Provider) forwardingRule(ctx context.Context, name string) (*computepb.ForwardingRule, error) {
	return get(ctx, p, func() (*computepb.ForwardingRule, error) {
		return p.api.rules.Get(ctx, &computepb.GetForwardingRuleRequest{Project: p.o.Project, Region: p.o.Region, ForwardingRule: name})
	})
}

// ofAddress is the beginning of a balancer; nil if the address is somebody else's.
func ofAddress(a *computepb.Address) *balancer {
	made := described(a.GetDescription())
	if made[providers.KindTag] != string(providers.BalancerNoun) {
		return nil
	}
	return &balancer{key: keyOf(made), address: a, made: made}
}

// balancer returns all there is of the balancer; NotFound if there is none of the ID.
func (w balancers) balancer(ctx context.Context, id providers.ID) (*balancer, error) {
	r, err := refOf(providers.BalancerNoun, id)
	if err != nil {
		return nil, err
	}
	a, err := w.p.addressAt(ctx, r.name)
	if err != nil {
		return nil, err
	}
	b := ofAddress(a)
	if a.GetId() != r.num || b == nil {
		return nil, fail(providers.NotFound, "balancer %s", id)
	}
	return b, w.look(ctx, b)
}

// look completes balancers with what they consist of, each list asked for once.
func (w balancers) look(ctx context.Context, all ...*balancer) (err error) {
	groups, err := w.groups(ctx)
	if err != nil {
		return err
	}
	some := false
	for _, b := range all {
		if b.firewall, err = w.p.firewall(ctx, b.name(doorPart)); gone(err) {
			b.firewall, err = nil, nil
		}
		if err != nil {
			return err
		}
		if b.rule, err = w.p.forwardingRule(ctx, b.name(rulePart)); gone(err) {
			b.rule, err = nil, nil
		}
		if err != nil {
			return err
		}
		b.ends = map[string][]string{}
		for _, g := range groups {
			if g.GetName() != b.name(targetsPart) {
				continue
			}
			names, err := w.members(ctx, g)
			if err != nil {
				return err
			}
			b.groups = append(b.groups, g)
			b.ends[last(g.GetZone())] = names
			some = some || len(names) > 0
		}
	}
	if !some {
		return nil
	}
	instances, err := w.p.instances(ctx, ptr(""), nil)
	if err != nil {
		return err
	}
	ids := map[string]providers.ID{}
	for _, i := range instances {
		r := ref{last(i.GetZone()), i.GetName(), i.GetId()}
		ids[r.place+"/"+r.name] = r.id()
	}
	for _, b := range all {
		b.ids = ids
	}
	return nil
}

// groups returns all groups of endpoints in the region.
func (w balancers) groups(ctx context.Context) (all []*computepb.NetworkEndpointGroup, err error) {
	pairs, err := collect(ctx, w.p, func() func() (compute.NetworkEndpointGroupsScopedListPair, error) {
		return w.p.api.groups.AggregatedList(ctx, &computepb.AggregatedListNetworkEndpointGroupsRequest{Project: w.p.o.Project}).Next
	})
	for _, pair := range pairs {
		for _, g := range pair.Value.GetNetworkEndpointGroups() {
			if strings.HasPrefix(last(g.GetZone()), w.p.o.Region+"-") {
				all = append(all, g)
			}
		}
	}
	return all, err
}

// members returns the names of the instances in a group; none if the group is gone.
func (w balancers) members(ctx context.Context, g *computepb.NetworkEndpointGroup) (names []string, err error) {
	path := "projects/" + w.p.o.Project + "/zones/" + last(g.GetZone()) + "/networkEndpointGroups/" + g.GetName() + "/listNetworkEndpoints"
	for page := ""; ; {
		out, err := get(ctx, w.p, func() (*computepb.NetworkEndpointGroupsListNetworkEndpoints, error) {
			out := &computepb.NetworkEndpointGroupsListNetworkEndpoints{}
			return out, w.p.api.post(ctx, path, page, out)
		})
		if err != nil {
			return nil, ignoring(err)
		}
		for _, e := range out.GetItems() {
			names = append(names, last(e.GetNetworkEndpoint().GetInstance()))
		}
		if page = out.GetNextPageToken(); page == "" {
			return names, nil
		}
	}
}

// health is the one check that all ports of the balancer have.
func health(ports []providers.BalancerPort) (port int, path string) {
	p := ports[0]
	for _, q := range ports {
		if q.HealthPort != 0 || q.HealthPath != "" {
			p = q
			break
		}
	}
	if port = p.HealthPort; port == 0 {
		port = p.TargetPort
	}
	return port, p.HealthPath
}

// opened are the ports in a firewall rule's form.
func opened(ports []providers.BalancerPort) (all []*computepb.Allowed) {
	for _, protocol := range []string{"tcp", "udp"} {
		var numbers []string
		for _, p := range ports {
			if p.Protocol == protocol {
				numbers = append(numbers, strconv.Itoa(p.Port))
			}
		}
		if len(numbers) > 0 {
			slices.Sort(numbers)
			all = append(all, &computepb.Allowed{IPProtocol: ptr(protocol), Ports: slices.Compact(numbers)})
		}
	}
	return all
}
