package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/provisionhq/provision/templates"
)

// TestServiceHealth puts together what three machines say of four addresses.
func TestServiceHealth(t *testing.T) {
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 88, 0, last}) }
	says := func(here ...byte) *templates.Status {
		s := &templates.Status{}
		for _, last := range []byte{9, 10, 11} {
			s.Addresses = append(s.Addresses, templates.AddressStatus{Address: at(last), Here: slices.Contains(here, last)})
		}
		return s
	}
	b := says(10, 11)
	b.Addresses[0].Problem = "no such link"
	got := serviceHealth(map[string]*templates.Status{"a": says(11), "b": b, "c": {}})
	want := []AddressHealth{
		{Address: at(9), Problem: "no machine that answers has it; b cannot have it: no such link"},
		{Address: at(10), Holder: "b"},
		{Address: at(11), Problem: "more than one machine has it: a, b"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := serviceHealth(map[string]*templates.Status{"a": {}}); got != nil {
		t.Errorf("a cluster without such addresses: %+v", got)
	}
}
