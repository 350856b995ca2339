package local

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
)

func taken(prefixes ...string) []use {
	var us []use
	for _, p := range prefixes {
		us = append(us, use{netip.MustParsePrefix(p), "somebody"})
	}
	return us
}

func TestChooseCIDR(t *testing.T) {
	for _, c := range []struct {
		name string
		uses []use
		want string
	}{
		{"nothing taken", nil, "10.88.0.0/24"},
		{"others elsewhere", taken("192.0.2.0/24", "10.87.0.0/16"), "10.88.0.0/24"},
		{"first taken", taken("10.88.0.0/24"), "10.88.1.0/24"},
		{"gap", taken("10.88.0.0/24", "10.88.2.0/24"), "10.88.1.0/24"},
		{"one address of it", taken("10.88.0.77/32"), "10.88.1.0/24"},
		{"larger than a network", taken("10.88.0.0/22"), "10.88.4.0/24"},
		{"all of the range", taken("10.0.0.0/8"), "172.28.0.0/24"},
		{"two ranges", taken("10.88.0.0/16", "172.16.0.0/12"), "192.168.0.0/24"},
	} {
		got, err := chooseCIDR(c.uses)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: chooseCIDR(%v) = %v, %v; want %s", c.name, c.uses, got, err, c.want)
		}
	}
	got, err := chooseCIDR(taken("0.0.0.0/0"))
	if providers.KindOf(err) != providers.Conflict {
		t.Errorf("all taken: chooseCIDR = %v, %v; want Conflict", got, err)
	}
}

func TestCheckCIDR(t *testing.T) {
	uses := []use{{netip.MustParsePrefix("192.0.2.0/24"), "link eth0"}}
	for _, c := range []struct {
		cidr string
		want providers.Kind
		says string
	}{
		{"10.1.0.0/16", "", ""},
		{"10.1.0.0/29", "", ""},
		{"10.1.2.3/24", providers.Invalid, "did you mean 10.1.2.0/24?"},
		{"10.1.0.0/30", providers.Invalid, "/29"},
		{"8.0.0.0/7", providers.Invalid, "/8"},
		{"fd00::/64", providers.Invalid, "IPv4"},
		{"192.0.2.128/25", providers.Conflict, "link eth0 (192.0.2.0/24)"},
		{"192.0.0.0/16", providers.Conflict, "link eth0"},
	} {
		err := checkCIDR(netip.MustParsePrefix(c.cidr), uses)
		if providers.KindOf(err) != c.want || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("checkCIDR(%s) = %v; want %q saying %q", c.cidr, err, c.want, c.says)
		}
	}
}

func TestFreeAddress(t *testing.T) {
	for _, c := range []struct{ network, taken, last, want string }{
		{"10.88.0.0/24", "", "", "10.88.0.2"},
		{"10.88.0.0/24", "10.88.0.2", "", "10.88.0.3"},
		{"10.88.0.0/24", "10.88.0.2 10.88.0.4", "", "10.88.0.3"},
		{"10.88.0.0/24", "10.88.0.2 10.88.0.4", "10.88.0.3", "10.88.0.5"},
		{"10.88.0.0/24", "10.88.0.2", "10.88.0.65", "10.88.0.3"},
		{"10.88.0.0/24", "", "10.87.0.9", "10.88.0.2"},
		{"10.88.0.0/29", "10.88.0.2 10.88.0.3 10.88.0.4 10.88.0.5", "", "10.88.0.6"},
		{"10.88.0.0/29", "10.88.0.3 10.88.0.4", "10.88.0.6", "10.88.0.2"},
		{"10.88.0.0/29", "10.88.0.2 10.88.0.3 10.88.0.4 10.88.0.5 10.88.0.6", "10.88.0.2", ""}, // .7 is for broadcasts
	} {
		var addrs []netip.Addr
		for _, a := range strings.Fields(c.taken) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		last, _ := netip.ParseAddr(c.last)
		got, err := freeAddress(netip.MustParsePrefix(c.network), addrs, last)
		switch {
		case c.want == "" && providers.KindOf(err) != providers.Quota:
			t.Errorf("freeAddress(%s, %s) = %v, %v; want Quota", c.network, c.taken, got, err)
		case c.want != "" && (err != nil || got.String() != c.want):
			t.Errorf("freeAddress(%s, %s) = %v, %v; want %s", c.network, c.taken, got, err, c.want)
		}
	}
}
