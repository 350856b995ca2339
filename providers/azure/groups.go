package azure

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

// Priorities of rules; the lowest number counts first. Azure has 100 to 4096.
const (
	allowPriority    = 100  // what the network's spec lets in, up to 999
	balancerPriority = 1000 // what balancers let in, up to 2999
	fixedPriority    = 3000
)

// role is a reference to an application security group.
func (p *Provider) role(group, name string) []*armnetwork.ApplicationSecurityGroup {
	return []*armnetwork.ApplicationSecurityGroup{{ID: ptr(p.resource(group, roleKind, name))}}
}

// inward is a rule for what comes in, from anywhere to all nodes, unless the caller says otherwise.
func (p *Provider) inward(group, name string, priority int, protocol armnetwork.SecurityRuleProtocol, ports ...string) *armnetwork.SecurityRule {
	r := &armnetwork.SecurityRulePropertiesFormat{
		Access: ptr(armnetwork.SecurityRuleAccessAllow), Direction: ptr(armnetwork.SecurityRuleDirectionInbound), Priority: ptr(int32(priority)), Protocol: &protocol,
		SourcePortRange: ptr("*"), SourceAddressPrefix: ptr("*"), DestinationApplicationSecurityGroups: p.role(group, nodesPart),
	}
	if len(ports) == 1 {
		r.DestinationPortRange = &ports[0]
	} else {
		for _, port := range ports {
			r.DestinationPortRanges = append(r.DestinationPortRanges, ptr(port))
		}
	}
	return &armnetwork.SecurityRule{Name: &name, Properties: r}
}

// fixed are the rules that every network has: nodes reach each other at all ports but etcd's, which only control planes reach
// among themselves; Azure's probes reach nodes; nothing else does.
func (p *Provider) fixed(group string) []*armnetwork.SecurityRule {
	all := armnetwork.SecurityRuleProtocolAsterisk
	peers := p.inward(group, "etcd-peers", fixedPriority, armnetwork.SecurityRuleProtocolTCP, "2379-2380")
	peers.Properties.SourceAddressPrefix, peers.Properties.SourceApplicationSecurityGroups = nil, p.role(group, controlPart)
	peers.Properties.DestinationApplicationSecurityGroups = p.role(group, controlPart)
	etcd := p.inward(group, "etcd-others", fixedPriority+1, all, "2379-2380")
	etcd.Properties.Access = ptr(armnetwork.SecurityRuleAccessDeny)
	nodes := p.inward(group, "nodes", fixedPriority+2, all, "*")
	nodes.Properties.SourceAddressPrefix, nodes.Properties.SourceApplicationSecurityGroups = nil, p.role(group, nodesPart)
	probes := p.inward(group, "probes", 4000, all, "*")
	probes.Properties.SourceAddressPrefix = ptr("AzureLoadBalancer")
	rest := p.inward(group, "rest", 4096, all, "*")
	rest.Properties.Access, rest.Properties.DestinationApplicationSecurityGroups = ptr(armnetwork.SecurityRuleAccessDeny), nil
	rest.Properties.DestinationAddressPrefix = ptr("*")
	return []*armnetwork.SecurityRule{peers, etcd, nodes, probes, rest}
}

func protocol(name string) armnetwork.SecurityRuleProtocol {
	if name == "udp" {
		return armnetwork.SecurityRuleProtocolUDP
	}
	return armnetwork.SecurityRuleProtocolTCP
}

func isAllow(name string) bool { return strings.HasPrefix(name, "allow-") }

// wanted are the rules of a network's spec. The API's is for the control plane's machines.
func wanted(p *Provider, group string, allow []providers.Rule) (all []*armnetwork.SecurityRule) {
	for i, a := range allow {
		r := p.inward(group, fmt.Sprintf("allow-%03d", i), allowPriority+i, protocol(a.Protocol), strconv.Itoa(a.Port))
		r.Properties.Description = ptr(a.Name)
		from(r, a.Sources)
		if a.Name == "api" {
			r.Properties.DestinationApplicationSecurityGroups = p.role(group, controlPart)
		}
		all = append(all, r)
	}
	return all
}

// from sets who may come in.
func from(r *armnetwork.SecurityRule, all []netip.Prefix) {
	if len(all) == 0 {
		return
	}
	r.Properties.SourceAddressPrefix = nil
	for _, c := range all {
		r.Properties.SourceAddressPrefixes = append(r.Properties.SourceAddressPrefixes, ptr(c.String()))
	}
}

// fromOf reads who may come in; none: everybody.
func fromOf(r *armnetwork.SecurityRule) (all []netip.Prefix) {
	texts := r.Properties.SourceAddressPrefixes
	if r.Properties.SourceAddressPrefix != nil {
		texts = append([]*string{r.Properties.SourceAddressPrefix}, texts...)
	}
	for _, t := range texts {
		if c, err := netip.ParsePrefix(val(t)); err == nil {
			all = append(all, c)
		} else if a, err := netip.ParseAddr(val(t)); err == nil { // Azure may drop the length of a single address
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return all
}

// allowed is what the network's spec lets in, read off its rules.
func allowed(g *armnetwork.SecurityGroup) (all []providers.Rule) {
	if g == nil || g.Properties == nil {
		return nil
	}
	rules := slices.Clone(g.Properties.SecurityRules)
	slices.SortFunc(rules, func(a, b *armnetwork.SecurityRule) int { return strings.Compare(val(a.Name), val(b.Name)) })
	for _, r := range rules {
		if !isAllow(val(r.Name)) || r.Properties == nil {
			continue
		}
		port, _ := strconv.Atoi(val(r.Properties.DestinationPortRange))
		all = append(all, providers.Rule{Name: val(r.Properties.Description), Protocol: strings.ToLower(string(val(r.Properties.Protocol))), Port: port, Sources: fromOf(r)})
	}
	return all
}

// alike says whether two rules do the same.
func alike(a, b *armnetwork.SecurityRule) bool {
	if a.Properties == nil || b.Properties == nil {
		return false
	}
	what := func(r *armnetwork.SecurityRule) []any {
		p := r.Properties
		var roles []string
		for _, g := range slices.Concat(p.SourceApplicationSecurityGroups, p.DestinationApplicationSecurityGroups) {
			roles = append(roles, strings.ToLower(val(g.ID)))
		}
		var ports []string
		for _, port := range p.DestinationPortRanges {
			ports = append(ports, val(port))
		}
		return []any{val(p.Access), strings.ToLower(string(val(p.Protocol))), val(p.DestinationPortRange), ports, fromOf(r), val(p.Description), roles}
	}
	return reflect.DeepEqual(what(a), what(b))
}

// admit makes the rules of the network's security group whose names are of a kind what they should be: those that should not be
// go first, as priorities must not clash. A rule without a priority gets one that is free.
func (p *Provider) admit(ctx context.Context, group string, want []*armnetwork.SecurityRule, of func(name string) bool) error {
	unlock, err := p.keys.lock(ctx, providers.NetworkNoun, "rules of "+group)
	if err != nil {
		return err
	}
	defer unlock()
	got, err := p.firewalls.Get(ctx, group, nodesPart, nil)
	if err != nil {
		return err
	}
	if got.Properties == nil {
		got.Properties = &armnetwork.SecurityGroupPropertiesFormat{}
	}
	have := map[string]*armnetwork.SecurityRule{}
	var taken []int32
	for _, r := range got.Properties.SecurityRules {
		if r.Properties != nil {
			have[val(r.Name)] = r
			taken = append(taken, val(r.Properties.Priority))
		}
	}
	keep := map[string]bool{}
	for _, r := range want {
		keep[*r.Name] = true
	}
	for _, r := range got.Properties.SecurityRules {
		if name := val(r.Name); of(name) && !keep[name] {
			if err := p.dropRule(ctx, group, name); err != nil {
				return err
			}
		}
	}
	for _, r := range want {
		was := have[*r.Name]
		if was != nil && alike(was, r) {
			continue
		}
		if *r.Properties.Priority == 0 {
			*r.Properties.Priority = vacancy(taken, was)
			taken = append(taken, *r.Properties.Priority)
		}
		if err := p.putRule(ctx, group, r); err != nil {
			return err
		}
	}
	return nil
}

// vacancy is the priority that a balancer's rule has, or the first that is free.
func vacancy(taken []int32, was *armnetwork.SecurityRule) int32 {
	if was != nil {
		return val(was.Properties.Priority)
	}
	n := int32(balancerPriority)
	for slices.Contains(taken, n) {
		n++
	}
	return n
}

func (p *Provider) putRule(ctx context.Context, group string, r *armnetwork.SecurityRule) error {
	return p.settled(ctx, func() error {
		poller, err := p.rules.BeginCreateOrUpdate(ctx, group, nodesPart, *r.Name, *r, nil)
		_, err = done(ctx, p, poller, err)
		return err
	})
}

func (p *Provider) dropRule(ctx context.Context, group, name string) error {
	return p.settled(ctx, func() error {
		poller, err := p.rules.BeginDelete(ctx, group, nodesPart, name, nil)
		_, err = done(ctx, p, poller, err)
		return ignoring(err)
	})
}
