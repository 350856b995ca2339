package announcer

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestPackets(t *testing.T) {
	hw, err := net.ParseMAC("02:00:00:00:00:2a")
	if err != nil {
		t.Fatal(err)
	}
	four, six := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		// RFC 826: hardware type, protocol, lengths, operation, sender and target.
		"request": {arp(1, hw, four), "0001 0800 06 04 0001 02000000002a c000020a 000000000000 c000020a"},
		"answer":  {arp(2, hw, four), "0001 0800 06 04 0002 02000000002a c000020a ffffffffffff c000020a"},
		// RFC 4861, 4.4: type 136, code, checksum, override, target, option 2 of one unit.
		"advertisement": {advertisement(hw, six), "88 00 0000 20000000 20010db8000000000000000000000010 02 01 02000000002a"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil || !bytes.Equal(c.got, want) {
			t.Errorf("%s: got %x, want %x (%v)", name, c.got, want, err)
		}
	}
	if swapped(0x0806) != 0x0608 {
		t.Errorf("got %x", swapped(0x0806))
	}
}

func TestLinkOf(t *testing.T) {
	if l, err := LinkOf(netip.MustParseAddr("127.0.0.1")); err != nil || l == "" {
		t.Errorf("link of the loopback address: %q, %v", l, err)
	}
	if l, err := LinkOf(netip.MustParseAddr("192.0.2.77")); err == nil {
		t.Errorf("an address that nobody has is on %q", l)
	}
}

func TestLinkNear(t *testing.T) {
	if l, err := LinkNear(netip.MustParseAddr("127.7.7.7")); err != nil || l == "" {
		t.Errorf("link near a loopback address: %q, %v", l, err)
	}
	if l, err := LinkNear(netip.MustParseAddr("2001:db8:77::77")); err == nil {
		t.Errorf("an address that is near nothing is near %q", l)
	}
}
