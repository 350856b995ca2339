// Package addresses makes addresses of Services be on one node of those that may have them: the first that is well. Each
// such node looks by itself after those that come before it, so that a lost one is followed whoever leads the cluster, and
// whether its API answers or not.
package addresses

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/templates"
)

const (
	askEvery  = 400 * time.Millisecond // between two questions to the same node
	askLimit  = 500 * time.Millisecond // for one answer
	holdEvery = 700 * time.Millisecond // between refreshments of what is held: the link forgets it after two seconds
)

// Options is what a Keeper works with.
type Options struct {
	Self string                                           // name of this node
	Well func(ctx context.Context, node netip.Addr) error // why that node cannot take packets to a Service; it obeys the context
	Hold func(netip.Addr) error                           // puts an address on this node, or refreshes it
	Drop func(netip.Addr) error                           // takes it off; one that is not here is no error
	Log  *slog.Logger
	Tell func() // is called when State may say something else
}

// A State is one address as a node sees it that may have it.
type State struct {
	Address netip.Addr
	Here    bool
	Holder  string // name of the node that should have it; "" if nobody knows
	Problem string // why this node cannot hold it
}

// A Keeper holds this node's share of the addresses. Its methods are safe for concurrent use.
type Keeper struct {
	o    Options
	wake chan struct{}

	mu    sync.Mutex
	table []templates.Announcement // where this node is one of the candidates
	peers map[templates.Announcer]*peer
	here  map[netip.Addr]bool
	wrong map[netip.Addr]string // why one could not be put here
}

// A peer is a node that is asked again and again whether it is well; this one is too.
type peer struct {
	health
	stop context.CancelFunc
}

// New returns a keeper that holds nothing before Run.
func New(o Options) *Keeper {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tell == nil {
		o.Tell = func() {}
	}
	return &Keeper{o: o, wake: make(chan struct{}, 1), peers: map[templates.Announcer]*peer{}, here: map[netip.Addr]bool{}, wrong: map[netip.Addr]string{}}
}

// Set says which nodes may have which addresses. It is in force until the next call.
func (k *Keeper) Set(t templates.Announcements) {
	mine := chosen(t, k.o.Self)
	k.mu.Lock()
	k.table = mine
	k.mu.Unlock()
	k.o.Tell()
	k.look()
}

// chosen returns the addresses that a node may have. One that is a node's own is never a Service's: who takes it off a link
// again might take the node off the network.
func chosen(t templates.Announcements, self string) []templates.Announcement {
	own := map[netip.Addr]bool{}
	for _, a := range t.Addresses {
		for _, n := range a.Nodes {
			own[n.Address] = true
		}
	}
	var list []templates.Announcement
	seen := map[netip.Addr]bool{}
	for _, a := range t.Addresses {
		usable := a.Address.IsGlobalUnicast() && !own[a.Address] && !seen[a.Address]
		if usable && slices.ContainsFunc(a.Nodes, func(n templates.Announcer) bool { return n.Name == self }) {
			list = append(list, a)
			seen[a.Address] = true
		}
	}
	return list
}

// look makes Run look at once.
func (k *Keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run holds what is this node's to hold, until ctx ends. It leaves what it holds then: the link forgets it soon, or the next
// Run goes on with it.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for ctx.Err() == nil {
		k.attend(ctx, &all)
		k.settle()
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-time.After(holdEvery):
		}
	}
}

// attend asks those nodes that matter, and no others.
func (k *Keeper) attend(ctx context.Context, all *sync.WaitGroup) {
	k.mu.Lock()
	defer k.mu.Unlock()
	need := map[templates.Announcer]bool{}
	for _, a := range k.table {
		for _, n := range a.Nodes {
			need[n] = true
			if n.Name == k.o.Self {
				break // who comes later looks after this one
			}
		}
	}
	for n, p := range k.peers {
		if !need[n] {
			p.stop()
			delete(k.peers, n)
		}
	}
	for n := range need {
		if k.peers[n] == nil {
			ctx, stop := context.WithCancel(ctx)
			p := &peer{health: health{self: n.Name == k.o.Self}, stop: stop}
			k.peers[n] = p
			all.Go(func() { k.ask(ctx, n, p) })
		}
	}
}

// ask asks one node until ctx ends.
func (k *Keeper) ask(ctx context.Context, n templates.Announcer, p *peer) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		question, cancel := context.WithTimeout(ctx, askLimit)
		err := k.o.Well(question, n.Address)
		cancel()
		if ctx.Err() != nil {
			return
		}
		k.mu.Lock()
		changed := p.learn(err, time.Now())
		is := p.state
		k.mu.Unlock()
		if changed {
			k.o.Log.Info("a node that has addresses of Services", "node", n.Name, "is", is, "err", err)
			k.look()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// settle holds what is to be here and drops the rest.
func (k *Keeper) settle() {
	k.mu.Lock()
	changed := false
	want := map[netip.Addr]bool{}
	for _, a := range k.table {
		if k.holder(a) == k.o.Self {
			want[a.Address] = true
			changed = k.hold(a.Address) || changed
		}
	}
	for a := range k.here {
		if !want[a] {
			k.drop(a)
			changed = true
		}
	}
	for a := range k.wrong {
		if !want[a] {
			delete(k.wrong, a)
			changed = true
		}
	}
	k.mu.Unlock()
	if changed {
		k.o.Tell()
	}
}

// holder returns the first node that is well; "" if none is, or if nobody has been able to say yet.
func (k *Keeper) holder(a templates.Announcement) string {
	for _, n := range a.Nodes {
		p := k.peers[n]
		if p == nil || p.state == unknown {
			return ""
		}
		if p.state == well {
			return n.Name
		}
		if n.Name == k.o.Self {
			return "" // who comes after it is not looked after here
		}
	}
	return ""
}

// hold is called with mu held, and reports whether anything is other than it was.
func (k *Keeper) hold(a netip.Addr) bool {
	was, here := k.wrong[a], k.here[a]
	if err := k.o.Hold(a); err != nil {
		if was != err.Error() {
			k.o.Log.Error("cannot hold an address of a Service", "address", a, "err", err)
		}
		k.wrong[a] = err.Error()
		return was != err.Error()
	}
	delete(k.wrong, a)
	k.here[a] = true
	if !here {
		k.o.Log.Info("holds an address of a Service", "address", a)
	}
	return !here || was != ""
}

// drop is called with mu held. One that cannot be dropped is not refreshed either, so the link forgets it.
func (k *Keeper) drop(a netip.Addr) {
	if err := k.o.Drop(a); err != nil {
		k.o.Log.Error("cannot drop an address of a Service", "address", a, "err", err)
	}
	delete(k.here, a)
	k.o.Log.Info("dropped an address of a Service", "address", a)
}

// Leave drops everything. Run must have ended.
func (k *Keeper) Leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for a := range k.here {
		k.drop(a)
	}
}

// State returns the addresses that this node may have, in the order of the table.
func (k *Keeper) State() []State {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]State, 0, len(k.table))
	for _, a := range k.table {
		list = append(list, State{a.Address, k.here[a.Address], k.holder(a), k.problem(a)})
	}
	return list
}

// problem says why this node cannot have an address.
func (k *Keeper) problem(a templates.Announcement) string {
	if p := k.wrong[a.Address]; p != "" {
		return p
	}
	for _, n := range a.Nodes {
		if p := k.peers[n]; n.Name == k.o.Self && p != nil && p.state == lost {
			return fmt.Sprintf("kube-proxy of this node is not well: %s", p.why)
		}
	}
	return ""
}
