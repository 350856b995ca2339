// Package bgp tells routers, by BGP, which addresses are on this machine.
//
// It only speaks: it opens the connections itself, listens on no port, and takes no routes from anybody. Each address is
// announced as a route to it alone, with this machine as the next hop.
package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// Port is where routers listen.
const Port = 179

const (
	retry     = 2               // seconds between tries to reach a router
	callLimit = 2 * time.Second // of one call of the speaker's own machinery
)

// Options is what a speaker works with.
type Options struct {
	Self  netip.Addr // the machine's address, which routers reach it at; IPv4
	Self6 netip.Addr // the same for routes to IPv6 addresses, which are refused if it has none
	ASN   uint32
	Hold  time.Duration // after so long without a word, a router takes this machine for dead; whole seconds, 3 at least
	Peers []Peer
	Log   *slog.Logger
}

// A Peer is a router.
type Peer struct {
	Address  netip.Addr
	ASN      uint32
	Port     int    // 179 if 0
	Hops     int    // how many hops away at most; 1 if 0. Only for another ASN
	Password string // of TCP MD5 (RFC 2385); "": none
}

// A PeerState is how the session with a router is.
type PeerState struct {
	Address netip.Addr
	Up      bool
	State   string // BGP's own word: "active", "established"
}

// A Speaker announces addresses to all its peers. Its methods are safe for concurrent use.
type Speaker struct {
	o Options
	s *server.BgpServer

	mu  sync.Mutex
	has map[netip.Addr]*apiutil.Path
}

// Start returns a speaker that tries to reach its peers from now on. Routers that do not answer are no error.
func Start(ctx context.Context, o Options) (*Speaker, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelInfo)
	k := &Speaker{o: o, has: map[netip.Addr]*apiutil.Path{}, s: server.NewBgpServer(server.LoggerOption(o.Log, level))}
	go k.s.Serve()
	global := &api.Global{Asn: o.ASN, RouterId: o.Self.String(), ListenPort: -1}
	if err := k.s.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		return nil, fmt.Errorf("start BGP: %w", err)
	}
	if err := k.meet(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// meet adds the peers, after all that they may announce is refused: else what one router says would be told to the next.
func (k *Speaker) meet(ctx context.Context) error {
	own := &api.Policy{Name: "own", Statements: []*api.Statement{{
		Name:       "own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}}}
	err := k.s.AddPolicy(ctx, &api.AddPolicyRequest{Policy: own})
	if err == nil {
		err = k.s.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_IMPORT,
			Policies: []*api.Policy{own}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}})
	}
	if err != nil {
		return fmt.Errorf("refuse routes: %w", err)
	}
	for _, p := range k.o.Peers {
		if err := k.s.AddPeer(ctx, &api.AddPeerRequest{Peer: k.peer(p)}); err != nil {
			return fmt.Errorf("router %s: %w", p.Address, err)
		}
	}
	return nil
}

func (k *Speaker) peer(p Peer) *api.Peer {
	hold := uint64(k.o.Hold / time.Second)
	families := []*api.AfiSafi{}
	for _, afi := range []api.Family_Afi{api.Family_AFI_IP, api.Family_AFI_IP6} {
		families = append(families, &api.AfiSafi{Config: &api.AfiSafiConfig{Family: &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}, Enabled: true}})
	}
	a := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.ASN, AuthPassword: p.Password},
		Timers:    &api.Timers{Config: &api.TimersConfig{HoldTime: hold, KeepaliveInterval: hold / 3, ConnectRetry: retry, IdleHoldTimeAfterReset: retry}},
		Transport: &api.Transport{LocalAddress: k.o.Self.String(), RemotePort: uint32(p.Port)},
		AfiSafis:  families,
	}
	if p.Hops > 1 {
		a.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.Hops)}
	}
	return a
}

// Announce tells the peers, those of later too, that an address is here. One that is announced already is no error.
func (k *Speaker) Announce(a netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.has[a] != nil {
		return nil
	}
	p, err := k.route(a)
	if err != nil {
		return err
	}
	done, err := k.s.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{p}})
	if err == nil && len(done) == 1 {
		err = done[0].Error
	}
	if err != nil {
		return fmt.Errorf("announce %s: %w", a, err)
	}
	k.has[a] = p
	return nil
}

// route is the route to an address alone.
func (k *Speaker) route(a netip.Addr) (*apiutil.Path, error) {
	to, err := bgp.NewIPAddrPrefix(netip.PrefixFrom(a, a.BitLen()))
	if err != nil {
		return nil, err
	}
	p := &apiutil.Path{Family: bgp.RF_IPv4_UC, Nlri: to, Attrs: []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(0)}}
	if a.Is4() {
		hop, err := bgp.NewPathAttributeNextHop(k.o.Self)
		p.Attrs = append(p.Attrs, hop)
		return p, err
	}
	if !k.o.Self6.Is6() {
		return nil, fmt.Errorf("announce %s: the machine has no IPv6 address that would lead there", a)
	}
	p.Family = bgp.RF_IPv6_UC
	reach, err := bgp.NewPathAttributeMpReachNLRI(bgp.RF_IPv6_UC, []bgp.PathNLRI{{NLRI: to}}, k.o.Self6)
	p.Attrs = append(p.Attrs, reach)
	return p, err
}

// Withdraw tells the peers that an address is here no longer. One that is not announced is no error.
func (k *Speaker) Withdraw(a netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.has[a]
	if p == nil {
		return nil
	}
	if err := k.s.DeletePath(apiutil.DeletePathRequest{Paths: []*apiutil.Path{p}}); err != nil {
		return fmt.Errorf("withdraw %s: %w", a, err)
	}
	delete(k.has, a)
	return nil
}

// Peers returns how the sessions are, sorted by address.
func (k *Speaker) Peers() []PeerState {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	var all []PeerState
	_ = k.s.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		a, err := netip.ParseAddr(p.GetConf().GetNeighborAddress())
		if err != nil {
			return
		}
		st := p.GetState().GetSessionState()
		all = append(all, PeerState{Address: a, Up: st == api.PeerState_SESSION_STATE_ESTABLISHED,
			State: strings.ToLower(strings.TrimPrefix(st.String(), "SESSION_STATE_"))})
	})
	slices.SortFunc(all, func(a, b PeerState) int { return a.Address.Compare(b.Address) })
	return all
}

// Close ends all sessions, so that peers forget what was announced at once.
func (k *Speaker) Close() { k.s.Stop() }
