package metal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

type networks struct{ p *Provider }

// A network is a record in the ledger: the wires are there already.
type network struct {
	ID       providers.ID      `json:"id"` // first: host.sh looks for it
	Owner    providers.Owner   `json:"owner"`
	Name     string            `json:"name"`
	CIDR     netip.Prefix      `json:"cidr"`
	Zones    []string          `json:"zones,omitempty"`
	Allow    []providers.Rule  `json:"allow,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Complete bool              `json:"complete"`
	Keepers  []string          `json:"keepers"` // names of the hosts that keep this ledger
	Version  int               `json:"version"` // of copies that differ, the highest is right
}

func (n network) key() providers.Key { return providers.Key{Owner: n.Owner, Name: n.Name} }
func (n network) file() string       { return path.Join(ledger(n.Owner, n.Name), "network.json") }

func (n network) object() providers.Network {
	return providers.Network{
		Meta: providers.Meta{ID: n.ID, Owner: n.Owner, Name: n.Name, Partial: !n.Complete, Tags: maps.Clone(n.Tags)},
		CIDR: n.CIDR, Zones: slices.Clone(n.Zones), Allow: slices.Clone(n.Allow),
	}
}

// networksOf returns the owner's networks by name, each once: of several copies the newest. With an empty owner it returns
// everybody's.
func (v *view) networksOf(o providers.Owner) []network {
	best := map[providers.Key]network{}
	for _, s := range v.sights {
		for _, n := range s.networks {
			if o != "" && n.Owner != o {
				continue
			}
			if b, ok := best[n.key()]; !ok || newer(n, b) {
				best[n.key()] = n
			}
		}
	}
	return slices.SortedFunc(maps.Values(best), func(a, b network) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), strings.Compare(a.Name, b.Name))
	})
}

func newer(a, b network) bool {
	if a.ID != b.ID { // made by two at once who did not see the same hosts
		return a.Complete && !b.Complete || a.Complete == b.Complete && a.ID < b.ID
	}
	return a.Version > b.Version
}

// whole returns the owner's network of that ID, which machines can be made in.
func (v *view) whole(o providers.Owner, id providers.ID) (network, error) {
	for _, n := range v.networksOf(o) {
		if n.ID != id {
			continue
		}
		if !n.Complete {
			return n, fail(providers.Conflict, "network %s is not complete: create it first", n.Name)
		}
		return n, nil
	}
	return network{}, errors.Join(v.known(o), fail(providers.NotFound, "network %q", id))
}

// Create writes the network down on a few hosts.
func (w networks) Create(ctx context.Context, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about(providers.CreateVerb, providers.NetworkNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Network{}, err
	}
	unlock, err := w.p.names.lock(ctx, providers.NetworkNoun, spec.Key())
	if err != nil {
		return providers.Network{}, err
	}
	defer unlock()
	for range 3 {
		v, err := w.p.sighted(ctx)
		if err != nil {
			return providers.Network{}, err
		}
		n, ok := v.network(spec.Key())
		if ok && n.Complete {
			return n.object(), providers.Exists
		}
		if err := v.known(spec.Owner); err != nil {
			return providers.Network{}, err
		}
		if !ok {
			n = network{ID: newID(spec.Key())}
		}
		if n, err = w.describe(v, n, spec); err != nil {
			return providers.Network{}, err
		}
		err = w.make(ctx, v, n)
		if err == errTaken {
			continue
		}
		n.Complete = true
		return n.object(), err
	}
	return providers.Network{}, fail(providers.Unavailable, "others make it too; try again")
}

func (v *view) network(k providers.Key) (network, bool) {
	for _, n := range v.networksOf(k.Owner) {
		if n.Name == k.Name {
			return n, true
		}
	}
	return network{}, false
}

// make writes the record, first as one that is not complete. The first host decides who makes it.
func (w networks) make(ctx context.Context, v *view, n network) error {
	hosts := v.first(copies)
	if len(hosts) == 0 {
		return v.nowhere()
	}
	n.Keepers = nil
	for _, h := range hosts {
		n.Keepers = append(n.Keepers, h.Name)
	}
	out, err := w.p.change(ctx, hosts[0], "new", n.file(), text(n))
	if err != nil {
		return err
	}
	var there network
	if json.Unmarshal([]byte(out), &there) == nil && there.ID != n.ID {
		return errTaken
	}
	if err := w.p.write(ctx, hosts, n.file(), text(n)); err != nil {
		return err
	}
	n.Complete, n.Version = true, n.Version+1
	return w.p.write(ctx, hosts, n.file(), text(n))
}

// nowhere says why no host can keep a ledger.
func (v *view) nowhere() error {
	var why []string
	for _, s := range v.sights {
		reason := s.err
		if reason == nil {
			reason = errors.New(strings.Join(append(slices.Clone(s.refuse), fmt.Sprintf("its disk has %d KiB free", s.freeKiB)), ", "))
		}
		why = append(why, fmt.Sprintf("%s: %v", s.host.Name, reason))
	}
	return fail(providers.Unavailable, "none of the inventory's hosts answers and can be written to (%s)", strings.Join(why, "; "))
}

// first returns the first hosts that answer and can be written to, in the order of their names.
func (v *view) first(n int) []*Host {
	var hosts []*Host
	for _, s := range v.sights {
		if s.writable() {
			hosts = append(hosts, s.host)
		}
	}
	slices.SortFunc(hosts, func(a, b *Host) int { return strings.Compare(a.Name, b.Name) })
	return hosts[:min(n, len(hosts))]
}

// describe makes the record say what the spec asks for.
func (w networks) describe(v *view, n network, spec providers.NetworkSpec) (network, error) {
	n.Owner, n.Name, n.CIDR = spec.Owner, spec.Name, spec.CIDR
	n.Zones, n.Allow, n.Tags = slices.Clone(spec.Zones), slices.Clone(spec.Allow), maps.Clone(spec.Tags)
	if !n.CIDR.IsValid() {
		n.CIDR = w.p.o.CIDR
	}
	if n.CIDR.IsValid() {
		return n, nil
	}
	var all []netip.Addr
	for _, s := range v.sights {
		if s.err == nil || s.host.Private.IsValid() {
			all = append(all, s.private())
		}
	}
	var err error
	n.CIDR, err = around(all)
	return n, err
}

// around returns the smallest range, a /24 or /64 at least, that has all addresses.
func around(all []netip.Addr) (netip.Prefix, error) {
	if len(all) == 0 {
		return netip.Prefix{}, fail(providers.Unavailable, "no host answers, so no address is known: name the range with cidr")
	}
	bits, least := 24, 8
	if all[0].Is6() {
		bits, least = 64, 16
	}
	for ; bits >= least; bits-- {
		p := netip.PrefixFrom(all[0], bits).Masked()
		if !slices.ContainsFunc(all, func(a netip.Addr) bool { return !p.Contains(a) }) {
			return p, nil
		}
	}
	return netip.Prefix{}, fail(providers.Invalid, "the hosts' addresses %v have no range in common: name one with cidr", all)
}

// Get returns the network as it is.
func (w networks) Get(ctx context.Context, id providers.ID) (_ providers.Network, err error) {
	key, ok := keyOf(id)
	defer about(providers.GetVerb, providers.NetworkNoun, providers.Key{Name: string(id)}, &err)
	if err := ctx.Err(); err != nil {
		return providers.Network{}, err
	}
	if !ok {
		return providers.Network{}, providers.NotFound
	}
	v, err := w.p.sighted(ctx)
	if err != nil {
		return providers.Network{}, err
	}
	if n, ok := v.network(key); ok && n.ID == id {
		return n.object(), nil
	}
	return providers.Network{}, errors.Join(v.known(key.Owner), providers.NotFound)
}

// List returns the owner's networks.
func (w networks) List(ctx context.Context, o providers.Owner) (_ []providers.Network, err error) {
	defer about(providers.ListVerb, providers.NetworkNoun, providers.Key{Owner: o}, &err)
	if o == "" {
		return nil, fail(providers.Invalid, "the owner is empty")
	}
	v, err := w.p.sighted(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.known(o); err != nil {
		return nil, err
	}
	var all []providers.Network
	for _, n := range v.networksOf(o) {
		all = append(all, n.object())
	}
	return all, nil
}

// Delete removes the record, and what is left on hosts that came back after their machines were deleted.
func (w networks) Delete(ctx context.Context, id providers.ID) (err error) {
	key, ok := keyOf(id)
	defer about(providers.DeleteVerb, providers.NetworkNoun, key, &err)
	if err := ctx.Err(); err != nil || !ok {
		return err
	}
	unlock, err := w.p.names.lock(ctx, providers.NetworkNoun, key)
	if err != nil {
		return err
	}
	defer unlock()
	v, err := w.p.sighted(ctx)
	if err != nil {
		return err
	}
	if err := v.known(key.Owner); err != nil {
		return err
	}
	if n, ok := v.network(key); !ok || n.ID != id {
		return nil
	}
	for _, c := range v.claims(key.Owner) {
		if c.Network == id && !c.lost() {
			return fail(providers.Conflict, "machine %s is in it", c.Name)
		}
	}
	var hosts []*Host
	for _, s := range v.sights {
		if c := s.claim; c != nil && c.Network == id { // dead, or it would have been found above
			if err := machines(w).erase(ctx, s.host, c); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(s.networks, func(n network) bool { return n.key() == key }) {
			hosts = append(hosts, s.host)
		}
	}
	return w.p.strike(ctx, hosts, ledger(key.Owner, key.Name))
}

// Update changes tags, rules and zones.
func (w networks) Update(ctx context.Context, id providers.ID, spec providers.NetworkSpec) (_ providers.Network, err error) {
	defer about(providers.UpdateVerb, providers.NetworkNoun, spec.Key(), &err)
	if err := errors.Join(ctx.Err(), w.check(spec)); err != nil {
		return providers.Network{}, err
	}
	unlock, err := w.p.names.lock(ctx, providers.NetworkNoun, spec.Key())
	if err != nil {
		return providers.Network{}, err
	}
	defer unlock()
	v, err := w.p.sighted(ctx)
	if err != nil {
		return providers.Network{}, err
	}
	key, _ := keyOf(id)
	n, ok := v.network(key)
	switch {
	case !ok || n.ID != id:
		return providers.Network{}, errors.Join(v.known(key.Owner), providers.NotFound)
	case n.key() != spec.Key():
		return providers.Network{}, fail(providers.Invalid, "the network is %s", n.key())
	case spec.CIDR.IsValid() && spec.CIDR != n.CIDR:
		return providers.Network{}, fail(providers.Invalid, "the range %s cannot be changed", n.CIDR)
	}
	if err := v.known(key.Owner); err != nil {
		return providers.Network{}, err
	}
	spec.CIDR = n.CIDR
	changed, err := w.describe(v, n, spec)
	if err != nil || reflect.DeepEqual(changed.object(), n.object()) {
		return n.object(), err
	}
	keepers, now, err := w.p.keepers(ctx, v, n)
	changed.Keepers, changed.Version = now.Keepers, now.Version+1
	if err := errors.Join(err, w.p.write(ctx, keepers, n.file(), text(changed))); err != nil {
		return providers.Network{}, err
	}
	return changed.object(), nil
}

// check returns why there can be no such network.
func (w networks) check(s providers.NetworkSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if s.CIDR.IsValid() && s.CIDR != s.CIDR.Masked() {
		return fail(providers.Invalid, "range %s has host bits", s.CIDR)
	}
	for _, z := range s.Zones {
		if !slices.Contains(w.p.Caps().Zones, z) {
			return fail(providers.Invalid, "the inventory has no zone %q", z)
		}
	}
	for _, r := range s.Allow {
		if r.Port < 1 || r.Port > 65535 || r.Protocol != "tcp" && r.Protocol != "udp" {
			return fail(providers.Invalid, "rule %q: %s port %d", r.Name, r.Protocol, r.Port)
		}
	}
	return nil
}
