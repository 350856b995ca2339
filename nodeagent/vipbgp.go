package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/provisionhq/provision/nodeagent/announcer"
	"github.com/provisionhq/provision/nodeagent/bgp"
	"github.com/provisionhq/provision/templates"
)

// loopback is the link that has an address which routers lead to: no neighbour is to look for it.
const loopback = "lo"

// present has the address here whenever this node's API server is well, and tells the routers so: they choose among the
// nodes. stop ends the sessions.
func (a *agent) present(ctx context.Context, v *announcement) (stop func(), err error) {
	n := v.node
	v.link = loopback
	o, err := speakerOptions(n, templates.BGPPath)
	if err != nil {
		return nil, err
	}
	o.Log = a.log
	speaker, err := bgp.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	on := announcer.New(loopback, a.log)
	v.wish = announcer.NewPresence(announcer.PresenceOptions{
		Log: a.log, Tell: a.notify, Well: ownAPI(),
		Hold: func() error { return errors.Join(on.Hold(n.VIP), speaker.Announce(n.VIP)) },
		Drop: func() error { return errors.Join(speaker.Withdraw(n.VIP), on.Drop(n.VIP)) },
	})
	v.routers = func() []templates.BGPPeerStatus {
		var all []templates.BGPPeerStatus
		for _, p := range speaker.Peers() {
			all = append(all, templates.BGPPeerStatus(p))
		}
		return all
	}
	return speaker.Close, nil
}

// speakerOptions are what the node's files say.
func speakerOptions(n templates.Node, secrets string) (bgp.Options, error) {
	b, err := os.ReadFile(secrets)
	if err != nil {
		return bgp.Options{}, fmt.Errorf("the routers' passwords: %w", err)
	}
	s, err := templates.ParseBGPSecrets(b)
	if err != nil {
		return bgp.Options{}, fmt.Errorf("%s is damaged", secrets) // its words may be secret
	}
	o := bgp.Options{Self: n.Address, ASN: n.BGP.ASN, Hold: time.Duration(n.BGP.Hold) * time.Second}
	for _, p := range n.BGP.Peers {
		o.Peers = append(o.Peers, bgp.Peer{Address: p.Address, ASN: p.ASN, Port: p.Port, Hops: p.Hops, Password: s.Passwords[p.Address]})
	}
	return o, nil
}
