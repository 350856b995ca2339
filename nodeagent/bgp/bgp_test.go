package bgp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"github.com/vishvananda/netlink"

	"github.com/provisionhq/provision/nodeagent/announcer"
	"github.com/provisionhq/provision/nodeagent/bgp"
)

const within = "PROVISION_TEST_WITHIN"

// TestMain runs the tests in a network of their own, whose only link has the addresses of two machines and a router.
func TestMain(m *testing.M) {
	if os.Getenv(within) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), within+"=yes")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func furnish() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range []string{"10.9.0.1/32", "10.9.0.2/32", "10.9.0.253/32", "10.9.0.254/32"} {
		p, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, p); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(lo)
}

var (
	first, second = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	gate, other   = netip.MustParseAddr("10.9.0.254"), netip.MustParseAddr("10.9.0.253")
	vip, vip6     = netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
)

const (
	machines = 4200000001 // an ASN that takes all 32 bits
	routers  = 64500
	port     = 1790
	password = "not-a-word-of-any-book"
)

// A router is another program's BGP as far as a speaker can tell.
type router struct {
	t *testing.T
	s *server.BgpServer
}

func newRouter(t *testing.T, at netip.Addr, asn uint32) *router {
	t.Helper()
	r := &router{t, server.NewBgpServer()}
	go r.s.Serve()
	err := r.s.StartBgp(t.Context(), &api.StartBgpRequest{Global: &api.Global{Asn: asn, RouterId: at.String(), ListenPort: port, ListenAddresses: []string{at.String()}, UseMultiplePaths: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.s.Stop)
	for _, a := range []netip.Addr{first, second} {
		err := r.s.AddPeer(t.Context(), &api.AddPeerRequest{Peer: &api.Peer{
			Conf:      &api.PeerConf{NeighborAddress: a.String(), PeerAsn: machines, AuthPassword: password},
			Transport: &api.Transport{PassiveMode: true, LocalAddress: at.String()},
			AfiSafis: []*api.AfiSafi{
				{Config: &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true}},
				{Config: &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}, Enabled: true}},
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// hops returns by which machines the router reaches an address.
func (r *router) hops(a netip.Addr) []netip.Addr {
	family := packet.RF_IPv4_UC
	if a.Is6() {
		family = packet.RF_IPv6_UC
	}
	var hops []netip.Addr
	err := r.s.ListPath(apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family}, func(to packet.NLRI, paths []*apiutil.Path) {
		for _, p := range paths {
			if to.String() == netip.PrefixFrom(a, a.BitLen()).String() {
				hops = append(hops, p.PeerAddress)
			}
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	return hops
}

// until waits until the router reaches the address by those machines, and returns how long that took.
func (r *router) until(a netip.Addr, limit time.Duration, want ...netip.Addr) time.Duration {
	r.t.Helper()
	begun := time.Now()
	for {
		have := r.hops(a)
		if slices.Equal(have, want) {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			r.t.Fatalf("after %v the router reaches %s by %v, want %v", limit, a, have, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func speak(t *testing.T, self netip.Addr, change func(*bgp.Options)) *bgp.Speaker {
	t.Helper()
	o := bgp.Options{Self: self, ASN: machines, Hold: 3 * time.Second, Peers: []bgp.Peer{{Address: gate, ASN: routers, Port: port, Password: password}}}
	if change != nil {
		change(&o)
	}
	s, err := bgp.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	t.Cleanup(func() { once.Do(s.Close) })
	return s
}

// A machine has an API server that is well or not, and the address whenever it is.
type machine struct {
	mu  sync.Mutex
	ill error
	end func()
}

func (m *machine) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ill = err
}

func (m *machine) well(ctx context.Context) error {
	m.mu.Lock()
	err := m.ill
	m.mu.Unlock()
	if errors.Is(err, errHangs) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

var errHangs = errors.New("it takes connections and says nothing")

// newMachine has the address on the loopback link, as an agent would. All speakers are started before the first machine is made:
// gobgp's are made for one to a process, and share what the start of each writes and each announcement reads.
func newMachine(t *testing.T, s *bgp.Speaker) *machine {
	m, on := new(machine), announcer.New("lo", nil)
	p := announcer.NewPresence(announcer.PresenceOptions{
		Well: m.well,
		Hold: func() error { return errors.Join(on.Hold(vip), s.Announce(vip)) },
		Drop: func() error { return errors.Join(s.Withdraw(vip), on.Drop(vip)) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { p.Run(ctx); close(ended) }()
	m.end = func() { cancel(); <-ended }
	t.Cleanup(m.end)
	return m
}

func onLink(t *testing.T, a netip.Addr) bool {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(n net.Addr) bool { return strings.HasPrefix(n.String(), a.String()+"/") })
}

// TestMoves has two machines announce one address: whoever's API server is unwell is left out within 3 s, and comes back.
func TestMoves(t *testing.T) {
	r := newRouter(t, gate, routers)
	one, two := speak(t, first, nil), speak(t, second, nil)
	a, b := newMachine(t, one), newMachine(t, two)
	t.Logf("both announced after %v", r.until(vip, 20*time.Second, first, second))
	if !onLink(t, vip) {
		t.Error("the address is announced and not here")
	}
	for name, err := range map[string]error{"ended": syscall.ECONNREFUSED, "not ready": errors.New("500"), "hangs": errHangs} {
		a.set(err)
		t.Logf("API server %s: withdrawn after %v", name, r.until(vip, 3*time.Second, second))
		a.set(nil)
		t.Logf("well again: back after %v", r.until(vip, 3*time.Second, first, second))
	}
	b.set(syscall.ECONNREFUSED)
	a.end()
	r.until(vip, 3*time.Second)
	if onLink(t, vip) {
		t.Error("nobody announces the address, and it is still here")
	}
}

// TestEnds sees that the routes of a speaker that ends are gone at once, and does not wait for the hold time.
func TestEnds(t *testing.T) {
	r := newRouter(t, gate, routers)
	if err := speak(t, second, nil).Announce(vip6); err == nil {
		t.Error("a machine without an IPv6 address leads to one")
	}
	s := speak(t, first, func(o *bgp.Options) { o.Hold, o.Self6 = 90*time.Second, netip.MustParseAddr("2001:db8::1") })
	for _, a := range []netip.Addr{vip, vip6} {
		if err := errors.Join(s.Announce(a), s.Announce(a)); err != nil {
			t.Fatal(err)
		}
		r.until(a, 20*time.Second, first)
	}
	if all := s.Peers(); len(all) != 1 || !all[0].Up || all[0].State != "established" || all[0].Address != gate {
		t.Errorf("the speaker says of its router %+v", all)
	}
	s.Close()
	t.Logf("gone after %v", r.until(vip, 2*time.Second))
	r.until(vip6, time.Second)
}

// TestTakesNothing has a router announce a route to an address: the speaker does not tell the other router of it, and does not
// listen to anybody.
func TestTakesNothing(t *testing.T) {
	r, o := newRouter(t, gate, routers), newRouter(t, other, routers+1)
	theirs := netip.MustParseAddr("198.51.100.1")
	to, err := packet.NewIPAddrPrefix(netip.PrefixFrom(theirs, 32))
	hop, err2 := packet.NewPathAttributeNextHop(gate)
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	_, err = r.s.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{{Family: packet.RF_IPv4_UC, Nlri: to, Attrs: []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(0), hop}}}})
	if err != nil {
		t.Fatal(err)
	}
	s := speak(t, first, func(o *bgp.Options) {
		o.Peers = append(o.Peers, bgp.Peer{Address: other, ASN: routers + 1, Port: port, Password: password})
	})
	if err := s.Announce(vip); err != nil {
		t.Fatal(err)
	}
	r.until(vip, 20*time.Second, first)
	o.until(vip, 20*time.Second, first)
	time.Sleep(500 * time.Millisecond) // what it would be told would come now
	if hops := o.hops(theirs); len(hops) > 0 {
		t.Errorf("the other router reaches %s by %v: the machine passes routes on", theirs, hops)
	}
	l, err := net.Listen("tcp", "0.0.0.0:179")
	if err != nil {
		t.Fatalf("the speaker listens on BGP's port: %v", err)
	}
	l.Close()
}

// TestRefused has sessions that cannot come about: the state says so, and nothing is announced.
func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*bgp.Options){
		"another password":     func(o *bgp.Options) { o.Peers[0].Password = "wrong" },
		"no password":          func(o *bgp.Options) { o.Peers[0].Password = "" },
		"another ASN":          func(o *bgp.Options) { o.ASN = 64999 },
		"another router's ASN": func(o *bgp.Options) { o.Peers[0].ASN = 64999 },
		"nobody there":         func(o *bgp.Options) { o.Peers[0].Port = port + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t, gate, routers)
			s := speak(t, second, change)
			if err := s.Announce(vip); err != nil {
				t.Fatal(err)
			}
			for range 35 {
				if all := s.Peers(); len(all) != 1 || all[0].Up || all[0].State == "" {
					t.Fatalf("the speaker says of its router %+v", all)
				}
				if hops := r.hops(vip); len(hops) > 0 {
					t.Fatalf("the router reaches the address by %v", hops)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}
