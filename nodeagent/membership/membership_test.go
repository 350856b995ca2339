package membership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

// A world is an etcd in memory, with the rules of the real one as far as they matter here.
type world struct {
	members []etcdapi.Member
	leader  etcdapi.ID
	dead    map[etcdapi.ID]bool
	behind  int // promotions that are refused because the learner is not in step
	grumpy  int // additions that are refused because the members have not been connected for long
	log     []string
}

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }

// newWorld has voters cp-0 … at 10.0.0.1 …; the first leads.
func newWorld(n int) *world {
	w := &world{leader: 1, dead: map[etcdapi.ID]bool{}}
	for i := range n {
		w.start(etcdapi.ID(i+1), fmt.Sprintf("cp-%d", i), addr(i+1), false)
	}
	return w
}

func (w *world) start(id etcdapi.ID, name string, a netip.Addr, learner bool) {
	w.members = append(w.members, etcdapi.Member{ID: id, Name: name, Peers: []string{etcd.Peer(a)}, Clients: []string{etcd.Client(a)}, Learner: learner})
}

func (w *world) cluster(say func(string)) Cluster {
	var endpoints []string
	for _, m := range w.members {
		endpoints = append(endpoints, m.Clients...)
	}
	return Cluster{Endpoints: endpoints, Connect: func(e ...string) API { return &face{w, e} }, Say: say}
}

func (w *world) quorum() error {
	voters, alive := 0, 0
	for _, m := range w.members {
		if !m.Learner {
			voters++
			if !w.dead[m.ID] {
				alive++
			}
		}
	}
	if alive <= voters/2 || w.dead[w.leader] {
		return &etcdapi.Error{Code: etcdapi.Unavailable, Message: "etcdserver: no leader"}
	}
	return nil
}

// A face is what one who asks sees.
type face struct {
	w         *world
	endpoints []string
}

func (f *face) at() (etcdapi.Member, error) {
	for _, e := range f.endpoints {
		for _, m := range f.w.members {
			if slices.Contains(m.Clients, e) && !f.w.dead[m.ID] {
				return m, nil
			}
		}
	}
	return etcdapi.Member{}, errors.New("connection refused")
}

func (f *face) Members(_ context.Context, agreed bool) (etcdapi.List, error) {
	l := etcdapi.List{Header: etcdapi.Header{Cluster: 0xc}, Members: slices.Clone(f.w.members)}
	if _, err := f.at(); err != nil {
		return l, err
	}
	if agreed {
		return l, f.w.quorum()
	}
	return l, nil
}

func (f *face) Status(context.Context) (etcdapi.Status, error) {
	m, err := f.at()
	s := etcdapi.Status{Header: etcdapi.Header{Member: m.ID, Revision: 42}, Leader: f.w.leader, Version: "3.7.2", Index: 100, Applied: 100, Learner: m.Learner}
	if m.ID != f.w.leader {
		s.Applied = 90 + uint64(m.ID)
	}
	if f.w.quorum() != nil {
		s.Leader = 0
	}
	return s, err
}

func (f *face) change(what string, args ...any) error {
	if err := f.w.quorum(); err != nil {
		return err
	}
	f.w.log = append(f.w.log, fmt.Sprintf(what, args...))
	return nil
}

func (f *face) AddLearner(_ context.Context, peer string) (etcdapi.Member, error) {
	if f.w.grumpy > 0 {
		f.w.grumpy--
		return etcdapi.Member{}, &etcdapi.Error{Code: etcdapi.Unavailable, Message: "etcdserver: unhealthy cluster"}
	}
	m := etcdapi.Member{ID: etcdapi.ID(100 + len(f.w.members)), Peers: []string{peer}, Learner: true}
	f.w.members = append(f.w.members, m)
	return m, f.change("add %s", peer)
}

func (f *face) Promote(_ context.Context, id etcdapi.ID) error {
	i := slices.IndexFunc(f.w.members, func(m etcdapi.Member) bool { return m.ID == id })
	if f.w.members[i].Name == "" || f.w.behind > 0 {
		f.w.behind--
		return &etcdapi.Error{Code: etcdapi.FailedPrecondition, Message: "etcdserver: can only promote a learner member which is in sync with leader"}
	}
	f.w.members[i].Learner = false
	return f.change("promote %s", id)
}

func (f *face) Remove(_ context.Context, id etcdapi.ID) error {
	if m, _ := f.at(); m.ID == id {
		return errors.New("a member is asked to remove itself")
	}
	f.w.members = slices.DeleteFunc(f.w.members, func(m etcdapi.Member) bool { return m.ID == id })
	return f.change("remove %s", id)
}

func (f *face) Update(_ context.Context, id etcdapi.ID, peer string) error {
	for i, m := range f.w.members {
		if m.ID == id {
			f.w.members[i].Peers, f.w.members[i].Clients = []string{peer}, []string{strings.Replace(peer, "2380", "2379", 1)}
		}
	}
	return f.change("update %s %s", id, peer)
}

func (f *face) MoveLeader(_ context.Context, to etcdapi.ID) error {
	if m, err := f.at(); err != nil || m.ID != f.w.leader {
		return &etcdapi.Error{Code: etcdapi.FailedPrecondition, Message: "etcdserver: not leader"}
	}
	f.w.leader = to
	return f.change("lead %s", to)
}

func TestReport(t *testing.T) {
	w := newWorld(3)
	w.dead[3] = true
	w.start(4, "", addr(4), true)
	w.members[3].Clients = nil
	r, err := w.cluster(nil).Report(t.Context())
	if err != nil || !r.Quorum || r.Cluster != "c" || r.Revision != 42 || len(r.Members) != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	var got []string
	for _, m := range r.Members {
		got = append(got, fmt.Sprintf("%s %s leader=%v learner=%v healthy=%v lag=%d %s", m.Name, m.Address, m.Leader, m.Learner, m.Healthy, m.Lag, m.Problem))
	}
	want := []string{
		" 10.0.0.4 leader=false learner=true healthy=false lag=0 has never started",
		"cp-0 10.0.0.1 leader=true learner=false healthy=true lag=0 ",
		"cp-1 10.0.0.2 leader=false learner=false healthy=true lag=8 ",
		"cp-2 10.0.0.3 leader=false learner=false healthy=false lag=0 connection refused",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	w.dead[2] = true
	if r, err = w.cluster(nil).Report(t.Context()); err != nil || r.Quorum || r.Problem == "" || len(r.Members) != 4 {
		t.Errorf("without a quorum: %+v, %v", r, err)
	}
	w.dead[1] = true
	if _, err = w.cluster(nil).Report(t.Context()); err == nil {
		t.Error("nobody answers, and that is no error")
	}
}

// TestChanges makes one change each, and looks at what was done and said.
func TestChanges(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*world)
		do      func(context.Context, Cluster) error
		log     string
		err     string
	}{
		"add":                          {nil, add("cp-3", 4), "add https://10.0.0.4:2380", ""},
		"add when refused for a while": {func(w *world) { w.grumpy = 3 }, add("cp-3", 4), "add https://10.0.0.4:2380", ""},
		"add one that is in":           {nil, add("cp-1", 2), "", ""},
		"add one that was added":       {func(w *world) { w.start(9, "", addr(4), true) }, add("cp-3", 4), "", ""},
		"add a second of a name":       {nil, add("cp-1", 4), "", "cp-1 is a member (2) at 10.0.0.2: remove that first"},
		"add a second at an address":   {nil, add("cp-9", 2), "", "10.0.0.2 is the address of member cp-1 (2): remove that first"},
		"add without a quorum":         {func(w *world) { w.dead[2], w.dead[3] = true, true }, add("cp-3", 4), "", "no quorum"},

		"promote":                      {func(w *world) { w.start(4, "cp-3", addr(4), true); w.behind = 5 }, promote("cp-3"), "promote 4", ""},
		"promote by address":           {func(w *world) { w.start(4, "cp-3", addr(4), true) }, promote("10.0.0.4"), "promote 4", ""},
		"promote a voter":              {nil, promote("cp-1"), "", ""},
		"promote nobody":               {nil, promote("cp-7"), "", "cp-7 is no member of etcd: add it first"},
		"promote one that never comes": {func(w *world) { w.start(4, "", addr(4), true) }, promote("10.0.0.4"), "", "is not in step with the leader after 1m0s"},

		"remove":               {nil, remove("cp-2"), "remove 3", ""},
		"remove the leader":    {nil, remove("cp-0"), "lead 3, remove 1", ""},
		"remove a dead one":    {func(w *world) { w.dead[2] = true }, remove("cp-1"), "remove 2", ""},
		"remove a learner":     {func(w *world) { w.start(4, "cp-3", addr(4), true); w.dead[2] = true }, remove("cp-3"), "remove 4", ""},
		"remove nobody":        {nil, remove("cp-7"), "", ""},
		"remove a second":      {func(w *world) { w.dead[2] = true }, remove("cp-2"), "", "without cp-2, 1 of 2 voting members of etcd would be healthy"},
		"remove the last":      {func(w *world) { w.members = w.members[:1] }, remove("cp-0"), "", "cp-0 is the only member"},
		"remove, no quorum":    {func(w *world) { w.dead[2], w.dead[3] = true, true }, remove("cp-1"), "", "no quorum"},
		"update":               {nil, update("cp-1", 22), "update 2 https://10.0.0.22:2380", ""},
		"update to what it is": {nil, update("cp-1", 2), "", ""},
		"update nobody":        {nil, update("cp-7", 22), "", "cp-7 is no member of etcd"},
		"lead":                 {nil, lead("", "cp-1"), "lead 2", ""},
		"lead, anybody else":   {nil, lead("cp-0", ""), "lead 3", ""},
		"lead, from another":   {nil, lead("cp-1", ""), "", ""},
		"lead, is already":     {nil, lead("", "cp-0"), "", ""},
		"lead, a learner":      {func(w *world) { w.start(4, "cp-3", addr(4), true) }, lead("", "cp-3"), "", "cp-3 is no voting member"},
		"lead, none left":      {func(w *world) { w.members = w.members[:1] }, lead("cp-0", ""), "", "no other member of etcd can lead"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(3)
				if c.prepare != nil {
					c.prepare(w)
				}
				err := c.do(t.Context(), w.cluster(nil))
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				if got := strings.Join(w.log, ", "); got != c.log {
					t.Errorf("did %q, want %q", got, c.log)
				}
				if c.err != "" {
					return
				}
				if err := c.do(t.Context(), w.cluster(nil)); err != nil || strings.Join(w.log, ", ") != c.log {
					t.Errorf("again: %v, all in all did %q, want %q", err, w.log, c.log)
				}
			})
		})
	}
}

func add(name string, at int) func(context.Context, Cluster) error {
	return func(ctx context.Context, c Cluster) error { _, err := c.Add(ctx, name, addr(at)); return err }
}

func promote(which string) func(context.Context, Cluster) error {
	return func(ctx context.Context, c Cluster) error { return c.Promote(ctx, which, time.Minute) }
}

func remove(which string) func(context.Context, Cluster) error {
	return func(ctx context.Context, c Cluster) error { return c.Remove(ctx, which) }
}

func update(which string, at int) func(context.Context, Cluster) error {
	return func(ctx context.Context, c Cluster) error { return c.Update(ctx, which, addr(at)) }
}

func lead(from, to string) func(context.Context, Cluster) error {
	return func(ctx context.Context, c Cluster) error { return c.MoveLeader(ctx, from, to) }
}

// TestSurvives holds the arithmetic of quorums.
func TestSurvives(t *testing.T) {
	for _, c := range []struct {
		voters, dead  int
		lost, removed bool // whether the first, which is healthy, may be
	}{{1, 0, false, false}, {2, 0, false, true}, {3, 0, true, true}, {3, 1, false, false}, {4, 1, false, true}, {5, 1, true, true}, {5, 2, false, false}} {
		var r templates.EtcdReport
		for i := range c.voters {
			r.Members = append(r.Members, templates.EtcdMemberInfo{ID: fmt.Sprint(i), Healthy: i < c.voters-c.dead})
		}
		r.Members = append(r.Members, templates.EtcdMemberInfo{ID: "learner", Learner: true, Healthy: true})
		if lost, removed := r.SurvivesWithout("0", false), r.SurvivesWithout("0", true); lost != c.lost || removed != c.removed {
			t.Errorf("%d voters, %d dead: survives loss %v, removal %v; want %v, %v", c.voters, c.dead, lost, removed, c.lost, c.removed)
		}
	}
}
