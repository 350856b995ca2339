package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

func routedEngine() *Engine {
	e := New(Options{Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl"}})
	e.Cluster.Endpoint = config.Endpoint{Address: netip.MustParseAddr("10.99.0.1"), BGP: &config.BGP{ASN: 64512, Hold: 3 * time.Second, Peers: []config.BGPPeer{
		{Address: netip.MustParseAddr("10.88.0.1"), ASN: 64500, Password: "open-sesame"}, {Address: netip.MustParseAddr("10.88.0.2"), ASN: 64500}}}}
	return e
}

// TestRoutersSecrets: only the control plane gets the passwords, in a file that only root reads.
func TestRoutersSecrets(t *testing.T) {
	e := routedEngine()
	a, err := pki.NewAuthorities("demo", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e.secrets = &secrets{authority: a}
	for role, want := range map[templates.Role]string{templates.Worker: "", templates.ControlPlane: "open-sesame"} {
		files, err := e.files(role, noToken)
		if err != nil {
			t.Fatal(err)
		}
		have := ""
		for _, f := range files {
			if f.Path != templates.BGPPath {
				continue
			}
			s, err := templates.ParseBGPSecrets(f.Content)
			if have = s.Passwords[netip.MustParseAddr("10.88.0.1")]; err != nil || len(s.Passwords) != 1 || f.Mode != "0600" {
				t.Errorf("%s gets %+v with mode %s, %v", role, s, f.Mode, err)
			}
		}
		if have != want {
			t.Errorf("%s gets the password %q, want %q", role, have, want)
		}
	}
}

// TestRoutedHealth: several machines have the address, and a session that is down is told.
func TestRoutedHealth(t *testing.T) {
	e := routedEngine()
	router := func(last byte, up bool) templates.BGPPeerStatus {
		s := templates.BGPPeerStatus{Address: netip.AddrFrom4([4]byte{10, 88, 0, last}), Up: up, State: "active"}
		if up {
			s.State = "established"
		}
		return s
	}
	vip := func(here bool, problem string, rs ...templates.BGPPeerStatus) *templates.Status {
		return &templates.Status{VIP: &templates.VIPStatus{Address: e.Cluster.Endpoint.Address, Here: here, Problem: problem, Routers: rs}}
	}
	well := vip(true, "", router(1, true), router(2, true))
	for name, tt := range map[string]struct {
		agents          map[string]*templates.Status
		holder, problem string
	}{
		"all":        {map[string]*templates.Status{"a": well, "b": well, "worker": {}}, "a, b", ""},
		"one is ill": {map[string]*templates.Status{"a": well, "b": vip(false, "503", router(1, true))}, "a", "b does not have it: 503"},
		"one session is down": {map[string]*templates.Status{"a": well, "b": vip(true, "", router(1, true), router(2, false))}, "a, b",
			"b has no session with router 10.88.0.2 (active)"},
		"no router": {map[string]*templates.Status{"a": vip(true, "", router(1, false))}, "", "a has no session with router 10.88.0.1 (active)"},
		"nobody":    {nil, "", "no machine that answers has it"},
	} {
		if h := e.addressHealth(tt.agents); h.Holder != tt.holder || h.Problem != tt.problem {
			t.Errorf("%s: at %q, %q; want %q, %q", name, h.Holder, h.Problem, tt.holder, tt.problem)
		}
	}
}

// TestAstray: a virtual address is one of the machines' link, unless routers lead to it.
func TestAstray(t *testing.T) {
	machines := netip.MustParsePrefix("10.88.0.0/24")
	for _, tt := range []struct {
		address string
		routed  bool
		refused bool
	}{{"10.88.0.9", false, false}, {"10.99.0.1", false, true}, {"10.88.0.9", true, true}, {"10.99.0.1", true, false}} {
		e := routedEngine()
		e.Cluster.Endpoint.Address = netip.MustParseAddr(tt.address)
		if !tt.routed {
			e.Cluster.Endpoint.BGP = nil
		}
		if ds := e.astray(machines); (len(ds) > 0) != tt.refused {
			t.Errorf("%s, routed %v: %v, want it refused: %v", tt.address, tt.routed, ds, tt.refused)
		}
	}
}
