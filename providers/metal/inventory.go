package metal

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/providers/metal/power"
)

// Open returns the provider that the attributes of its block describe. Nested blocks are lists of maps, each with its label
// as "name" and its place as "range". It reads the inventory's file, if there is one, and asks the resolver for names of
// hosts, to find those that are there twice. The error is an *InventoryError.
func Open(attributes map[string]any) (*Provider, error) {
	o, err := Parse(attributes)
	if err != nil {
		return nil, err
	}
	if err := check(o); err != nil {
		return nil, err
	}
	if err := resolved(o.Hosts); err != nil {
		return nil, err
	}
	return New(o)
}

// Parse reads the attributes of the provider's block, as Open describes them.
func Parse(attributes map[string]any) (Options, error) {
	c := new(checker)
	f := newFields(c, attributes, "", "")
	d := defaults{
		user: f.text("user"), port: f.number("port"), key: f.path("key"), sudo: f.flag("sudo", true),
		keys: append(f.texts("host_key"), authorities(f.texts("host_ca"))...),
	}
	o := Options{Agent: os.Getenv("SSH_AUTH_SOCK"), Timeout: f.duration("timeout"), Boot: f.duration("boot_timeout")}
	if !f.flag("agent", true) {
		o.Agent = ""
	}
	if v := f.text("cidr"); v != "" {
		p, err := netip.ParsePrefix(v)
		if err != nil {
			f.bad("cidr", "%q is no range of addresses, like 10.0.0.0/24", v)
		}
		o.CIDR = p
	}
	rows := f.blocks("host")
	if path := f.path("inventory"); path != "" {
		more, err := readFile(c, path)
		if err != nil {
			f.bad("inventory", "%v", err)
		}
		rows = append(rows, more...)
	}
	for _, b := range f.blocks("jump") {
		d.jumps = append(d.jumps, b.jump(d))
	}
	for _, b := range f.blocks("type") {
		o.Types = append(o.Types, b.machineType())
	}
	for _, b := range rows {
		o.Hosts = append(o.Hosts, b.host(d))
	}
	f.done()
	return o, c.err()
}

// defaults are what the block says for all hosts.
type defaults struct {
	user, key string
	port      int
	sudo      bool
	keys      []string
	jumps     []*Jump
}

// authorities are lines of keys that sign host keys.
func authorities(lines []string) []string {
	var all []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "@") && !strings.HasPrefix(l, "cert-authority ") {
			l = "cert-authority " + l
		}
		all = append(all, l)
	}
	return all
}

func (f *fields) host(d defaults) Host {
	h := Host{
		Name: f.text("name"), Address: f.text("address"), Port: cmp.Or(f.number("port"), d.port), User: cmp.Or(f.text("user"), d.user),
		Key: cmp.Or(f.path("key"), d.key), Labels: f.textMap("labels"), Zone: f.text("zone"), Type: f.text("type"),
		Role: f.text("role"), Reserve: f.flag("reserve", false), Gone: f.flag("gone", false), Path: f.place(), Where: f.where,
	}
	h.HostKeys = append(f.texts("host_key"), authorities(f.texts("host_ca"))...)
	if len(h.HostKeys) == 0 {
		h.HostKeys = d.keys
	}
	if !f.flag("sudo", d.sudo) && h.user() != "root" {
		f.bad("sudo", "host %q: a node is made as root, so user %s needs sudo without a password, or user = \"root\"", h.Name, h.User)
	}
	if v := f.text("private"); v != "" {
		a, err := netip.ParseAddr(v)
		if err != nil {
			f.bad("private", "host %q: %q is no IP address", h.Name, v)
		}
		h.Private = a
	}
	h.Jump = f.through(d)
	for _, b := range f.blocks("bmc") {
		if h.BMC != nil {
			f.bad("bmc", "host %q has two BMCs", h.Name)
		}
		h.BMC = b.bmc()
	}
	f.done()
	return h
}

// through returns the bastion of a host: the one that it names or writes out, or else the only one that there is.
func (f *fields) through(d defaults) *Jump {
	v := f.text("jump")
	keys := append(f.texts("jump_host_key"), authorities(f.texts("jump_host_ca"))...)
	switch {
	case v == "none":
		return nil
	case v == "" && len(d.jumps) == 1:
		return d.jumps[0]
	case v == "" && len(d.jumps) > 1:
		f.bad("", "there are %d bastions: say which with jump = \"%s\", or jump = \"none\"", len(d.jumps), d.jumps[0].Name)
		return nil
	case v == "":
		return nil
	}
	if i := slices.IndexFunc(d.jumps, func(j *Jump) bool { return j.Name == v }); i >= 0 {
		return d.jumps[i]
	}
	user, address, ok := strings.Cut(v, "@")
	if !ok {
		f.bad("jump", "there is no bastion %q: add a block jump %q { … }, or write \"user@host:port\"", v, v)
		return nil
	}
	return &Jump{Address: withPort(address, 22), User: user, Key: d.key, HostKeys: keys, Path: f.place(), Where: f.where}
}

func withPort(address string, port int) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), fmt.Sprint(port))
}

func (f *fields) jump(d defaults) *Jump {
	j := &Jump{
		Name: f.text("name"), Address: withPort(f.text("address"), cmp.Or(f.number("port"), 22)),
		User: cmp.Or(f.text("user"), d.user, "root"), Key: cmp.Or(f.path("key"), d.key),
		HostKeys: append(f.texts("host_key"), authorities(f.texts("host_ca"))...), Path: f.place(), Where: f.where,
	}
	f.done()
	return j
}

func (f *fields) machineType() Type {
	t := Type{
		Name: f.text("name"), CPUs: f.number("cpus"), MemoryMiB: f.number("memory") << 10, DiskGiB: f.number("disk"),
		Arch: f.text("arch"), Labels: f.textMap("labels"), Path: f.place(), Where: f.where,
	}
	if m := f.number("memory_mib"); m > 0 {
		t.MemoryMiB = m
	}
	f.done()
	return t
}

func (f *fields) bmc() *power.BMC {
	b := &power.BMC{
		Address: f.text("address"), Protocol: cmp.Or(f.text("protocol"), power.Redfish), User: f.text("user"),
		Password: f.text("password"), System: f.text("system"), CA: f.path("ca"), Insecure: f.flag("insecure", false),
	}
	f.done()
	return b
}

// resolving is how long names of hosts are asked for.
const resolving = 3 * time.Second

// resolved finds hosts whose names have the same address. A name that has none here is left to the first connection: only
// the bastion may know it.
func resolved(hosts []Host) error {
	ctx, cancel := context.WithTimeout(context.Background(), resolving)
	defer cancel()
	c, first := new(checker), map[netip.AddrPort]*Host{}
	for i := range hosts {
		h := &hosts[i]
		if h.Jump != nil || h.Gone {
			continue
		}
		for _, a := range lookUp(ctx, h.Address) {
			at := netip.AddrPortFrom(a, uint16(h.port()))
			if f := first[at]; f != nil && f != h {
				c.add(h.Path, "address", h.Where, "hosts %q and %q are the same machine: %s and %s are both %s%s",
					f.Name, h.Name, f.Address, h.Address, at, other(f.Where))
				break
			}
			first[at] = h
		}
	}
	return c.err()
}

func lookUp(ctx context.Context, address string) []netip.Addr {
	if a, err := netip.ParseAddr(address); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", address)
	if err != nil {
		return nil
	}
	for i := range all {
		all[i] = all[i].Unmap()
	}
	return all
}

// expand makes a path of one that begins with ~.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
