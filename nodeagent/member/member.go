// Package member looks after a control-plane node's member of etcd: how it starts when it has no data yet, whether the
// cluster still counts it in, and that the cluster knows its address.
//
// It changes nothing that a person has not ordered: it adds and removes no members and deletes no data.
package member

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

const (
	soon  = 250 * time.Millisecond // between looks while something is to come
	later = 5 * time.Second        // and when all is well
	// patience is how long the other members get for an answer before etcd starts without it.
	patience = 1500 * time.Millisecond
)

// An API is what a Keeper asks of members of etcd.
type API interface {
	Status(ctx context.Context) (etcdapi.Status, error)
	Members(ctx context.Context, agreed bool) (etcdapi.List, error)
	Update(ctx context.Context, id etcdapi.ID, peer string) error
}

// Options is what a Keeper works with.
type Options struct {
	Root    string                                // prepended to all paths; for tests
	Connect func(endpoints []string) (API, error) // to any of the members; called often
	Log     *slog.Logger
	Changed func() // is called when Status, Hold or Serve may say something else
}

// A Keeper looks after one member. Its methods are safe for concurrent use.
type Keeper struct {
	o    Options
	wake chan struct{}

	mu     sync.Mutex
	node   templates.Node
	looked bool // judged at least once
	v      verdict
	record record
	leader bool
}

// New returns a keeper that does nothing before Configure and Run.
func New(o Options) *Keeper {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Keeper{o: o, wake: make(chan struct{}, 1)}
}

// Configure says which node this is. If the node's address has changed, the cluster is told before Configure returns, so
// that etcd may then be started with the new one; what cannot be told now is told as soon as somebody answers.
func (k *Keeper) Configure(ctx context.Context, n templates.Node) {
	k.mu.Lock()
	before := k.node
	k.node = n
	k.mu.Unlock()
	if n.Role == templates.ControlPlane && before.Address != n.Address {
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		k.look(ctx)
	}
	k.Wake()
}

// Look looks now, and returns when what was seen is in effect.
func (k *Keeper) Look(ctx context.Context) { k.look(ctx) }

// Wake makes the keeper look soon.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run looks again and again until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	for {
		pause := later
		k.mu.Lock()
		configured := k.node.Role == templates.ControlPlane
		k.mu.Unlock()
		if configured && !k.look(ctx) {
			pause = soon
		}
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-time.After(pause):
		}
	}
}

// Hold says why etcd must not start; "" if it may.
func (k *Keeper) Hold() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.looked {
		return "the node agent to look at its data"
	}
	return k.v.hold
}

// Args returns arguments that etcd needs if it starts now.
func (k *Keeper) Args() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.v.args)
}

// Serve says why an API server cannot use the member yet; "" if it can, or if nothing speaks against it.
func (k *Keeper) Serve() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.looked:
		return "etcd"
	case k.v.state == templates.EtcdFounding, k.v.state == templates.EtcdVoter, k.record.Voter && k.v.state == templates.EtcdUnknown:
		return ""
	case k.v.state == templates.EtcdUnknown && k.record.Member == 0:
		return "" // data of before there were records
	case k.v.state == templates.EtcdLearner:
		return "etcd to have a vote"
	}
	return "etcd"
}

// Status says how the member is.
func (k *Keeper) Status() templates.EtcdStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := templates.EtcdStatus{State: k.v.state, Leader: k.leader, Problem: k.v.problem}
	if !k.looked {
		s.State = templates.EtcdUnknown
	}
	if k.record.Member != 0 {
		s.Cluster, s.Member = k.record.Cluster.String(), k.record.Member.String()
	}
	return s
}

// look sees how things are, and does what follows. It reports whether there is nothing more to wait for.
func (k *Keeper) look(ctx context.Context) bool {
	k.mu.Lock()
	n := k.node
	k.mu.Unlock()
	s, err := k.see(ctx, n)
	if ctx.Err() != nil && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		k.o.Log.Warn("cannot look after etcd", "err", err)
		k.conclude(verdict{state: templates.EtcdUnknown, problem: err.Error()}, s)
		return false
	}
	v := judge(s)
	if v.moved {
		if err := k.move(ctx, n, s); err != nil {
			v.problem = "the other members of etcd could not be told this node's new address: " + err.Error()
		} else {
			v.moved = false
		}
	}
	s.record = k.remember(n, s, v)
	k.conclude(v, s)
	return v.state == templates.EtcdVoter && !v.moved && v.joined
}

// conclude notes a verdict, and tells if it is another.
func (k *Keeper) conclude(v verdict, s sight) {
	k.mu.Lock()
	changed := !k.looked || v.state != k.v.state || v.hold != k.v.hold || v.problem != k.v.problem || k.record.Member != s.record.Member
	if changed && v.problem != "" {
		k.o.Log.Warn("etcd", "state", v.state, "problem", v.problem)
	}
	k.looked, k.v, k.record = true, v, s.record
	k.leader = s.local != nil && s.local.Leader == s.local.Header.Member
	k.mu.Unlock()
	if changed {
		k.o.Changed()
	}
}

// see gathers what is to be judged.
func (k *Keeper) see(ctx context.Context, n templates.Node) (s sight, err error) {
	s.self, s.data = n, hasData(k.o.Root)
	if s.record, err = loadRecord(k.o.Root); err != nil {
		return s, err
	}
	if s.founding, err = founding(k.o.Root); err != nil {
		return s, err
	}
	s.forced = k.exists(ForceFile)
	if b, err := os.ReadFile(filepath.Join(k.o.Root, HoldFile)); err == nil {
		s.held = strings.TrimSpace(string(b))
	}
	if s.data {
		local, err := k.o.Connect([]string{etcd.ClientURL})
		if err != nil {
			return s, err
		}
		answer, cancel := context.WithTimeout(ctx, patience)
		if st, err := local.Status(answer); err == nil {
			s.local = &st
		}
		cancel()
	}
	return s, k.askOthers(ctx, &s)
}

// askOthers asks what more than half of the members agree on: the member here, if it knows a leader, or all others at once.
func (k *Keeper) askOthers(ctx context.Context, s *sight) error {
	if s.forced {
		return nil
	}
	endpoints := others(s.self, s.record)
	if s.local != nil && s.local.Leader != 0 && !s.local.Learner {
		endpoints = []string{etcd.ClientURL}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answers := make(chan *etcdapi.List, len(endpoints))
	for _, e := range endpoints {
		api, err := k.o.Connect([]string{e})
		if err != nil {
			return err
		}
		go func() {
			if l, err := api.Members(ctx, true); err == nil {
				answers <- &l
				return
			}
			answers <- nil
		}()
	}
	for range endpoints {
		if s.others = <-answers; s.others != nil {
			break // one is enough: it speaks for more than half
		}
	}
	return nil
}

// Others returns where clients reach the other members, as far as the node knows: as its file says, and as they were last
// seen.
func Others(root string, n templates.Node) []string {
	r, _ := loadRecord(root) // a damaged record only says less
	return others(n, r)
}

func others(n templates.Node, r record) []string {
	var list []string
	for _, m := range n.Etcd {
		if m.Address != n.Address && m.Name != n.Name {
			list = append(list, etcd.Client(m.Address))
		}
	}
	// The API servers are where the members are, and node.json of a node that is to leave names no member but them.
	for _, e := range n.Endpoints {
		if a, err := netip.ParseAddrPort(e); err == nil && a.Addr() != n.Address {
			list = append(list, etcd.Client(a.Addr()))
		}
	}
	for _, e := range r.Others {
		if e != etcd.Client(n.Address) {
			list = append(list, e)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// move tells the cluster the member's new address.
func (k *Keeper) move(ctx context.Context, n templates.Node, s sight) error {
	endpoints := others(n, s.record)
	id := s.record.Member
	if s.local != nil {
		endpoints = append([]string{etcd.ClientURL}, endpoints...)
		id = s.local.Header.Member
	}
	api, err := k.o.Connect(endpoints)
	if err != nil {
		return err
	}
	if err := api.Update(ctx, id, etcd.Peer(n.Address)); err != nil {
		return err
	}
	k.o.Log.Info("told etcd this node's new address", "address", n.Address)
	return nil
}

// remember keeps what is known of the member for times when it does not answer, and removes orders that are carried out.
func (k *Keeper) remember(n templates.Node, s sight, v verdict) record {
	r := s.record
	if s.local == nil {
		return r
	}
	if id := s.local.Header.Member; id != r.Member || s.local.Header.Cluster != r.Cluster {
		r = record{Cluster: s.local.Header.Cluster, Member: id}
	}
	r.Joined = r.Joined || v.joined
	r.Voter = v.state == templates.EtcdVoter && r.Joined
	if s.others != nil {
		r.Others = nil
		for _, m := range s.others.Members {
			if a := address(m); m.ID != r.Member && a.IsValid() {
				r.Others = append(r.Others, etcd.Client(a))
			}
		}
		slices.Sort(r.Others)
	}
	if !r.equal(s.record) {
		if err := r.save(k.o.Root); err != nil {
			k.o.Log.Error("cannot note this node's member of etcd", "err", err)
			return r
		}
	}
	if r.Joined && s.founding != nil {
		k.carriedOut(templates.FoundingPath)
	}
	if s.forced && s.local.Leader == s.local.Header.Member {
		k.carriedOut(ForceFile)
	}
	return r
}

// carriedOut removes an order, so that it is not carried out again.
func (k *Keeper) carriedOut(path string) {
	if err := os.Remove(filepath.Join(k.o.Root, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.o.Log.Error("cannot remove an order that was carried out", "err", err)
	}
}

func (k *Keeper) exists(path string) bool {
	_, err := os.Stat(filepath.Join(k.o.Root, path))
	return err == nil
}
