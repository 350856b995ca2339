package local

import (
	"fmt"
	"net/netip"

	"github.com/provisionhq/provision/providers"
)

// A use is a range of addresses that is taken, and by whom in words.
type use struct {
	prefix netip.Prefix
	by     string
}

// ranges are where networks are looked for when the caller names none.
func ranges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.88.0.0/16"),
		netip.MustParsePrefix("172.28.0.0/16"),
		netip.MustParsePrefix("192.168.0.0/16"),
	}
}

// chooseCIDR returns the first /24 that nobody uses; Conflict if there is none.
func chooseCIDR(uses []use) (netip.Prefix, error) {
	for _, r := range ranges() {
		for p := netip.PrefixFrom(r.Addr(), 24); r.Overlaps(p); p = nextPrefix(p) {
			if takenBy(p, uses) == "" {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, fail(providers.Conflict, "no range of 256 addresses is free in %v", ranges())
}

// nextPrefix returns the range after p, which must be IPv4.
func nextPrefix(p netip.Prefix) netip.Prefix {
	b := p.Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n += 1 << (32 - p.Bits())
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), p.Bits())
}

// checkCIDR returns Invalid for a range that cannot be a network's and Conflict for one that is in use.
func checkCIDR(p netip.Prefix, uses []use) error {
	switch {
	case !p.Addr().Is4():
		return fail(providers.Invalid, "CIDR %s: machines of this provider have IPv4 addresses", p)
	case p != p.Masked():
		return fail(providers.Invalid, "CIDR %s: did you mean %s?", p, p.Masked())
	case p.Bits() < 8 || p.Bits() > 29:
		return fail(providers.Invalid, "CIDR %s: its size must be from /8 to /29", p)
	}
	if by := takenBy(p, uses); by != "" {
		return fail(providers.Conflict, "address range %s is in use by %s", p, by)
	}
	return nil
}

func takenBy(p netip.Prefix, uses []use) string {
	for _, u := range uses {
		if u.prefix.Overlaps(p) {
			return fmt.Sprintf("%s (%s)", u.by, u.prefix)
		}
	}
	return ""
}

// gateway is the host's address in the network: the first one.
func gateway(network netip.Prefix) netip.Addr { return network.Addr().Next() }

// freeAddress returns an address of the network that is neither taken nor the network's, the gateway's or the broadcast address;
// Quota if there is none. It is the one after that which was given last, as far as that is among the first of the range, so
// that a machine that is made anew is at another address, as at vendors; then the lowest.
func freeAddress(network netip.Prefix, taken []netip.Addr, last netip.Addr) (netip.Addr, error) {
	used := map[netip.Addr]bool{}
	for _, a := range taken {
		used[a] = true
	}
	first := gateway(network).Next()
	if last.IsValid() && last.Compare(first) >= 0 {
		end := first
		for range wander {
			end = end.Next()
		}
		for a := last.Next(); a.Less(end) && network.Contains(a.Next()); a = a.Next() {
			if !used[a] {
				return a, nil
			}
		}
	}
	for a := first; network.Contains(a.Next()); a = a.Next() {
		if !used[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fail(providers.Quota, "all addresses of network %s are taken", network)
}

// wander is how many addresses are given in turn: the rest of the range is left to balancers and virtual addresses.
const wander = 64

// lastFreeAddress returns the highest address of the network that may be given to a balancer and is not taken; Quota if
// there is none.
func lastFreeAddress(network netip.Prefix, taken []netip.Addr) (netip.Addr, error) {
	used := map[netip.Addr]bool{}
	for _, a := range taken {
		used[a] = true
	}
	last := nextPrefix(network).Addr().Prev() // the broadcast address
	for a := last.Prev(); a.Compare(gateway(network)) > 0; a = a.Prev() {
		if !used[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fail(providers.Quota, "all addresses of network %s are taken", network)
}
