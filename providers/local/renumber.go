//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// renumber gives the network another range beside those that something in it still has an address of. The record is written
// last: a cut before leaves a gateway's address more, and the next Update does the same again.
func (n networks) renumber(ctx context.Context, r *networkRecord, cidr netip.Prefix) error {
	for _, was := range r.ranges() {
		if was.Overlaps(cidr) && was != cidr {
			return fail(providers.Invalid, "the range of a network cannot be changed from %s to %s, which overlaps it", was, cidr)
		}
	}
	all, err := n.p.all(ctx)
	if err != nil {
		return err
	}
	_, err = n.choose(providers.NetworkSpec{Owner: r.Spec.Owner, Name: r.Spec.Name, CIDR: cidr})
	all.release()
	if err != nil {
		return err
	}
	former := slices.DeleteFunc(r.ranges(), func(p netip.Prefix) bool { return p == cidr })
	r.CIDR, r.Former = cidr, former
	return n.p.inOrder(ctx,
		func() error { return raiseUplink(n.p.linkName(r.Spec.Key()), r.ranges()) },
		func() error { return n.writeRules(ctx, r, r.Spec.Allow, nil) },
		func() error { r.Spec.CIDR = cidr; return r.save(n.dir(r)) },
		func() error { return n.prune(ctx, r) },
	)
}

// ranges are all in which something of the network may have an address, that for new ones first.
func (r *record[Spec]) ranges() []netip.Prefix { return append([]netip.Prefix{r.CIDR}, r.Former...) }

// settle is prune for the network of the ID.
func (n networks) settle(ctx context.Context, id providers.ID) error {
	key, _ := keyOf(id)
	l, err := n.p.lockObject(ctx, providers.NetworkNoun, key)
	if err != nil {
		return err
	}
	defer n.p.finish(l, providers.NetworkNoun, key)
	r, err := byID[providers.NetworkSpec](n.p, providers.NetworkNoun, id)
	if err != nil || r == nil || r.Deleting {
		return err
	}
	return n.prune(ctx, r)
}

// prune gives up former ranges of a network, whose lock is held, in which nothing has an address any more.
func (n networks) prune(ctx context.Context, r *networkRecord) error {
	taken, err := n.p.takenAddresses(r, "")
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(r.Former), func(p netip.Prefix) bool { return !slices.ContainsFunc(taken, p.Contains) })
	if len(left) == len(r.Former) {
		return nil
	}
	gone := slices.DeleteFunc(slices.Clone(r.Former), func(p netip.Prefix) bool { return slices.Contains(left, p) })
	r.Former = left
	return n.p.inOrder(ctx,
		func() error { return lowerUplink(n.p.linkName(r.Spec.Key()), gone) },
		func() error { return r.save(n.dir(r)) },
		func() error { return n.writeRules(ctx, r, r.Spec.Allow, nil) }, // last: a range too many does no harm there
	)
}

// lowerUplink takes the gateway's addresses of ranges from the host's end of the pair.
func lowerUplink(link string, ranges []netip.Prefix) error {
	host, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, p := range ranges {
		addr := &netlink.Addr{IPNet: ipNet(gateway(p), p.Bits())}
		if err := netlink.AddrDel(host, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take %s from %s: %w", addr, link, err)
		}
	}
	return nil
}

// renumber gives a machine that has an address of a former range of its network one of the range that the network has now,
// while it runs. The address is chosen, given, and only then the machine's, and stays written down as the next one until all
// know it: cut off in between, the next Update goes on.
func (m machines) renumber(ctx context.Context, r *machineRecord) error {
	net, err := m.network(r)
	if err != nil {
		return err
	}
	if !net.CIDR.Contains(r.Address) {
		if err := m.move(ctx, r, net); err != nil {
			return err
		}
	}
	if !r.Next.IsValid() {
		return nil
	}
	return m.p.inOrder(ctx,
		func() error { return balancers(m).follows(ctx, r.Spec.Owner, r.ID) },
		func() error { return networks(m).settle(ctx, net.ID) },
		func() error { r.Next = netip.Addr{}; return r.save(m.dir(r)) },
	)
}

// move gives a machine an address of the network's range.
func (m machines) move(ctx context.Context, r *machineRecord, net *networkRecord) error {
	if !net.CIDR.Contains(r.Next) {
		if err := m.choose(ctx, r, net); err != nil {
			return err
		}
	}
	now, err := observe(m.dir(r))
	switch {
	case err != nil:
		return err
	case now.Phase == booting || now.Phase == dying:
		return fail(providers.Unavailable, "it is %s: its address cannot be changed now", now.Phase)
	case now.Phase == running:
		if err := errors.Join(readdress(r.Netns, now.Init.PID, r.Address, netip.PrefixFrom(r.Next, net.CIDR.Bits()), gateway(net.CIDR)), m.p.step(ctx)); err != nil {
			return err
		}
	}
	r.Address, r.CIDR = r.Next, net.CIDR
	return errors.Join(r.save(m.dir(r)), m.p.step(ctx))
}

// choose writes down which address a machine is to get.
func (m machines) choose(ctx context.Context, r *machineRecord, net *networkRecord) error {
	all, err := m.p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	taken, err := m.p.takenAddresses(net, r.ID)
	if err != nil {
		return err
	}
	if r.Next, err = freeAddress(net.CIDR, taken, netip.Addr{}); err != nil {
		return err
	}
	return errors.Join(r.save(m.dir(r)), m.p.step(ctx))
}

// readdress gives eth0 of a running machine another address, and with it the hardware address and the port of the bridge that
// go with it, as whoever gets the old one gets those too. It may be repeated.
func readdress(nsFile string, pid int, old netip.Addr, to netip.Prefix, gateway netip.Addr) error {
	err := within(nsFile, func(h *netlink.Handle) error {
		port, err := h.LinkByName(portName(old))
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil // it bears its new name already
		} else if err != nil {
			return err
		}
		return errors.Join(h.LinkSetDown(port), h.LinkSetName(port, portName(to.Addr())), h.LinkSetUp(port))
	})
	if err != nil {
		return fmt.Errorf("rename its port: %w", err)
	}
	return within(filepath.Join("/proc", fmt.Sprint(pid), "ns/net"), func(h *netlink.Handle) error {
		l, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := h.LinkSetHardwareAddr(l, mac(to.Addr())); err != nil {
			return fmt.Errorf("hardware address: %w", err)
		}
		if err := h.AddrReplace(l, &netlink.Addr{IPNet: ipNet(to.Addr(), to.Bits())}); err != nil {
			return fmt.Errorf("address %s: %w", to, err)
		}
		if err := h.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("route by %s: %w", gateway, err)
		}
		have, err := h.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, a := range have {
			if is, ok := netip.AddrFromSlice(a.IP.To4()); ok && is == old {
				return h.AddrDel(l, &netlink.Addr{IPNet: a.IPNet})
			}
		}
		return nil
	})
}

// follows lets the balancers of a machine see its new address.
func (b balancers) follows(ctx context.Context, owner providers.Owner, machine providers.ID) error {
	rs, err := records[providers.LoadBalancerSpec](b.p, providers.BalancerNoun, owner)
	if err != nil {
		return err
	}
	for _, r := range rs {
		if !slices.Contains(r.Spec.Targets, machine) {
			continue
		}
		l, err := b.p.lockObject(ctx, providers.BalancerNoun, r.Spec.Key())
		if err != nil {
			return err
		}
		if r, err = load[providers.LoadBalancerSpec](b.dir(r)); err == nil && r != nil && !r.Deleting {
			r.Revision++
			err = errors.Join(r.save(b.dir(r)), b.follow(ctx, r, false))
		}
		l.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// renumber gives a balancer that has an address of a former range of its network one of the range that the network has now. It
// is another process after it, so its connections end.
func (b balancers) renumber(ctx context.Context, r *balancerRecord) error {
	net, err := b.p.wholeNetwork(r.Spec.Network, r.Spec.Owner)
	if err != nil {
		return err
	}
	if net.CIDR.Contains(r.Address) || !r.Complete {
		return networks(b).settle(ctx, net.ID) // an earlier call may have been cut off there
	}
	if r.Spec.Address.IsValid() {
		return fail(providers.Invalid, "its address is to be %s, which is not in its network's range %s any more", r.Spec.Address, net.CIDR)
	}
	return b.p.inOrder(ctx,
		func() error { return b.halt(ctx, r) },
		func() error {
			all, err := b.p.all(ctx)
			if err != nil {
				return err
			}
			defer all.release()
			if err := b.place(r); err != nil {
				return err
			}
			return r.save(b.dir(r))
		},
		func() error { return b.bringUp(ctx, r) },
		func() error { return networks(b).settle(ctx, net.ID) },
	)
}
