package metal

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/bootstrap/ssh"
)

var (
	labelShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	userShape  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]{0,31}$`)
	nameShape  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)
)

// A checker collects what is wrong with an inventory.
type checker struct{ problems []Problem }

func (c *checker) add(path, attribute, where, format string, args ...any) {
	if path != "" && attribute != "" {
		path += "." + attribute
	}
	c.problems = append(c.problems, Problem{path, where, fmt.Sprintf(format, args...)})
}

func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return &InventoryError{c.problems}
}

// check looks for all that can be seen without asking anybody.
func check(o Options) error {
	c := new(checker)
	if len(o.Hosts) == 0 {
		c.add("", "", "", `the inventory has no host: add blocks like host "a" { address = "10.0.0.1" }, or name a file with inventory`)
	}
	names, places := map[string]*Host{}, map[string]*Host{}
	for i := range o.Hosts {
		h := &o.Hosts[i]
		c.host(h, o.CIDR)
		if first := names[h.Name]; first != nil {
			c.add(h.Path, "", h.Where, "there are two hosts %q%s", h.Name, other(first.Where))
			continue
		}
		names[h.Name] = h
		if first := places[h.place()]; first != nil {
			c.add(h.Path, "address", h.Where, "hosts %q and %q are the same machine: both have address %s%s", first.Name, h.Name, h.addr(), other(first.Where))
			continue
		}
		places[h.place()] = h
	}
	types := map[string]bool{}
	for _, t := range o.Types {
		if types[t.Name] {
			c.add(t.Path, "", t.Where, "there are two machine types %q", t.Name)
		}
		types[t.Name] = true
		c.machineType(t)
	}
	if o.CIDR.IsValid() && o.CIDR != o.CIDR.Masked() {
		c.add("cidr", "", "", "%s is no range: it has host bits; write %s", o.CIDR, o.CIDR.Masked())
	}
	return c.err()
}

func other(where string) string {
	if where == "" {
		return ""
	}
	return "; the first is at " + where
}

func (c *checker) host(h *Host, cidr netip.Prefix) {
	bad := func(attribute, format string, args ...any) { c.add(h.Path, attribute, h.Where, format, args...) }
	if !labelShape.MatchString(h.Name) {
		bad("", "the host's name %q is no DNS label: small letters, digits and hyphens", h.Name)
	}
	switch _, err := netip.ParseAddr(h.Address); {
	case h.Address == "":
		bad("", "host %q has no address", h.Name)
	case err != nil && !nameShape.MatchString(h.Address):
		bad("address", "host %q: %q is neither an IP address nor a name; the port is an attribute of its own", h.Name, h.Address)
	}
	if h.Port < 0 || h.Port > 65535 {
		bad("port", "host %q: %d is no port", h.Name, h.Port)
	}
	if !userShape.MatchString(h.user()) {
		bad("user", "host %q: %q is no user name", h.Name, h.User)
	}
	c.keys(h.HostKeys, fmt.Sprintf("host %q", h.Name), bad)
	if j := h.Jump; j != nil {
		c.jump(j, bad)
	}
	if h.Private.IsValid() && cidr.IsValid() && !cidr.Contains(h.Private) {
		bad("private", "host %q: address %s is not in the network's %s", h.Name, h.Private, cidr)
	}
	for _, v := range []struct{ name, value string }{{"zone", h.Zone}, {"type", h.Type}, {"role", h.Role}} {
		if v.value != "" && !labelShape.MatchString(v.value) {
			bad(v.name, "host %q: %s %q is not made of small letters, digits and hyphens", h.Name, v.name, v.value)
		}
	}
	if h.BMC != nil {
		if err := h.BMC.Check(); err != nil {
			bad("bmc", "host %q: %v", h.Name, err)
		}
	}
}

func (c *checker) jump(j *Jump, bad func(attribute, format string, args ...any)) {
	what := "the bastion " + cmp.Or(j.Name, j.Address)
	if host, port, err := net.SplitHostPort(j.Address); err != nil || !nameShape.MatchString(host) && net.ParseIP(host) == nil {
		bad("jump", "%s: %q is no address with a port", what, j.Address)
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		bad("jump", "%s: %q is no port", what, port)
	}
	if !userShape.MatchString(j.User) {
		bad("jump", "%s: %q is no user name", what, j.User)
	}
	c.keys(j.HostKeys, what, bad)
}

func (c *checker) keys(lines []string, what string, bad func(attribute, format string, args ...any)) {
	for _, l := range lines {
		if err := ssh.CheckHostKey(l); err != nil {
			bad("host_key", "%s: host key %q is no public key as in authorized_keys or known_hosts: %v", what, short(l), err)
		}
	}
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

func (c *checker) machineType(t Type) {
	if !labelShape.MatchString(t.Name) {
		c.add(t.Path, "", t.Where, "the machine type's name %q is no DNS label: small letters, digits and hyphens", t.Name)
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"cpus", t.CPUs}, {"memory", t.MemoryMiB}, {"disk", t.DiskGiB}} {
		if n.value < 0 {
			c.add(t.Path, n.name, t.Where, "machine type %q: %s is negative", t.Name, n.name)
		}
	}
	if t.Arch != "" && !slices.Contains([]string{"amd64", "arm64"}, t.Arch) {
		c.add(t.Path, "arch", t.Where, "machine type %q: architecture %q is neither amd64 nor arm64", t.Name, t.Arch)
	}
}

// place is where the host's SSH server is, so that two hosts at one place are found.
func (h *Host) place() string {
	through := ""
	if h.Jump != nil {
		through = h.Jump.Address
	}
	return through + " " + h.addr()
}

// addr is the host's address with its port.
func (h *Host) addr() string {
	address := strings.ToLower(h.Address)
	if a, err := netip.ParseAddr(address); err == nil {
		address = a.Unmap().String()
	}
	return net.JoinHostPort(address, strconv.Itoa(h.port()))
}

// fits returns why the host cannot be of the type, as far as the inventory tells; nil if it can.
func (h *Host) fits(t Type, declared bool) error {
	if h.Type != "" && h.Type != t.Name {
		return fmt.Errorf("it is of type %s", h.Type)
	}
	if h.Type == "" && !declared && t.Name != DefaultType {
		return fmt.Errorf("it has no type")
	}
	for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
		if h.Labels[k] != t.Labels[k] {
			return fmt.Errorf("its label %s is %q, the type asks for %q", k, h.Labels[k], t.Labels[k])
		}
	}
	return nil
}

// serves returns why the host is not for machines of the pool.
func (h *Host) serves(pool string) error {
	switch {
	case h.Role == "", h.Role == pool, h.Role == Worker && pool != ControlPlane:
		return nil
	}
	return fmt.Errorf("its role is %s", h.Role)
}
