package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

// A balancer is what there is of one.
type balancer struct {
	group, name string
	lb          *armnetwork.LoadBalancer    // nil: not made yet, or gone
	address     *armnetwork.PublicIPAddress // nil: it has none of its own
	rules       []*armnetwork.SecurityRule  // what lets its clients in, by protocol
}

// addressOf is the name of a balancer's public address, which no machine's can have.
func addressOf(name string) string { return name + "_balancer" }

// ruleOf is the name of the rule that lets a balancer's clients in.
func ruleOf(name, protocol string) string { return "lb-" + name + "_" + protocol }

// isRuleOf says whether a rule is the balancer's.
func isRuleOf(name string) func(string) bool {
	return func(r string) bool { return r == ruleOf(name, "tcp") || r == ruleOf(name, "udp") }
}

func (b *balancer) there() bool { return b.lb != nil || b.address != nil }

func (b *balancer) tags() map[string]string {
	switch {
	case b.lb != nil:
		return read(b.lb.Tags)
	case b.address != nil:
		return read(b.address.Tags)
	}
	return nil
}

// anchor is the resource ID of what has the tags.
func (b *balancer) anchor() string {
	if b.lb != nil {
		return val(b.lb.ID)
	}
	return val(b.address.ID)
}

func (b *balancer) id() id { return id{b.group, b.name, b.tags()[providers.GenerationTag]} }

// object is the balancer as the contract has it.
func (b *balancer) object() providers.LoadBalancer {
	tags := b.tags()
	o := providers.LoadBalancer{Meta: meta(b.id(), tags), Network: providers.ID(tags[networkTag]), Internal: tags[sideTag] == "true", Ports: portsOf(b.lb)}
	if b.address != nil && b.address.Properties != nil {
		o.Address, _ = netip.ParseAddr(val(b.address.Properties.IPAddress))
	}
	if o.Internal && b.lb != nil && b.lb.Properties != nil && len(b.lb.Properties.FrontendIPConfigurations) > 0 && b.lb.Properties.FrontendIPConfigurations[0].Properties != nil {
		o.Address, _ = netip.ParseAddr(val(b.lb.Properties.FrontendIPConfigurations[0].Properties.PrivateIPAddress))
	}
	for name := range backends(b.lb) {
		vm, generation, _ := strings.Cut(name, ".")
		o.Targets = append(o.Targets, id{b.group, vm, generation}.ID())
	}
	slices.Sort(o.Targets)
	for _, r := range b.rules {
		o.Sources = fromOf(r)
	}
	o.Partial = b.lb == nil || b.lb.Properties == nil || val(b.lb.Properties.ProvisioningState) != armnetwork.ProvisioningStateSucceeded || !o.Address.IsValid()
	for _, p := range o.Ports {
		o.Partial = o.Partial || !slices.ContainsFunc(b.rules, func(r *armnetwork.SecurityRule) bool { return val(r.Name) == ruleOf(b.name, p.Protocol) })
	}
	return o
}

// backends are the machines' addresses of a load balancer's pool, by their names: the machine's name, a dot and its generation.
func backends(lb *armnetwork.LoadBalancer) map[string]string {
	all := map[string]string{}
	if lb == nil || lb.Properties == nil {
		return all
	}
	for _, pool := range lb.Properties.BackendAddressPools {
		if pool.Properties == nil {
			continue
		}
		for _, a := range pool.Properties.LoadBalancerBackendAddresses {
			if a.Properties != nil {
				all[val(a.Name)] = val(a.Properties.IPAddress)
			}
		}
	}
	return all
}

// portsOf reads the ports off a load balancer's rules, in the order of their names.
func portsOf(lb *armnetwork.LoadBalancer) (all []providers.BalancerPort) {
	if lb == nil || lb.Properties == nil {
		return nil
	}
	probes := map[string]*armnetwork.Probe{}
	for _, p := range lb.Properties.Probes {
		number, explicit, _ := strings.Cut(val(p.Name), "-")
		probes[number+explicit] = p
	}
	rules := slices.Clone(lb.Properties.LoadBalancingRules)
	slices.SortFunc(rules, func(a, b *armnetwork.LoadBalancingRule) int { return strings.Compare(val(a.Name), val(b.Name)) })
	for _, r := range rules {
		if r.Properties == nil {
			continue
		}
		number, name, _ := strings.Cut(val(r.Name), "-")
		p := providers.BalancerPort{Name: name, Protocol: strings.ToLower(string(val(r.Properties.Protocol))),
			Port: int(val(r.Properties.FrontendPort)), TargetPort: int(val(r.Properties.BackendPort))}
		if m := int(val(r.Properties.IdleTimeoutInMinutes)); m != defaultIdle {
			p.IdleSeconds = 60 * m
		}
		if q := probes[number+"explicit"]; q != nil && q.Properties != nil {
			p.HealthPort, p.HealthPath = int(val(q.Properties.Port)), val(q.Properties.RequestPath)
		}
		if q := probes[number]; q != nil && q.Properties != nil {
			p.HealthPath = val(q.Properties.RequestPath)
		}
		all = append(all, p)
	}
	return all
}

// defaultIdle is Azure's idle timeout in minutes unless one is asked for.
const defaultIdle = 4

// describe is the load balancer that a spec asks for.
func (w balancers) describe(spec providers.LoadBalancerSpec, n *network, addresses map[string]string) *armnetwork.LoadBalancer {
	lb := w.p.resource(n.id.group, lbKind, spec.Name)
	ref := func(kind, name string) *armnetwork.SubResource {
		return &armnetwork.SubResource{ID: ptr(lb + "/" + kind + "/" + name)}
	}
	front := &armnetwork.FrontendIPConfiguration{Name: ptr("main"), Properties: &armnetwork.FrontendIPConfigurationPropertiesFormat{}}
	if spec.Internal {
		front.Zones = w.p.everywhere()
		front.Properties.Subnet = &armnetwork.Subnet{ID: ptr(w.p.subnetID(n))}
		front.Properties.PrivateIPAllocationMethod = ptr(armnetwork.IPAllocationMethodDynamic)
		if spec.Address.IsValid() {
			front.Properties.PrivateIPAllocationMethod, front.Properties.PrivateIPAddress = ptr(armnetwork.IPAllocationMethodStatic), ptr(spec.Address.String())
		}
	} else {
		front.Properties.PublicIPAddress = &armnetwork.PublicIPAddress{ID: ptr(w.p.resource(n.id.group, addressKind, addressOf(spec.Name)))}
	}
	pool := &armnetwork.BackendAddressPool{Name: ptr("main"), Properties: &armnetwork.BackendAddressPoolPropertiesFormat{}}
	vnet, _, _ := strings.Cut(w.p.subnetID(n), "/subnets/")
	for _, name := range slices.Sorted(maps.Keys(addresses)) {
		pool.Properties.LoadBalancerBackendAddresses = append(pool.Properties.LoadBalancerBackendAddresses, &armnetwork.LoadBalancerBackendAddress{Name: ptr(name),
			Properties: &armnetwork.LoadBalancerBackendAddressPropertiesFormat{IPAddress: ptr(addresses[name]), VirtualNetwork: &armnetwork.SubResource{ID: &vnet}}})
	}
	p := &armnetwork.LoadBalancerPropertiesFormat{FrontendIPConfigurations: []*armnetwork.FrontendIPConfiguration{front}, BackendAddressPools: []*armnetwork.BackendAddressPool{pool}}
	for i, port := range spec.Ports {
		number := fmt.Sprintf("%02d", i)
		rule := &armnetwork.LoadBalancingRulePropertiesFormat{FrontendIPConfiguration: ref("frontendIPConfigurations", "main"), BackendAddressPool: ref("backendAddressPools", "main"),
			Protocol: ptr(armnetwork.TransportProtocolTCP), FrontendPort: ptr(int32(port.Port)), BackendPort: ptr(int32(port.TargetPort)),
			IdleTimeoutInMinutes: ptr(int32(defaultIdle)), EnableTCPReset: ptr(port.Protocol == "tcp"), DisableOutboundSnat: ptr(true)}
		if port.Protocol == "udp" {
			rule.Protocol = ptr(armnetwork.TransportProtocolUDP)
		}
		if port.IdleSeconds > 0 {
			rule.IdleTimeoutInMinutes = ptr(int32(port.IdleSeconds / 60))
		}
		if probe := probeOf(number, port); probe != nil {
			p.Probes = append(p.Probes, probe)
			rule.Probe = ref("probes", *probe.Name)
		}
		p.LoadBalancingRules = append(p.LoadBalancingRules, &armnetwork.LoadBalancingRule{Name: ptr(strings.TrimSuffix(number+"-"+port.Name, "-")), Properties: rule})
	}
	if !spec.Internal && w.p.o.Addresses == Private && n.tags[natTag] != NATOne {
		p.OutboundRules = []*armnetwork.OutboundRule{{Name: ptr("out"), Properties: &armnetwork.OutboundRulePropertiesFormat{Protocol: ptr(armnetwork.LoadBalancerOutboundRuleProtocolAll),
			FrontendIPConfigurations: []*armnetwork.SubResource{ref("frontendIPConfigurations", "main")}, BackendAddressPool: ref("backendAddressPools", "main"), EnableTCPReset: ptr(true)}}}
	}
	return &armnetwork.LoadBalancer{Location: &w.p.o.Location, Properties: p, SKU: &armnetwork.LoadBalancerSKU{Name: ptr(armnetwork.LoadBalancerSKUNameStandard), Tier: ptr(armnetwork.LoadBalancerSKUTierRegional)}}
}

// probeOf is the probe of a port: HTTP if there is a path, else a TCP connect. For UDP without a health port there is none.
func probeOf(number string, p providers.BalancerPort) *armnetwork.Probe {
	q := &armnetwork.ProbePropertiesFormat{Protocol: ptr(armnetwork.ProbeProtocolTCP), Port: ptr(int32(p.TargetPort)), IntervalInSeconds: ptr(int32(5)), ProbeThreshold: ptr(int32(2))}
	if p.HealthPath != "" {
		q.Protocol, q.RequestPath = ptr(armnetwork.ProbeProtocolHTTP), ptr(p.HealthPath)
		if p.HealthScheme() == "https" {
			q.Protocol = ptr(armnetwork.ProbeProtocolHTTPS)
		}
	}
	if p.HealthPort > 0 {
		number += "-explicit"
		q.Port = ptr(int32(p.HealthPort))
	} else if p.Protocol == "udp" {
		return nil
	}
	return &armnetwork.Probe{Name: &number, Properties: q}
}

// everywhere are all zones of the location.
func (p *Provider) everywhere() (all []*string) {
	for _, z := range zonesOf(p.o.Location) {
		all = append(all, zoned(z)...)
	}
	return all
}

// look looks up what there is of a balancer.
func (w balancers) look(ctx context.Context, group, name string) (*balancer, error) {
	b := &balancer{group: group, name: name}
	lb, err := w.p.lbs.Get(ctx, group, name, nil)
	if ignoring(err) != nil {
		return nil, err
	}
	if err == nil {
		b.lb = &lb.LoadBalancer
	}
	if b.lb == nil || read(b.lb.Tags)[sideTag] != "true" {
		a, err := w.p.addresses.Get(ctx, group, addressOf(name), nil)
		if ignoring(err) != nil {
			return nil, err
		}
		if err == nil {
			b.address = &a.PublicIPAddress
		}
	}
	if !b.there() {
		return b, nil
	}
	f, err := w.p.firewalls.Get(ctx, group, nodesPart, nil)
	if err == nil {
		b.lookRules(&f.SecurityGroup)
	}
	return b, ignoring(err)
}

// lookRules picks the balancer's rules of the network's.
func (b *balancer) lookRules(g *armnetwork.SecurityGroup) {
	if g == nil || g.Properties == nil {
		return
	}
	for _, r := range g.Properties.SecurityRules {
		if r.Properties != nil && isRuleOf(b.name)(val(r.Name)) {
			b.rules = append(b.rules, r)
		}
	}
}

// balancer returns all there is of the one of that ID; NotFound if there is none.
func (w balancers) balancer(ctx context.Context, of providers.ID) (*balancer, error) {
	i, err := parse(providers.BalancerNoun, of)
	if err != nil {
		return nil, err
	}
	b, err := w.look(ctx, i.group, i.name)
	if err == nil && (!b.there() || !i.fits(b.tags())) {
		err = fail(providers.NotFound, "balancer %s", of)
	}
	return b, err
}

// check returns why there can be no such balancer.
func (w balancers) check(s providers.LoadBalancerSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if s.Address.IsValid() && !s.Internal {
		return fail(providers.Unsupported, "a public balancer at a fixed address: Azure gives one")
	}
	if len(s.Ports) == 0 || len(s.Ports) > 99 {
		return fail(providers.Invalid, "%d ports: it can have from 1 to 99", len(s.Ports))
	}
	named := regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?)?$`)
	for i, p := range s.Ports {
		switch {
		case p.Protocol != "tcp" && p.Protocol != "udp":
			return fail(providers.Invalid, "port %d: protocol %q is neither tcp nor udp", p.Port, p.Protocol)
		case p.Port < 1 || p.Port > 65534 || p.TargetPort < 1 || p.TargetPort > 65535 || p.HealthPort < 0 || p.HealthPort > 65535:
			return fail(providers.Invalid, "port %d, target port %d, health port %d: they must be from 1 to 65534 (65535 for targets)", p.Port, p.TargetPort, p.HealthPort)
		case !named.MatchString(p.Name):
			return fail(providers.Invalid, "port name %q: it can have letters, digits and, within, dots, _ and -", p.Name)
		case p.ProxyProtocol:
			return fail(providers.Unsupported, "port %d: Azure's load balancer has no proxy protocol; it keeps the clients' addresses", p.Port)
		case p.IdleSeconds != 0 && (p.Protocol != "tcp" || p.IdleSeconds%60 != 0 || p.IdleSeconds <= 60*defaultIdle || p.IdleSeconds > 6000):
			return fail(providers.Invalid, "port %d: idle timeout of %d s: Azure has whole minutes up to 6000 s, for tcp; leave it away for its %d s", p.Port, p.IdleSeconds, 60*defaultIdle)
		case p.HealthPath != "" && (p.HealthPath[0] != '/' || p.Protocol == "udp" && p.HealthPort == 0):
			return fail(providers.Invalid, "port %d: health path %q: it begins with /, and a UDP port needs a health port for it", p.Port, p.HealthPath)
		}
		for _, o := range s.Ports[:i] {
			if o.Protocol == p.Protocol && (o.Port == p.Port || o.TargetPort == p.TargetPort) {
				return fail(providers.Invalid, "ports %d and %d: Azure forwards each port and to each target port once per protocol", o.Port, p.Port)
			}
		}
	}
	return errors.Join(sources(s.Sources), checkTags(s.Tags))
}
