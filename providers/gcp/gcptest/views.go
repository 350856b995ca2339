package gcptest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What is here makes of things what hooks get.

// networkOf is the subnetwork as a hook gets it.
func networkOf(sub *thing) (n Network) {
	if sub == nil {
		return n
	}
	n = Network{Name: sub.name, Network: end(sub.body["network"])}
	n.Range, _ = netip.ParsePrefix(fmt.Sprint(sub.body["ipCidrRange"]))
	return n
}

// end is what a URL leads to.
func end(url any) string {
	s, _ := url.(string)
	return s[strings.LastIndex(s, "/")+1:]
}

// instanceOf is the instance as a hook gets it.
func (c *Cloud) instanceOf(t *thing) Instance {
	b := t.body
	i := Instance{Name: t.name, Zone: end(t.place), Type: end(b["machineType"]), Labels: texts(b["labels"]), Metadata: map[string]string{}}
	i.Number, _ = strconv.ParseUint(fmt.Sprint(b["id"]), 10, 64)
	i.Hostname, _ = b["hostname"].(string)
	i.Private, _ = netip.ParseAddr(c.addressOf(t))
	nic, _ := b["networkInterfaces"].([]any)[0].(object)
	configs, _ := nic["accessConfigs"].([]any)
	i.Public, i.Network = len(configs) > 0, networkOf(c.find(fmt.Sprint(nic["subnetwork"]), ""))
	if kind := c.find(fmt.Sprint(b["machineType"]), t.place); kind != nil {
		i.CPUs, i.MemoryMiB = number(kind.body["guestCpus"]), number(kind.body["memoryMb"])
	}
	if disks, _ := b["disks"].([]any); len(disks) > 0 {
		i.DiskGiB = number(disks[0].(object)["diskSizeGb"])
	}
	scheduling, _ := b["scheduling"].(object)
	i.Spot = scheduling["provisioningModel"] == "SPOT"
	for _, x := range items(b["metadata"]) {
		if m, ok := x.(object); ok {
			i.Metadata[fmt.Sprint(m["key"])] = fmt.Sprint(m["value"])
		}
	}
	for _, x := range items(b["tags"]) {
		i.Tags = append(i.Tags, fmt.Sprint(x))
	}
	return i
}

func items(v any) []any {
	o, _ := v.(object)
	all, _ := o["items"].([]any)
	return all
}

func texts(v any) map[string]string {
	all := map[string]string{}
	o, _ := v.(object)
	for k, x := range o {
		all[k] = fmt.Sprint(x)
	}
	return all
}

// number reads one that came as JSON or was put there as it is.
func number(v any) int {
	f, _ := strconv.ParseFloat(fmt.Sprint(v), 64)
	return int(f)
}

// reservationOf is the address as a hook gets it.
func (c *Cloud) reservationOf(t *thing) Reservation {
	r := Reservation{Name: t.name, Internal: t.body["addressType"] == "INTERNAL", Network: networkOf(c.find(fmt.Sprint(t.body["subnetwork"]), ""))}
	r.Address, _ = netip.ParseAddr(fmt.Sprint(t.body["address"]))
	return r
}

// balancerOf is the forwarding rule as a hook gets it.
func (c *Cloud) balancerOf(t *thing) Balancer {
	b := Balancer{Name: t.name, Internal: t.body["loadBalancingScheme"] == "INTERNAL"}
	b.Address, _ = netip.ParseAddr(fmt.Sprint(t.body["IPAddress"]))
	for _, f := range c.sorted("firewalls") {
		b.Ports = append(b.Ports, portsOf(f.body, b.Address)...)
	}
	service := c.find(fmt.Sprint(t.body["backendService"]), t.place)
	if service == nil {
		return b
	}
	backends, _ := service.body["backends"].([]any)
	for _, x := range backends {
		if g := c.find(fmt.Sprint(x.(object)["group"]), t.place); g != nil {
			b.Targets = append(b.Targets, c.targetsOf(g)...)
		}
	}
	if checks, _ := service.body["healthChecks"].([]any); len(checks) > 0 {
		b.Health = healthOf(c.find(fmt.Sprint(checks[0]), t.place))
	}
	return b
}

// targetsOf are the instances in a group of endpoints.
func (c *Cloud) targetsOf(g *thing) (all []Target) {
	for _, path := range slices.Sorted(slices.Values(g.ends)) {
		if i := c.things[path]; i != nil {
			t := Target{Zone: end(i.place), Name: i.name, Running: i.body["status"] == "RUNNING"}
			t.Address, _ = netip.ParseAddr(c.addressOf(i))
			all = append(all, t)
		}
	}
	return all
}

// healthOf is what a health check asks.
func healthOf(t *thing) (h Health) {
	if t == nil {
		return h
	}
	if o, ok := t.body["tcpHealthCheck"].(object); ok {
		h.Port = number(o["port"])
	}
	if o, ok := t.body["httpHealthCheck"].(object); ok {
		h.Port = number(o["port"])
		h.Path, _ = o["requestPath"].(string)
	}
	return h
}

// portsOf are the ports that a firewall rule opens for the address, if it is a rule for it alone.
func portsOf(b object, to netip.Addr) (all []Port) {
	destinations, _ := b["destinationRanges"].([]any)
	if b["disabled"] == true || b["direction"] != "INGRESS" || !slices.Contains(destinations, any(to.String()+"/32")) {
		return nil
	}
	var from []netip.Prefix
	sources, _ := b["sourceRanges"].([]any)
	for _, s := range sources {
		if p, err := netip.ParsePrefix(fmt.Sprint(s)); err == nil {
			from = append(from, p)
		}
	}
	allowed, _ := b["allowed"].([]any)
	for _, a := range allowed {
		ports, _ := a.(object)["ports"].([]any)
		for _, p := range ports {
			first, last, ranged := strings.Cut(fmt.Sprint(p), "-")
			if !ranged {
				last = first
			}
			all = append(all, Port{Protocol: fmt.Sprint(a.(object)["IPProtocol"]), First: number(first), Last: number(last), Sources: from})
		}
	}
	return all
}

// sorted are all things of a kind that are made.
func (c *Cloud) sorted(kind string) (all []*thing) {
	for _, t := range c.things {
		if t.kind == kind && t.ready && !t.going {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *thing) int { return strings.Compare(a.path(), b.path()) })
	return all
}
