package metal

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal/power"
)

// fencing is how long a BMC may take to cut a host's power.
const fencing = time.Minute

// Delete wipes what is ours from the host and gives it back. A host that does not answer loses its power first, if it has a
// BMC; without one, Delete fails unless the inventory says that the host is gone.
func (m machines) Delete(ctx context.Context, id providers.ID) (err error) {
	key, ok := keyOf(id)
	defer about(providers.DeleteVerb, providers.MachineNoun, key, &err)
	if err := ctx.Err(); err != nil || !ok {
		return err
	}
	unlock, err := m.p.names.lock(ctx, providers.MachineNoun, key)
	if err != nil {
		return err
	}
	defer unlock()
	v, err := m.p.sighted(ctx)
	if err != nil {
		return err
	}
	if err := v.known(key.Owner); err != nil {
		return err
	}
	if c, ok := v.claims(key.Owner)[id]; ok {
		return m.remove(ctx, v, c)
	}
	for _, s := range v.sights { // what a Create left that was cut off before it claimed a host, or a Delete after
		for i := range s.entries {
			if e := &s.entries[i]; e.ID == id {
				return m.p.strike(ctx, v.holders(e), e.entry())
			}
		}
	}
	return nil
}

// holders are the hosts that answer and have the ledger's entry.
func (v *view) holders(c *claim) []*Host {
	var hosts []*Host
	for _, s := range v.sights {
		for i := range s.entries {
			if s.entries[i].ID == c.ID {
				hosts = append(hosts, s.host)
			}
		}
	}
	return hosts
}

// remove takes the machine away, from its host if that answers and from the ledger.
func (m machines) remove(ctx context.Context, v *view, c sighted) error {
	if c.here {
		if err := m.erase(ctx, c.at.host, c.claim); err != nil {
			return err
		}
		return m.p.strike(ctx, v.holders(c.claim), c.entry())
	}
	if err := m.fence(ctx, c); err != nil {
		return err
	}
	// The host still has its claim. Should it come back, the ledger knows better.
	n, err := v.whole(c.Owner, c.Network)
	if err != nil {
		return err
	}
	keepers, _, err := m.p.keepers(ctx, v, n)
	if err != nil {
		return err
	}
	if err := m.p.write(ctx, keepers, c.tombstone(), string(c.ID)); err != nil {
		return err
	}
	return m.p.strike(ctx, keepers, c.entry())
}

// erase gives a host back as it was: the node, then name, keys and settings, and last the claim.
func (m machines) erase(ctx context.Context, h *Host, c *claim) error {
	doomed := *c
	doomed.Deleting = true
	if !c.Deleting {
		if _, err := m.p.change(ctx, h, "swap", claimFile, string(c.ID), doomed.text()); err != nil {
			return err
		}
	}
	for _, part := range []string{"wipe", "restore", "free"} {
		if _, err := m.p.change(ctx, h, part, string(c.ID)); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

// fence makes sure that a host that does not answer runs nothing any more.
func (m machines) fence(ctx context.Context, c sighted) error {
	if c.at == nil {
		return fail(providers.Unavailable, "its host %s is not in the inventory any more: put it back to have it wiped, or put it back with gone = true if it is gone for good", c.host)
	}
	if c.lost() {
		return nil
	}
	h := c.at.host
	if h.BMC == nil {
		return fail(providers.Unavailable, "host %s does not answer, so all of the machine is still on it, and may be running: %w (mend it and try again; or, when it is gone for good or has no power, write gone = true in its block)",
			h.Name, c.at.err)
	}
	ctx, cancel := context.WithTimeout(ctx, fencing)
	defer cancel()
	if err := m.p.step(ctx); err != nil {
		return err
	}
	if _, err := power.Switch(ctx, *h.BMC, power.TurnOff); err != nil {
		return fmt.Errorf("host %s does not answer and could not be turned off: %w", h.Name, kinded(err))
	}
	m.p.links.hangUp(h)
	return m.p.step(ctx)
}

// wake turns a host on that does not answer, and waits until it does.
func (m machines) wake(ctx context.Context, c sighted) (providers.Machine, error) {
	if c.at == nil {
		return providers.Machine{}, fail(providers.Unavailable, "its host %s is not in the inventory any more: put it back; when it is gone for good, with gone = true, and the machine is made on another host",
			c.host)
	}
	if c.at.host.BMC == nil {
		return providers.Machine{}, fail(providers.Unavailable, "its host %s does not answer: %w (turn it on; or, when it is gone for good, write gone = true in its block, and the machine is made on another host)",
			c.host, c.at.err)
	}
	h := c.at.host
	ctx, cancel := context.WithTimeout(ctx, m.p.o.Boot)
	defer cancel()
	if err := m.p.step(ctx); err != nil {
		return providers.Machine{}, err
	}
	m.p.links.hangUp(h)
	if _, err := power.Switch(ctx, *h.BMC, power.TurnOn); err != nil {
		return providers.Machine{}, fmt.Errorf("host %s could not be turned on: %w", h.Name, kinded(err))
	}
	if err := m.p.step(ctx); err != nil {
		return providers.Machine{}, err
	}
	for {
		s := m.p.lookAt(ctx, h)
		switch {
		case s.err == nil && s.claim != nil && s.claim.ID == c.ID:
			return sighted{claim: s.claim, host: h.Name, at: s, here: true}.machine(), nil
		case s.err == nil:
			return providers.Machine{}, fail(providers.Unavailable, "host %s is back and does not bear the machine's claim any more: try again", h.Name)
		case answered(s.err):
			return providers.Machine{}, s.err
		}
		select {
		case <-ctx.Done():
			return providers.Machine{}, fail(providers.Unavailable, "host %s has power and did not answer: %w: %w", h.Name, ctx.Err(), s.err)
		case <-time.After(time.Second):
		}
	}
}

// Power does something to the power of a host, named by its name in the inventory or by that of the owner's machine on it,
// and returns how it is then. With an empty action it only asks.
func (p *Provider) Power(ctx context.Context, o providers.Owner, name string, a power.Action) (power.State, error) {
	h, err := p.withBMC(ctx, o, name)
	if err != nil {
		return "", err
	}
	if a == "" {
		s, err := power.Ask(ctx, *h.BMC)
		return s, kinded(err)
	}
	s, err := power.Switch(ctx, *h.BMC, a)
	if a != power.TurnOn {
		p.links.hangUp(h)
	}
	return s, kinded(err)
}

// NextBoot makes the next boot of a host, named as for Power, start from a device.
func (p *Provider) NextBoot(ctx context.Context, o providers.Owner, name string, d power.Device) error {
	h, err := p.withBMC(ctx, o, name)
	if err != nil {
		return err
	}
	c, err := power.Open(ctx, *h.BMC)
	if err != nil {
		return kinded(err)
	}
	defer c.Close()
	return kinded(c.NextBoot(ctx, d))
}

// withBMC returns the host of that name, or the one that the machine of that name is on.
func (p *Provider) withBMC(ctx context.Context, o providers.Owner, name string) (*Host, error) {
	h, ok := p.host(name)
	if !ok {
		v, err := p.sighted(ctx)
		if err != nil {
			return nil, err
		}
		c := v.find(providers.Key{Owner: o, Name: name})
		if c == nil {
			c = v.find(providers.Key{Owner: o, Name: string(o) + "-" + name})
		}
		if c == nil || c.at == nil {
			return nil, fail(providers.NotFound, "there is no host and no machine %q", name)
		}
		h = c.at.host
	}
	if h.BMC == nil {
		return nil, fail(providers.Unsupported, "host %s has no bmc block in the inventory", h.Name)
	}
	return h, nil
}

// A FirstKey is a host or bastion whose key the inventory does not know, and the key that it shows.
type FirstKey struct {
	Host        string // its name
	Bastion     bool
	Address     string
	Path, Where string // of its block
	Line        string // as in authorized_keys
	Fingerprint string
	Err         error // why it shows none
}

// FirstKeys asks all hosts and bastions for their keys whose key the inventory does not know. Hosts behind a bastion whose
// key is not known are left for the next time.
func (p *Provider) FirstKeys(ctx context.Context) []FirstKey {
	var all []FirstKey
	seen := map[string]bool{}
	for i := range p.o.Hosts {
		h := &p.o.Hosts[i]
		if j := h.Jump; j != nil && len(j.HostKeys) == 0 {
			if !seen[j.Address] {
				seen[j.Address] = true
				b := &Host{Name: j.Address, Address: j.Address, User: j.User}
				all = append(all, p.firstKey(ctx, b, FirstKey{Host: j.Name, Bastion: true, Address: j.Address, Path: j.Path, Where: j.Where}))
			}
			continue
		}
		if len(h.HostKeys) == 0 && !h.Gone {
			all = append(all, p.firstKey(ctx, h, FirstKey{Host: h.Name, Address: h.addr(), Path: h.Path, Where: h.Where}))
		}
	}
	return all
}

func (p *Provider) firstKey(ctx context.Context, h *Host, k FirstKey) FirstKey {
	if host, port, err := net.SplitHostPort(h.Address); err == nil && k.Bastion {
		h.Address = host
		h.Port, _ = strconv.Atoi(port)
	}
	s, err := p.links.shown(ctx, h)
	k.Line, k.Fingerprint, k.Err = s.Line, s.Fingerprint, err
	return k
}
