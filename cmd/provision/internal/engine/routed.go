package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/templates"
)

// routersSecrets is the file with the routers' passwords. It is there without any, too: a password that was taken away is a
// change of it.
func routersSecrets(g *config.BGP) ([]byte, error) {
	s := templates.BGPSecrets{Passwords: map[netip.Addr]string{}}
	for _, p := range g.Peers {
		if p.Password != "" {
			s.Passwords[p.Address] = p.Password
		}
	}
	return templates.RenderBGPSecrets(s)
}

// routedHealth puts together what the agents say of a virtual address that routers lead to: all control-plane machines that are
// well have it.
func (e *Engine) routedHealth(agents map[string]*templates.Status) *AddressHealth {
	h := &AddressHealth{Address: e.Cluster.Endpoint.Address}
	var told, problems []string
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		v := agents[name].VIP
		switch {
		case v == nil || v.Address != h.Address:
		case !v.Here:
			problems = append(problems, fmt.Sprintf("%s does not have it: %s", name, v.Problem))
		default:
			down := silentRouters(v.Routers)
			if len(down) < len(v.Routers) {
				told = append(told, name)
			}
			for _, r := range down {
				problems = append(problems, fmt.Sprintf("%s has no session with router %s (%s)", name, r.Address, r.State))
			}
		}
	}
	h.Holder, h.Problem = strings.Join(told, ", "), strings.Join(problems, "; ")
	if len(told) == 0 && h.Problem == "" {
		h.Problem = "no machine that answers has it"
	}
	return h
}

func silentRouters(all []templates.BGPPeerStatus) []templates.BGPPeerStatus {
	return slices.DeleteFunc(slices.Clone(all), func(r templates.BGPPeerStatus) bool { return r.Up })
}
