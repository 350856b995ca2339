package announcer

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// tell says to all neighbours on a link that an address is at this link's hardware address.
func tell(index int, hardware net.HardwareAddr, a netip.Addr) error {
	if a.Is4() {
		return tellARP(index, hardware, a)
	}
	return tellNDP(index, hardware, a)
}

// tellARP sends gratuitous ARP, as a request and as an answer: some listen to one and some to the other.
func tellARP(index int, hardware net.HardwareAddr, a netip.Addr) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ARP), Ifindex: index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	for _, op := range []uint16{1, 2} {
		if err := unix.Sendto(fd, arp(op, hardware, a), 0, to); err != nil {
			return err
		}
	}
	return nil
}

// arp is an ARP packet in which sender and target are the same: 1 asks, 2 answers.
func arp(op uint16, hardware net.HardwareAddr, a netip.Addr) []byte {
	p := make([]byte, 8, 28)
	binary.BigEndian.PutUint16(p[0:], 1) // Ethernet
	binary.BigEndian.PutUint16(p[2:], unix.ETH_P_IP)
	p[4], p[5] = 6, 4 // lengths of the two kinds of addresses
	binary.BigEndian.PutUint16(p[6:], op)
	ip := a.As4()
	p = append(append(p, hardware...), ip[:]...)
	target := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	if op == 1 {
		target = make(net.HardwareAddr, 6)
	}
	return append(append(p, target...), ip[:]...)
}

// tellNDP sends an unsolicited neighbour advertisement to all nodes of the link.
func tellNDP(index int, hardware net.HardwareAddr, a netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Neighbours refuse what has come through a router, which takes one from 255.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
		return err
	}
	all := netip.MustParseAddr("ff02::1").As16()
	return unix.Sendto(fd, advertisement(hardware, a), 0, &unix.SockaddrInet6{ZoneId: uint32(index), Addr: all})
}

// advertisement is an ICMPv6 neighbour advertisement that overrides what neighbours know. The kernel fills in the checksum.
func advertisement(hardware net.HardwareAddr, a netip.Addr) []byte {
	ip := a.As16()
	p := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, ip[:]...)
	return append(append(p, 2, 1), hardware...) // option: the target's link-layer address, in units of eight bytes
}

// swapped returns a protocol's number as a packet socket wants it: in the network's order of bytes.
func swapped(p uint16) uint16 { return p<<8 | p>>8 }
