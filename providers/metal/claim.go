package metal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/providers"
)

// top is where everything is kept on a host.
const top = "/var/lib/provision-metal"

const claimFile = top + "/claim.json"

// A claim says whose machine a host is. It is on the host, and a copy is in the ledger.
type claim struct {
	ID       providers.ID      `json:"id"` // first: host.sh looks for it
	Owner    providers.Owner   `json:"owner"`
	Name     string            `json:"name"`
	Pool     string            `json:"pool,omitempty"`
	Network  providers.ID      `json:"network"`
	Ledger   string            `json:"ledger"` // name of the network
	Type     string            `json:"type"`
	Zone     string            `json:"zone,omitempty"`
	DiskGiB  int               `json:"disk_gib,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Host     string            `json:"host"` // its name in the inventory
	Private  netip.Addr        `json:"private"`
	SSH      netip.AddrPort    `json:"ssh"`
	User     string            `json:"user"`
	HostKeys []string          `json:"host_keys,omitempty"`
	Complete bool              `json:"complete"`
	Deleting bool              `json:"deleting,omitempty"`
	Time     time.Time         `json:"time"`
}

func (c *claim) key() providers.Key { return providers.Key{Owner: c.Owner, Name: c.Name} }

func (c *claim) text() string { return text(c) }

// entry is where the claim's copy is in the ledger.
func (c *claim) entry() string { return path.Join(ledger(c.Owner, c.Ledger), "machine."+c.Name) }

// tombstone is where the ledger says that a machine was deleted while its host did not answer.
func (c *claim) tombstone() string {
	return path.Join(ledger(c.Owner, c.Ledger), "released."+string(c.ID))
}

func ledger(o providers.Owner, network string) string {
	return path.Join(top, "ledger", string(o), network)
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	return string(b)
}

// newID returns an ID that tells owner and name and is never used again.
func newID(k providers.Key) providers.ID {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return providers.ID(fmt.Sprintf("%s.%s.%s", k.Owner, k.Name, hex.EncodeToString(b[:])))
}

// keyOf returns whose ID it is; false if it is none of ours.
func keyOf(id providers.ID) (providers.Key, bool) {
	f := strings.Split(string(id), ".")
	if len(f) != 3 || !labelShape.MatchString(f[0]) || !labelShape.MatchString(f[1]) || len(f[2]) != 12 {
		return providers.Key{}, false
	}
	return providers.Key{Owner: providers.Owner(f[0]), Name: f[1]}, true
}

// copies is on how many hosts a ledger is kept.
const copies = 3

// errTaken says that another process of the same owner makes the object: look again.
var errTaken = errors.New("it is being made by somebody else")

// enter makes the ledger's entry of a claim, at one keeper after another in the order of their names: who is first at the
// first keeper has the name. errTaken if somebody else was.
func (p *Provider) enter(ctx context.Context, keepers []*Host, c *claim) error {
	for i, h := range keepers {
		out, err := p.change(ctx, h, "new", c.entry(), c.text())
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "won" {
			continue
		}
		var there claim
		if err := json.Unmarshal([]byte(out), &there); err == nil && there.ID == c.ID {
			continue
		}
		if err := p.strike(ctx, keepers[:i], c.entry()); err != nil {
			return err
		}
		return errTaken
	}
	return nil
}

// write makes or replaces a file on several hosts: on the first one, then on all others at once.
func (p *Provider) write(ctx context.Context, hosts []*Host, file, text string) error {
	return p.each(ctx, hosts, "put", file, text)
}

// strike removes files from several hosts.
func (p *Provider) strike(ctx context.Context, hosts []*Host, files ...string) error {
	return p.each(ctx, hosts, append([]string{"del"}, files...)...)
}

func (p *Provider) each(ctx context.Context, hosts []*Host, args ...string) error {
	if len(hosts) == 0 {
		return nil
	}
	if _, err := p.change(ctx, hosts[0], args...); err != nil {
		return err
	}
	var g errgroup.Group
	for _, h := range hosts[1:] {
		g.Go(func() error { _, err := p.run(ctx, h, args...); return err })
	}
	return errors.Join(g.Wait(), p.step(ctx))
}

// keepers returns the hosts that can be written to and keep the ledger of a network, and the network as it is then: where keepers do
// not answer, others take their place, and who was one once has its copy taken away.
func (p *Provider) keepers(ctx context.Context, v *view, n network) ([]*Host, network, error) {
	var keep, more, former []*Host
	for _, s := range v.sights {
		switch {
		case !s.writable():
		case slices.Contains(n.Keepers, s.host.Name) && s.has(n):
			keep = append(keep, s.host)
		case len(s.networks) > 0 && slices.ContainsFunc(s.networks, func(o network) bool { return o.key() == n.key() && o.ID == n.ID && o.Version < n.Version }):
			former = append(former, s.host)
		default:
			more = append(more, s.host)
		}
	}
	if err := p.strike(ctx, former, ledger(n.Owner, n.Name)); err != nil {
		return nil, n, err
	}
	more = append(more, former...)
	if missing := copies - len(keep); missing > 0 && len(more) > 0 {
		var err error
		if keep, n, err = p.extend(ctx, v, n, keep, more[:min(missing, len(more))]); err != nil {
			return nil, n, err
		}
	}
	slices.SortFunc(keep, func(a, b *Host) int { return strings.Compare(a.Name, b.Name) })
	return keep, n, nil
}

// extend makes more hosts keep the ledger of a network: first what it says, then that they are keepers.
func (p *Provider) extend(ctx context.Context, v *view, n network, keep, more []*Host) ([]*Host, network, error) {
	for _, e := range v.entries(n.Owner) {
		if e.Network == n.ID {
			if err := p.write(ctx, more, e.entry(), e.text()); err != nil {
				return nil, n, err
			}
		}
	}
	for _, s := range v.sights {
		for _, id := range s.released {
			if k, ok := keyOf(id); ok && k.Owner == n.Owner {
				if err := p.write(ctx, more, path.Join(ledger(n.Owner, n.Name), "released."+string(id)), string(id)); err != nil {
					return nil, n, err
				}
			}
		}
	}
	keep = append(slices.Clone(keep), more...)
	n.Keepers, n.Version = nil, n.Version+1
	for _, h := range keep {
		n.Keepers = append(n.Keepers, h.Name)
	}
	return keep, n, p.write(ctx, keep, n.file(), text(n))
}

// names are the objects that calls of this process are working on.
type names struct {
	mu   sync.Mutex
	busy map[string]chan struct{}
}

// lock waits until nobody works on the object. unlock ends the caller's turn.
func (n *names) lock(ctx context.Context, noun providers.Noun, k providers.Key) (unlock func(), err error) {
	name := string(noun) + " " + k.String()
	for {
		n.mu.Lock()
		if n.busy == nil {
			n.busy = map[string]chan struct{}{}
		}
		other, busy := n.busy[name]
		if !busy {
			mine := make(chan struct{})
			n.busy[name] = mine
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				defer n.mu.Unlock()
				delete(n.busy, name)
				close(mine)
			}, nil
		}
		n.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// held are hosts that calls of this process are about to claim, so that they do not all try the same one.
type held struct {
	mu    sync.Mutex
	hosts map[string]bool
}

// take returns the first host that nobody has taken, and how to give it back; nil if there is none.
func (t *held) take(hosts []*sight) (*sight, func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts == nil {
		t.hosts = map[string]bool{}
	}
	for _, s := range hosts {
		name := s.host.Name
		if t.hosts[name] {
			continue
		}
		t.hosts[name] = true
		return s, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.hosts, name)
		}
	}
	return nil, nil
}
