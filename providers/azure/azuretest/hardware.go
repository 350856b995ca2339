package azuretest

import (
	"context"
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Hardware is what is behind the cloud: without it, machines exist on paper. Each func may be nil. The cloud decides and the
// hardware follows: names, ranges and private addresses are the cloud's.
//
// Funcs are called in the background, for one thing one after another; the operation that asks for it is under way until the func
// has returned, and fails with its error. The context ends when the cloud is closed. Labels are DNS labels that are never used
// again; where a thing of a label is not there, there is nothing to remove.
type Hardware struct {
	Network     func(context.Context, Network) error                // a virtual network was made or changed
	DropNetwork func(ctx context.Context, label string) error       // it goes, when nothing is in it any more
	Start       func(context.Context, Machine) (netip.Addr, error)  // runs a machine, a new one or one that was stopped; returns where it is reached: its public address from then on, if it has one and the address is not the zero one
	Stop        func(ctx context.Context, label string) error       // turns a machine off
	Drop        func(ctx context.Context, label string) error       // removes a machine
	Balance     func(context.Context, Balancer) (netip.Addr, error) // a balancer was made or changed; returns where it is reached, as Start does
	DropBalance func(ctx context.Context, label string) error       // removes a balancer
}

// A Network is a virtual network.
type Network struct {
	ID, Label, Name string // ID is Azure's, Label the hardware's
	CIDR            netip.Prefix
}

// A Machine is a virtual machine.
type Machine struct {
	ID, Label, Name string
	Hostname        string
	Zone            string // "1"; empty: none
	Type            string // "Standard_B2s"
	CPUs, MemoryMiB int
	DiskGiB         int
	Network         string     // label of its virtual network
	Private         netip.Addr // in the network
	Public          netip.Addr // the zero Addr: it has none
	AuthorizedKeys  []string   // of Azure's own user; the machine's users are in the custom data
	CustomData      []byte     // what cloud-init reads
}

// A Balancer is a load balancer.
type Balancer struct {
	ID, Label, Name string
	Network         string // label of its virtual network; empty if nothing says it
	Internal        bool
	Address         netip.Addr // frontend
	Ports           []Port
	Backends        []Backend // sorted by address
}

// A Port is a rule of a load balancer, with its probe.
type Port struct {
	Protocol    string // "tcp" or "udp"
	Port        int
	TargetPort  int
	HealthPort  int    // 0: no probe
	HealthPath  string // empty: a TCP connect
	IdleSeconds int
}

// A Backend is what a load balancer leads to.
type Backend struct {
	Address netip.Addr
	Machine string // label; empty if nothing has the address
}

// An errand is what the hardware does for an operation; nil if there is nothing to do. It is called without the lock, and what
// it returns with it.
type errand func(context.Context) (then func(), err error)

// simple is an errand after which nothing is to be done.
func simple(do func(ctx context.Context, label string) error, label string) errand {
	if do == nil {
		return nil
	}
	return func(ctx context.Context) (func(), error) { return func() {}, do(ctx, label) }
}

// brings is what the hardware does when a thing was made or changed.
func (c *Cloud) brings(i *item, fresh bool) errand {
	switch h := c.o.Hardware; {
	case i.kind == vnetKind && h.Network != nil:
		n := c.networkOf(i)
		return func(ctx context.Context) (func(), error) { return func() {}, h.Network(ctx, n) }
	case i.kind == lbKind && h.Balance != nil:
		b := c.balancerOf(i)
		return c.reached(i, func(ctx context.Context) (netip.Addr, error) { return h.Balance(ctx, b) })
	case i.kind == vmKind && fresh:
		return c.starts(i)
	}
	return nil
}

// starts is what the hardware does when a machine is turned on.
func (c *Cloud) starts(i *item) errand {
	h := c.o.Hardware
	if h.Start == nil {
		return nil
	}
	m := c.machineOf(i)
	return c.reached(i, func(ctx context.Context) (netip.Addr, error) { return h.Start(ctx, m) })
}

// halts is what the hardware does when a machine is turned off.
func (c *Cloud) halts(i *item) errand { return simple(c.o.Hardware.Stop, i.label) }

// drops is what the hardware does when a thing goes.
func (c *Cloud) drops(i *item) errand {
	switch h := c.o.Hardware; i.kind {
	case vnetKind:
		return simple(h.DropNetwork, i.label)
	case vmKind:
		return simple(h.Drop, i.label)
	case lbKind:
		return simple(h.DropBalance, i.label)
	case groupKind:
		return c.clears(i.name)
	}
	return nil
}

// clears is what the hardware does when a group goes: networks last.
func (c *Cloud) clears(group string) errand {
	var all []errand
	for _, kind := range []string{lbKind, vmKind, vnetKind} {
		for _, i := range c.items {
			if i.kind != kind || !strings.EqualFold(i.group, group) {
				continue
			}
			if do := c.drops(i); do != nil {
				all = append(all, do)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return func(ctx context.Context) (func(), error) {
		for _, do := range all {
			if _, err := do(ctx); err != nil {
				return nil, err
			}
		}
		return func() {}, nil
	}
}

// reached is an errand after which a thing's public address is where the hardware is reached.
func (c *Cloud) reached(i *item, do func(context.Context) (netip.Addr, error)) errand {
	return func(ctx context.Context) (func(), error) {
		at, err := do(ctx)
		return func() {
			if p := c.publicOf(i); p != nil && at.IsValid() {
				properties(p.doc)["ipAddress"] = at.String()
			}
		}, err
	}
}

// first is the first of a thing's IP configurations or frontends.
func first(i *item) any {
	if i == nil {
		return nil
	}
	if l := slices.Concat(list(i.doc, "properties", "ipConfigurations"), list(i.doc, "properties", "frontendIPConfigurations")); len(l) > 0 {
		return l[0]
	}
	return nil
}

// nicOf is a machine's network interface.
func (c *Cloud) nicOf(vm *item) *item {
	if nics := list(vm.doc, "properties", "networkProfile", "networkInterfaces"); len(nics) > 0 {
		return c.items[low(text(nics[0], "id"))]
	}
	return nil
}

// publicOf is the public address of a machine or a balancer; nil if it has none.
func (c *Cloud) publicOf(i *item) *item {
	if i.kind == vmKind {
		i = c.nicOf(i)
	}
	return c.items[low(text(first(i), "properties", "publicIPAddress", "id"))]
}

// vnetOf is the label of the virtual network that a subnet is in.
func (c *Cloud) vnetOf(subnet string) string {
	vnet, _, _ := strings.Cut(low(subnet), "/subnets/")
	if i := c.items[vnet]; i != nil {
		return i.label
	}
	return ""
}

func (c *Cloud) networkOf(i *item) Network {
	n := Network{ID: i.id, Label: i.label, Name: i.name}
	if l := list(i.doc, "properties", "addressSpace", "addressPrefixes"); len(l) > 0 {
		s, _ := l[0].(string)
		n.CIDR, _ = netip.ParsePrefix(s)
	}
	return n
}

func (c *Cloud) machineOf(i *item) Machine {
	p := properties(i.doc)
	m := Machine{ID: i.id, Label: i.label, Name: i.name, Hostname: text(p, "osProfile", "computerName"), Type: text(p, "hardwareProfile", "vmSize")}
	if z := list(i.doc, "zones"); len(z) > 0 {
		m.Zone, _ = z[0].(string)
	}
	for _, s := range skus() {
		if s.name == m.Type {
			gib, _ := strconv.ParseFloat(s.memory, 64)
			m.CPUs, m.MemoryMiB = s.cpus, int(1024*gib)
		}
	}
	m.DiskGiB = number(p, "storageProfile", "osDisk", "diskSizeGB")
	config := first(c.nicOf(i))
	m.Network = c.vnetOf(text(config, "properties", "subnet", "id"))
	m.Private, _ = netip.ParseAddr(text(config, "properties", "privateIPAddress"))
	if a := c.publicOf(i); a != nil {
		m.Public, _ = netip.ParseAddr(text(a.doc, "properties", "ipAddress"))
	}
	for _, k := range list(p, "osProfile", "linuxConfiguration", "ssh", "publicKeys") {
		m.AuthorizedKeys = append(m.AuthorizedKeys, text(k, "keyData"))
	}
	m.CustomData, _ = base64.StdEncoding.DecodeString(c.custom[low(i.id)])
	return m
}

func (c *Cloud) balancerOf(i *item) Balancer {
	b := Balancer{ID: i.id, Label: i.label, Name: i.name, Internal: c.publicOf(i) == nil}
	front := first(i)
	b.Network = c.vnetOf(text(front, "properties", "subnet", "id"))
	b.Address, _ = netip.ParseAddr(text(front, "properties", "privateIPAddress"))
	if a := c.publicOf(i); a != nil {
		b.Address, _ = netip.ParseAddr(text(a.doc, "properties", "ipAddress"))
	}
	for _, pool := range list(i.doc, "properties", "backendAddressPools") {
		for _, a := range list(pool, "properties", "loadBalancerBackendAddresses") {
			vnet := c.vnetOf(text(a, "properties", "virtualNetwork", "id"))
			if b.Network == "" {
				b.Network = vnet
			}
			at, _ := netip.ParseAddr(text(a, "properties", "ipAddress"))
			b.Backends = append(b.Backends, Backend{Address: at, Machine: c.machineAt(vnet, at)})
		}
	}
	slices.SortFunc(b.Backends, func(x, y Backend) int { return x.Address.Compare(y.Address) })
	for _, r := range list(i.doc, "properties", "loadBalancingRules") {
		b.Ports = append(b.Ports, portOf(i, r))
	}
	return b
}

// machineAt is the label of the machine that has a private address in a virtual network.
func (c *Cloud) machineAt(vnet string, at netip.Addr) string {
	for _, i := range c.items {
		if i.kind != vmKind {
			continue
		}
		config := first(c.nicOf(i))
		if text(config, "properties", "privateIPAddress") == at.String() && c.vnetOf(text(config, "properties", "subnet", "id")) == vnet {
			return i.label
		}
	}
	return ""
}

// portOf reads a rule of a load balancer.
func portOf(lb *item, r any) Port {
	p := Port{Protocol: low(text(r, "properties", "protocol")), Port: number(r, "properties", "frontendPort"), TargetPort: number(r, "properties", "backendPort"),
		IdleSeconds: 60 * number(r, "properties", "idleTimeoutInMinutes")}
	for _, q := range list(lb.doc, "properties", "probes") {
		if strings.HasSuffix(low(text(r, "properties", "probe", "id")), "/probes/"+low(text(q, "name"))) {
			p.HealthPort, p.HealthPath = number(q, "properties", "port"), text(q, "properties", "requestPath")
		}
	}
	return p
}
