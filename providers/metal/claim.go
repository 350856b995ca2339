package metal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// keepers returns the hosts that answer and keep the ledger of a network, after making it complete on as many as there
// should be.
func (p *Provider) keepers(ctx context.Context, v *view, n network) ([]*Host, error) {
	var has, could []*Host
	for _, s := range v.sights {
		switch {
		case s.err != nil:
		case slices.ContainsFunc(s.networks, func(o network) bool { return o.ID == n.ID }):
			has = append(has, s.host)
		case s.root:
			could = append(could, s.host)
		}
	}
	if missing := copies - len(has); missing > 0 && len(could) > 0 {
		more := could[:min(missing, len(could))]
		files := map[string]string{n.file(): text(n)}
		for _, c := range v.claims(n.Owner) {
			if c.Network == n.ID {
				files[c.entry()] = c.text()
			}
		}
		for _, f := range slices.Backward(slices.Sorted(maps.Keys(files))) { // the network's own last
			if err := p.write(ctx, more, f, files[f]); err != nil {
				return nil, err
			}
		}
		has = append(has, more...)
	}
	slices.SortFunc(has, func(a, b *Host) int { return strings.Compare(a.Name, b.Name) })
	return has, nil
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
