package nodeagent

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/nodeagent/bgp"
	"github.com/provisionhq/provision/templates"
)

// TestSpeakerOptions puts a node's file and its secret one together.
func TestSpeakerOptions(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.254"), netip.MustParseAddr("10.0.0.253")
	n := testNode(templates.ControlPlane, 3)
	n.VIP = netip.MustParseAddr("10.99.0.1")
	n.BGP = &templates.BGP{ASN: 4200000000, Hold: 9, Peers: []templates.BGPPeer{{Address: b, ASN: 64500}, {Address: a, ASN: 64501, Port: 1790, Hops: 2}}}
	raw, err := templates.RenderNode(n)
	if err != nil {
		t.Fatal(err)
	}
	if n, err = templates.ParseNode(raw); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bgp.json")
	if _, err := speakerOptions(n, path); err == nil {
		t.Error("a node without its file of passwords speaks without them")
	}
	secret, err := templates.RenderBGPSecrets(templates.BGPSecrets{Passwords: map[netip.Addr]string{a: "open-sesame"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := speakerOptions(n, path)
	want := bgp.Options{Self: n.Address, ASN: 4200000000, Hold: 9 * time.Second, Peers: []bgp.Peer{
		{Address: b, ASN: 64500}, {Address: a, ASN: 64501, Port: 1790, Hops: 2, Password: "open-sesame"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if err := os.WriteFile(path, []byte(`{"passwords": "open-sesame"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := speakerOptions(n, path); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestAnnouncementLike: what is announced begins anew when anything of it changes, the passwords included.
func TestAnnouncementLike(t *testing.T) {
	node := func() announcement {
		n := testNode(templates.ControlPlane, 3)
		n.VIP, n.BGP = netip.MustParseAddr("10.99.0.1"), &templates.BGP{ASN: 64512, Hold: 3, Peers: []templates.BGPPeer{{Address: n.DNS, ASN: 64500}}}
		return announcement{node: n}
	}
	was := node()
	for name, change := range map[string]func(*announcement){
		"address":   func(w *announcement) { w.node.VIP = w.node.VIP.Next() },
		"own":       func(w *announcement) { w.node.Address = w.node.Address.Next() },
		"interface": func(w *announcement) { w.node.VIPInterface = "eth1" },
		"routers":   func(w *announcement) { w.node.BGP.Peers[0].ASN++ },
		"no router": func(w *announcement) { w.node.BGP = nil },
		"passwords": func(w *announcement) { w.secrets[0] = 1 },
	} {
		if o := node(); !was.like(o) {
			t.Error("nothing changed, and it begins anew")
		} else if change(&o); was.like(o) {
			t.Errorf("%s: it goes on as before", name)
		}
	}
}

func TestVIPLine(t *testing.T) {
	a, r := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.0.0.254")
	for want, v := range map[string]templates.VIPStatus{
		"10.99.0.1 is here, on lo; router 10.0.0.254: established": {Address: a, Interface: "lo", Here: true, Routers: []templates.BGPPeerStatus{{Address: r, Up: true, State: "established"}}},
		"10.99.0.1 is not here; 503; router 10.0.0.254: active":    {Address: a, Interface: "lo", Problem: "503", Routers: []templates.BGPPeerStatus{{Address: r, State: "active"}}},
		"10.99.0.1 is held by demo-cp-1":                           {Address: a, Interface: "eth0", Holder: "demo-cp-1"},
		"10.99.0.1 is held by nobody; 503":                         {Address: a, Interface: "eth0", Problem: "503"},
	} {
		if got := vipLine(v); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
