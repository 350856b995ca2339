package nodeagent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/addresses"
	"github.com/provisionhq/provision/nodeagent/announcer"
	"github.com/provisionhq/provision/nodeagent/api"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// tableFile is the last known table: an agent that starts while the API is away goes on with it.
const tableFile = runDir + "/announcements.json"

// services are the addresses of Services on this node.
type services struct {
	mu      sync.Mutex
	name    string     // of the node; "": it announces none
	address netip.Addr // of the node
	keeper  *addresses.Keeper
	stop    func() // and waits
}

// announceServices makes the node hold its share of Services' addresses, if its file says so. What works already goes on.
func (a *agent) announceServices(ctx context.Context, n templates.Node) error {
	s := &a.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.Cloud == nil || !n.Cloud.Announced {
		s.end()
		return removeTable()
	}
	if s.keeper != nil && s.name == n.Name && s.address == n.Address {
		return nil
	}
	client, err := api.New(controlplane.LocalServer, pki.ClusterCA.File(), kubeletClient, kubeletClient)
	if err != nil {
		return err
	}
	s.end()
	on := &links{own: n.Address, log: a.log, of: map[netip.Addr]*announcer.Announcer{}, by: map[string]*announcer.Announcer{}}
	k := addresses.New(addresses.Options{Self: n.Name, Well: addresses.Proxy(), Hold: on.hold, Drop: on.drop, Log: a.log, Tell: a.notify})
	if t, err := lastTable(); err == nil {
		k.Set(t)
	}
	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Go(func() { k.Run(ctx) })
	both.Go(func() {
		addresses.Follow(ctx, client, func(t templates.Announcements) { a.keepTable(k, t) }, a.reportTable)
	})
	s.name, s.address, s.keeper = n.Name, n.Address, k
	s.stop = func() { cancel(); both.Wait() }
	return nil
}

// end is called with mu held: it drops what is held.
func (s *services) end() {
	if s.keeper == nil {
		return
	}
	s.stop()
	s.keeper.Leave()
	s.keeper, s.stop, s.name = nil, nil, ""
}

// leave drops all addresses for good.
func (s *services) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// rest ends the work and leaves the addresses for the agent that comes next, for as long as the link remembers them.
func (s *services) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
}

// status returns how the addresses are.
func (s *services) status() []templates.AddressStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keeper == nil {
		return nil
	}
	var list []templates.AddressStatus
	for _, st := range s.keeper.State() {
		list = append(list, templates.AddressStatus(st))
	}
	return list
}

// lastTable reads what keepTable wrote.
func lastTable() (templates.Announcements, error) {
	var t templates.Announcements
	b, err := os.ReadFile(tableFile)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	return t, err
}

func (a *agent) keepTable(k *addresses.Keeper, t templates.Announcements) {
	k.Set(t)
	b, err := json.Marshal(t)
	if err == nil {
		err = supervisor.WriteFile(tableFile, b, 0o600)
	}
	if err != nil {
		a.log.Error("cannot keep the table of Services' addresses", "err", err)
	}
}

func removeTable() error {
	if err := os.Remove(tableFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reportTable notes why the table cannot be had, or that it can. It is not locked with the rest: end waits for who calls it.
func (a *agent) reportTable(err error) {
	text := ""
	if err != nil {
		text = "addresses of Services stay where they are: " + err.Error()
	}
	a.update(func() { a.table = text })
}

// links put addresses on this node's links.
type links struct {
	own netip.Addr
	log *slog.Logger

	mu sync.Mutex
	of map[netip.Addr]*announcer.Announcer // where each address is
	by map[string]*announcer.Announcer     // by link
}

func (l *links) hold(a netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	on, err := l.find(a)
	if err != nil {
		return err
	}
	if err := on.Hold(a); err != nil {
		_ = on.Drop(a)
		delete(l.of, a) // it may belong to another link by now
		return err
	}
	return nil
}

// find returns the announcer of the link whose network has the address, or else of the node's own.
func (l *links) find(a netip.Addr) (*announcer.Announcer, error) {
	if on := l.of[a]; on != nil {
		return on, nil
	}
	name, err := announcer.LinkNear(a)
	if err != nil {
		name, err = announcer.LinkOf(l.own)
	}
	if err != nil {
		return nil, err
	}
	if l.by[name] == nil {
		l.by[name] = announcer.New(name, l.log)
	}
	l.of[a] = l.by[name]
	return l.of[a], nil
}

func (l *links) drop(a netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	on := l.of[a]
	if on == nil {
		return nil
	}
	delete(l.of, a)
	return on.Drop(a)
}
