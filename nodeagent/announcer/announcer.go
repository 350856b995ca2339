// Package announcer makes an address be on one machine of several, and moves it: it tells the neighbours on the link by ARP
// and NDP where the address is now, and a lease in a store says whose turn it is.
//
// The two halves know nothing of each other. An Announcer holds any number of addresses; a Lease says when to hold one.
package announcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// life is how long the kernel keeps an address that nobody refreshes, in seconds: an agent that dies takes its addresses
// with it. The kernel counts in whole seconds and may be one late.
const life = 2

// How often the neighbours are told: several times at first, because a switch that has just seen a link come up drops
// packets, and then now and again.
func firstWords() []time.Duration {
	return []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 2 * time.Second}
}

const nextWords = 10 * time.Second

// An Announcer holds addresses on one link. Its methods are safe for concurrent use.
type Announcer struct {
	link string
	log  *slog.Logger

	mu   sync.Mutex
	held map[netip.Addr]context.CancelFunc // ends the words about it
}

// New returns an announcer for a link, by name. It does no I/O.
func New(link string, log *slog.Logger) *Announcer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{link: link, log: log, held: map[netip.Addr]context.CancelFunc{}}
}

// LinkOf returns the name of the link that has an address.
func LinkOf(a netip.Addr) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, l := range links {
		addresses, err := l.Addrs()
		if err != nil {
			return "", err
		}
		for _, have := range addresses {
			if p, err := netip.ParsePrefix(have.String()); err == nil && p.Addr() == a {
				return l.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no link has the address %s", a)
}

// LinkNear returns the name of the link that is up and has a network that an address belongs to: the narrowest of several.
func LinkNear(a netip.Addr) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	name, bits := "", -1
	for _, l := range links {
		if l.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := l.Addrs()
		if err != nil {
			return "", err
		}
		for _, have := range addresses {
			p, err := netip.ParsePrefix(have.String())
			if err == nil && p.Contains(a) && !p.IsSingleIP() && p.Bits() > bits {
				name, bits = l.Name, p.Bits()
			}
		}
	}
	if name == "" {
		return "", fmt.Errorf("no link has a network with %s", a)
	}
	return name, nil
}

// Hold puts an address on the link and tells the neighbours, or refreshes it: it is to be called at least once a second for
// as long as the address shall be here.
func (n *Announcer) Hold(a netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	link, err := netlink.LinkByName(n.link)
	if err != nil {
		return fmt.Errorf("link %s: %w", n.link, err)
	}
	if err := netlink.AddrReplace(link, address(a)); err != nil {
		return fmt.Errorf("put %s on %s: %w", a, n.link, err)
	}
	if _, ok := n.held[a]; ok {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.held[a] = cancel
	if link.Attrs().Flags&net.FlagLoopback != 0 {
		return nil // nobody is behind it: routers are told by other means
	}
	go n.speak(ctx, a, link.Attrs())
	return nil
}

// Drop takes an address off the link. One that is not there is no error.
func (n *Announcer) Drop(a netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cancel, ok := n.held[a]; ok {
		cancel()
		delete(n.held, a)
	}
	link, err := netlink.LinkByName(n.link)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	} else if err != nil {
		return fmt.Errorf("link %s: %w", n.link, err)
	}
	if err := netlink.AddrDel(link, address(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take %s off %s: %w", a, n.link, err)
	}
	return nil
}

// address is the address alone, without a network: routes to its neighbours are the link's own. The kernel does not use it
// to speak from unless it is asked to, and does not look for another machine that has it: the lease says that none has.
func address(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{
		IPNet:    &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
		ValidLft: life,
	}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// speak tells the neighbours where the address is until ctx ends.
func (n *Announcer) speak(ctx context.Context, a netip.Addr, link *netlink.LinkAttrs) {
	words := firstWords()
	begun := time.Now()
	for i := 0; ; i++ {
		pause := nextWords
		if i < len(words) {
			pause = words[i] - time.Since(begun)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if err := tell(link.Index, link.HardwareAddr, a); err != nil {
			n.log.Warn("cannot tell the neighbours", "address", a, "link", n.link, "err", err)
		}
	}
}
