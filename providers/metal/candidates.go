package metal

import (
	"context"
	"net/netip"
	"sync"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
)

// A Use is what hosts are needed for: a pool, and the machine type that it asks for.
type Use struct {
	Pool string
	Type string
}

// A Candidate is a host of the inventory that is a machine of an owner, or that the inventory lets become one.
type Candidate struct {
	Host    string          // its name in the inventory
	Machine string          // the owner's that is on it; empty if none is, or if none can be seen
	Taken   providers.Owner // another owner, whose machine it is
	Pools   []string        // for which it can be, as far as the inventory tells; of a machine: its own
	Address netip.Addr      // by which nodes reach it; zero if neither the inventory nor the host says so

	// Dial connects to it, or says at once why that failed when the host was looked at. The caller closes the connection; the
	// provider has to stay open meanwhile.
	Dial func(context.Context) (ssh.Host, error)
}

// Candidates looks at all hosts that are or may be used so by the owner, those included that do not answer or that nothing can be
// done with before somebody mends them: what is wrong with a host is the error of its Dial. Hosts in reserve and those that are
// gone are left out. The error is only that of the context.
func (p *Provider) Candidates(ctx context.Context, o providers.Owner, uses []Use) ([]Candidate, error) {
	v, err := p.scans.fresh(ctx)
	if err != nil {
		return nil, err
	}
	on := map[*sight]*claim{}
	for _, c := range v.claims(o) {
		if c.at != nil {
			on[c.at] = c.claim
		}
	}
	var all []Candidate
	for _, s := range v.sights {
		if s.host.Gone {
			continue
		}
		c := Candidate{Host: s.host.Name, Address: s.host.nodes(), Dial: func(ctx context.Context) (ssh.Host, error) { return p.connect(ctx, s) }}
		if s.err == nil {
			c.Address = s.private()
		}
		if claim := on[s]; claim != nil {
			c.Machine, c.Pools = claim.Name, []string{claim.Pool}
		} else {
			c.Pools = p.pools(s.host, uses)
		}
		if s.claim != nil && s.claim.Owner != o && !v.dead(s.claim.ID) {
			c.Taken = s.claim.Owner
		}
		if len(c.Pools) > 0 {
			all = append(all, c)
		}
	}
	return all, nil
}

// pools are those that the inventory lets a host be for.
func (p *Provider) pools(h *Host, uses []Use) []string {
	var pools []string
	for _, u := range uses {
		for _, t := range p.types() {
			if t.Name == u.Type && !h.Reserve && h.serves(u.Pool) == nil && h.fits(t, p.declared(t.Name)) == nil {
				pools = append(pools, u.Pool)
			}
		}
	}
	return pools
}

// nodes is the address by which nodes reach a host, as far as the inventory tells.
func (h *Host) nodes() netip.Addr {
	if h.Private.IsValid() {
		return h.Private
	}
	a, _ := netip.ParseAddr(h.Address)
	return a.Unmap()
}

// connect gives the caller a connection, which may be shared with others.
func (p *Provider) connect(ctx context.Context, s *sight) (ssh.Host, error) {
	if s.err != nil {
		return nil, s.err
	}
	conn, done, err := p.links.to(ctx, s.host)
	if err != nil {
		return nil, err
	}
	return &lent{Host: conn, done: sync.OnceFunc(done)}, nil
}

// lent is a connection that goes on when its user closes it.
type lent struct {
	ssh.Host
	done func()
}

// Close gives the connection back.
func (l *lent) Close() error {
	l.done()
	return nil
}
