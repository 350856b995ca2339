//go:build linux

package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// A network is a namespace of its own with a bridge in it, which no firewall of the host sees, and one pair of links: the
// end in the host has the gateway's address, the other is a port of the bridge. Machines are the other ports.
const (
	bridgeName = "bridge"
	uplinkName = "host"
)

// linkName is the name of the network's one link in the host. It differs between folders too.
func (p *Provider) linkName(k providers.Key) string {
	sum := sha256.Sum256([]byte(p.folder + "\x00" + k.String()))
	return "pv" + hex.EncodeToString(sum[:5])
}

// mac is the hardware address that goes with an IPv4 address: who takes over the address has the same, so that no
// neighbour's memory is wrong.
func mac(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}

// mounted says whether a namespace is mounted on the file.
func mounted(file string) bool {
	var s unix.Statfs_t
	return unix.Statfs(file, &s) == nil && s.Type == unix.NSFS_MAGIC
}

// mountNetns mounts a new network namespace on the file. One that is there is kept.
func mountNetns(file string) error {
	if mounted(file) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, in the new namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- kernelLacks("network namespaces", err)
			return
		}
		bridgeIgnoresFilter()
		done <- unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, "")
	}()
	return <-done
}

// bridgeIgnoresFilter keeps bridged packets of this thread's network namespace away from the packet filter: there are no
// rules in it, and no need to pay for them.
func bridgeIgnoresFilter() {
	for _, n := range []string{"iptables", "ip6tables", "arptables"} {
		_ = writeSysctl("net/bridge/bridge-nf-call-"+n, 0) // missing where the kernel's module is
	}
}

// within calls do with a handle to the namespace that is mounted on the file.
func within(file string, do func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPath(file)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	return do(h)
}

// addBridge makes the bridge of the namespace. One that is there is kept.
func addBridge(h *netlink.Handle) error {
	if lo, err := h.LinkByName("lo"); err == nil {
		_ = h.LinkSetUp(lo) // nothing uses it
	}
	b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	b.Name = bridgeName
	b.HardwareAddr = net.HardwareAddr{0x0a, 0x58, 0, 0, 0, 1} // fixed: else it changes with the ports
	if err := h.LinkAdd(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return kernelLacks("bridges (module bridge)", err)
	}
	l, err := h.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

// addUplink makes the pair between host and bridge. A pair is made and removed as a whole, and its other end joins the
// bridge right after, so a cut in between leaves a port that is not up: it is joined again.
func addUplink(link, nsFile string, cidr netip.Prefix) error {
	ns, err := netns.GetFromPath(nsFile)
	if err != nil {
		return err
	}
	defer ns.Close()
	if _, err := netlink.LinkByName(link); err != nil {
		v := netlink.NewVeth(netlink.NewLinkAttrs())
		v.Name, v.HardwareAddr = link, mac(gateway(cidr))
		v.PeerName, v.PeerNamespace = uplinkName, netlink.NsFd(ns)
		if err := netlink.LinkAdd(v); err != nil && !errors.Is(err, unix.EEXIST) {
			return kernelLacks("pairs of links (module veth)", err)
		}
	}
	return within(nsFile, func(h *netlink.Handle) error { return joinBridge(h, uplinkName) })
}

// raiseUplink gives the host's end of the pair the gateway's address in each range.
func raiseUplink(link string, ranges []netip.Prefix) error {
	host, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, cidr := range ranges {
		addr := &netlink.Addr{IPNet: ipNet(gateway(cidr), cidr.Bits())}
		if err := netlink.AddrReplace(host, addr); err != nil {
			return fmt.Errorf("give %s to %s: %w", addr, link, err)
		}
	}
	return netlink.LinkSetUp(host)
}

// joinBridge makes the link a port of the namespace's bridge and sets it up.
func joinBridge(h *netlink.Handle, name string) error {
	bridge, err := h.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.LinkSetMaster(l, bridge); err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

// portName names a machine's port of the bridge.
func portName(a netip.Addr) string {
	b := a.As4()
	return "m" + hex.EncodeToString(b[:])
}

// plug gives the process's network namespace a link eth0 whose other end is a port of the bridge.
func plug(nsFile string, a netip.Addr, pid int) error {
	return within(nsFile, func(h *netlink.Handle) error {
		if old, err := h.LinkByName(portName(a)); err == nil {
			_ = h.LinkDel(old) // of the machine before its reboot, if the kernel has not removed it yet
		}
		v := netlink.NewVeth(netlink.NewLinkAttrs())
		v.Name = portName(a)
		v.PeerName, v.PeerHardwareAddr, v.PeerNamespace = "eth0", mac(a), netlink.NsPid(pid)
		if err := h.LinkAdd(v); err != nil {
			return kernelLacks("pairs of links (module veth)", err)
		}
		return joinBridge(h, v.Name)
	})
}

// unlinkNetwork removes the link and the namespace. The links go first, so that they are gone even if something else
// still holds the namespace.
func unlinkNetwork(link, nsFile string) error {
	if l, err := netlink.LinkByName(link); err == nil {
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	if mounted(nsFile) {
		_ = within(nsFile, func(h *netlink.Handle) error { // best effort: the namespace takes it along
			b, err := h.LinkByName(bridgeName)
			if err != nil {
				return err
			}
			return h.LinkDel(b)
		})
	}
	for mounted(nsFile) {
		if err := unix.Unmount(nsFile, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", nsFile, err)
		}
	}
	return nil
}

// hostUses returns the address ranges that the host has on its links and in its routes, but for the link that is ours.
func hostUses(ours string) ([]use, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	var uses []use
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			uses = appendUse(uses, a.IPNet, "link "+l.Attrs().Name, l.Attrs().Name == ours)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		name := names[r.LinkIndex]
		uses = appendUse(uses, r.Dst, strings.TrimSpace("a route of the host "+name), name == ours && name != "")
	}
	return uses, nil
}

// appendUse leaves out default routes, which say nothing of who uses an address.
func appendUse(uses []use, n *net.IPNet, by string, ours bool) []use {
	if n == nil || ours {
		return uses
	}
	a, ok := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	if !ok || bits == 0 {
		return uses
	}
	return append(uses, use{netip.PrefixFrom(a, bits).Masked(), by})
}

// kernelLacks explains what an errno means when something is made that a kernel may not have.
func kernelLacks(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fail(providers.Denied, "the kernel does not let this process use %s: %w", what, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOTSUP):
		return fail(providers.Unsupported, "this kernel has no %s: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
