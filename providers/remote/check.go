package remote

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/provisionhq/provision/providers"
)

// checkMeta refuses what no object is. One that a stranger has taken the tags away from has no owner or no name.
func checkMeta(m providers.Meta) error {
	if m.ID == "" {
		return errors.New("its ID is empty")
	}
	if err := printable("ID", string(m.ID)); err != nil {
		return err
	}
	owner, name := m.Owner, m.Name
	if owner == "" {
		owner = "nobody"
	}
	if name == "" {
		name = "nameless"
	}
	return providers.Key{Owner: owner, Name: name}.Validate(0)
}

// made says whether an object is what Create was asked for.
func made(k providers.Key) func(providers.Meta) error {
	return func(m providers.Meta) error {
		if m.Partial {
			return errors.New("it is not complete, though it was created without an error")
		}
		return belongs(k)(m)
	}
}

func belongs(k providers.Key) func(providers.Meta) error {
	return func(m providers.Meta) error {
		if m.Owner != k.Owner || m.Name != k.Name {
			return fmt.Errorf("it is %s, not %s", providers.Key{Owner: m.Owner, Name: m.Name}, k)
		}
		return nil
	}
}

func bears(id providers.ID) func(providers.Meta) error {
	return func(m providers.Meta) error {
		if m.ID != id {
			return fmt.Errorf("its ID is %s, not %s", m.ID, id)
		}
		return nil
	}
}

func checkNetwork(n providers.Network) error {
	if !n.Partial && !n.CIDR.IsValid() {
		return errors.New("it has no range of addresses")
	}
	return nil
}

// checkMachine returns what refuses machines that cannot be at a vendor of that name.
func checkMachine(vendor string) func(providers.Machine) error {
	return func(m providers.Machine) error {
		switch {
		case m.State != "" && !slices.Contains([]providers.MachineState{providers.Pending, providers.Running, providers.Stopped}, m.State):
			return fmt.Errorf("its state is %q", m.State)
		case m.NodeID != "" && !strings.HasPrefix(m.NodeID, vendor+"://"):
			return fmt.Errorf("its node ID %q does not begin with %s://", m.NodeID, vendor)
		case !m.Partial && m.State != providers.Running && m.State != providers.Pending:
			return fmt.Errorf("its state is %q, and yet it is complete", m.State)
		case !m.Partial && m.NodeID == "":
			return errors.New("it has no node ID")
		}
		for _, k := range m.HostKeys {
			if len(strings.Fields(k)) < 2 {
				return fmt.Errorf("its host key %q is not in the format of authorized_keys", k)
			}
		}
		return errors.Join(printable("node ID", m.NodeID), printable("type", m.Type), printable("zone", m.Zone), printable("image", m.Image), printable("problem", m.Problem))
	}
}

func checkBalancer(b providers.LoadBalancer) error {
	if !b.Partial && !b.Address.IsValid() && b.Hostname == "" {
		return errors.New("it has neither an address nor a host name")
	}
	return printable("host name", b.Hostname)
}

func checkVolume(v providers.Volume) error {
	switch {
	case !v.Partial && v.SizeGiB <= 0:
		return fmt.Errorf("its size is %d GiB", v.SizeGiB)
	case v.Machine == "" && v.Device != "":
		return fmt.Errorf("it is the device %q of no machine", v.Device)
	}
	return printable("device", v.Device)
}

func checkSnapshot(s providers.Snapshot) error {
	if !s.Partial && s.Volume == "" {
		return errors.New("it is a copy of no volume")
	}
	return nil
}

func checkType(t providers.MachineType) error {
	if t.Name == "" || t.CPUs <= 0 || t.MemoryMiB <= 0 || t.Arch == "" || t.Volumes < 0 {
		return fmt.Errorf("it has %d thousandths of a processor, %d MiB, architecture %q, %d volumes", t.CPUs, t.MemoryMiB, t.Arch, t.Volumes)
	}
	return printable("name", t.Name)
}

// checkCaps refuses caps that contradict themselves, as the conformance suite does.
func checkCaps(p *Provider, c providers.Caps) error {
	what := ""
	switch {
	case len(c.Arch) == 0:
		what = "names no processor architecture"
	case c.MaxNameLen < 0 || c.MaxNameLen > 63:
		what = fmt.Sprintf("says that machine names have at most %d letters", c.MaxNameLen)
	case c.UDP && !c.LoadBalancers || c.Snapshots && !c.Volumes:
		what = "says that it has UDP without balancers or snapshots without volumes"
	case c.Lag < 0:
		what = "says that its reads lag by less than nothing"
	case c.Inside != nil && c.Inside.Blind && len(c.Inside.Attributes) > 0:
		what = "says that it cannot be asked from inside of a cluster, and how it is opened there"
	case c.Prices.Validate() != nil:
		what = "says " + c.Prices.Validate().Error()
	}
	if what == "" {
		return nil
	}
	return p.fault(Bug, "", what)
}

// printable refuses text that would move a terminal's cursor.
func printable(what, s string) error {
	if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		return fmt.Errorf("its %s %q has letters that cannot be printed", what, s)
	}
	return nil
}
