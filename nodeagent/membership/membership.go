// Package membership says who is in a cluster's etcd and how each member is, and changes it: one member at a time, never so
// that the quorum is lost. Every change may be repeated.
package membership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

const (
	// statusTimeout is how long one member may take to say how it is.
	statusTimeout = 2 * time.Second
	// agreeTimeout is how long the members may take to agree on who they are. Those that have a quorum need milliseconds.
	agreeTimeout = 5 * time.Second
	// settle is how long a refusal is taken for passing: etcd wants its members to have been connected for five seconds
	// before it takes in another.
	settle = 30 * time.Second
	pause  = 200 * time.Millisecond
)

// An API is what is asked of members of etcd.
type API interface {
	Members(ctx context.Context, agreed bool) (etcdapi.List, error)
	Status(ctx context.Context) (etcdapi.Status, error)
	AddLearner(ctx context.Context, peer string) (etcdapi.Member, error)
	Promote(ctx context.Context, id etcdapi.ID) error
	Remove(ctx context.Context, id etcdapi.ID) error
	Update(ctx context.Context, id etcdapi.ID, peer string) error
	MoveLeader(ctx context.Context, to etcdapi.ID) error
}

// A Cluster is one etcd, reached through some of its members.
type Cluster struct {
	Endpoints []string // of clients, the nearest first
	Connect   func(endpoints ...string) API
	Say       func(string) // gets a line when something is waited for; may be nil
}

func (c Cluster) api() API { return c.Connect(c.Endpoints...) }

func (c Cluster) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(fmt.Sprintf(format, args...))
	}
}

// errNoQuorum says that nothing can be changed.
var errNoQuorum = errors.New("etcd has no quorum, so its members cannot be changed: bring back members that are down, or if they are gone for good restore from this one")

// Report returns the members and how they are. Without a quorum it is what one member remembers.
func (c Cluster) Report(ctx context.Context) (templates.EtcdReport, error) {
	agree, cancel := context.WithTimeout(ctx, agreeTimeout)
	defer cancel()
	list, err := c.api().Members(agree, true)
	r := templates.EtcdReport{Quorum: err == nil}
	if err != nil {
		if agree.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("more than half of the voting members did not agree within %v", agreeTimeout)
		}
		r.Problem = err.Error()
		if list, err = c.api().Members(ctx, false); err != nil {
			return r, fmt.Errorf("no member of etcd answers: %w", err)
		}
	}
	r.Cluster = list.Header.Cluster.String()
	answers := c.ask(ctx, list.Members)
	var last uint64 // entry of the leader's log
	for i, m := range list.Members {
		if s := answers[i].status; answers[i].err == nil {
			r.Revision = max(r.Revision, s.Header.Revision)
			if s.Leader == m.ID {
				last = s.Index
			}
		}
	}
	for i, m := range list.Members {
		r.Members = append(r.Members, info(m, answers[i], last))
	}
	slices.SortFunc(r.Members, func(x, y templates.EtcdMemberInfo) int {
		return strings.Compare(x.Name+" "+x.ID, y.Name+" "+y.ID)
	})
	return r, nil
}

// An answer is what one member said of itself.
type answer struct {
	status etcdapi.Status
	err    error
}

// ask asks all members at once how they are.
func (c Cluster) ask(ctx context.Context, members []etcdapi.Member) []answer {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answers := make([]answer, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		if len(m.Clients) == 0 {
			answers[i].err = errors.New("has never started")
			continue
		}
		all.Go(func() { answers[i].status, answers[i].err = c.Connect(client(m)).Status(ctx) })
	}
	all.Wait()
	return answers
}

// info says of one member what is known. last is the last entry of the leader's log, 0 if there is no leader.
func info(m etcdapi.Member, a answer, last uint64) templates.EtcdMemberInfo {
	i := templates.EtcdMemberInfo{ID: m.ID.String(), Name: m.Name, Address: address(m), Learner: m.Learner, Started: m.Name != ""}
	if a.err != nil {
		i.Problem = a.err.Error()
		return i
	}
	s := a.status
	i.Version, i.Size, i.Used, i.Index = s.Version, s.Size, s.Used, s.Applied
	i.Leader = s.Leader == m.ID
	if last > s.Applied {
		i.Lag = last - s.Applied
	}
	switch {
	case s.Leader == 0:
		i.Problem = "knows no leader"
	case len(s.Errors) > 0:
		i.Problem = strings.Join(s.Errors, "; ")
	default:
		i.Healthy = true
	}
	return i
}

// Add takes a member in as a learner and returns it. One that is in already at that address is left as it is; another one
// of that name or address is an error.
func (c Cluster) Add(ctx context.Context, name string, a netip.Addr) (templates.EtcdMemberInfo, error) {
	if name == "" || !a.IsValid() {
		return templates.EtcdMemberInfo{}, errors.New("a member needs a name and an address")
	}
	var added etcdapi.Member
	err := c.retry(ctx, func() error {
		list, err := c.agreed(ctx)
		if err != nil {
			return err
		}
		for _, m := range list.Members {
			switch {
			case address(m) == a && (m.Name == "" || m.Name == name):
				added = m
				return nil
			case address(m) == a:
				return fmt.Errorf("%s is the address of member %s (%s): remove that first", a, m.Name, m.ID)
			case m.Name == name:
				return fmt.Errorf("%s is a member (%s) at %s: remove that first", name, m.ID, address(m))
			}
		}
		added, err = c.api().AddLearner(ctx, etcd.Peer(a))
		return err
	})
	return info(added, answer{err: errors.New("has never started")}, 0), err
}

// Promote gives a learner a vote once it is in step, for which it waits so long. One that votes already is left as it is.
func (c Cluster) Promote(ctx context.Context, which string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := errors.New("nobody answered")
	for begun := time.Now(); ; {
		m, r, err := c.find(ctx, which)
		switch {
		case err == nil && m.ID == "" && !unnamed(r):
			return fmt.Errorf("%s is no member of etcd: add it first", which)
		case err == nil && m.ID == "":
			err = &etcdapi.Error{Code: etcdapi.Unavailable, Message: "it has not started yet"}
		case err == nil && !m.Learner:
			return nil
		case err == nil:
			id, _ := etcdapi.ParseID(m.ID)
			if err = c.api().Promote(ctx, id); err == nil {
				c.say("%s has a vote after %.1fs, at revision %d", label(m), time.Since(begun).Seconds(), r.Revision)
				return nil
			}
			c.say("%s: %s", label(m), progress(m))
		}
		if !passing(err) && ctx.Err() == nil {
			return err
		}
		if ctx.Err() == nil {
			last = err
		}
		if !sleep(ctx, pause) {
			return fmt.Errorf("%s is not in step with the leader after %v: %w", which, limit, last)
		}
	}
}

// unnamed reports whether there is a member whose name is not known: it has never started.
func unnamed(r templates.EtcdReport) bool {
	return slices.ContainsFunc(r.Members, func(m templates.EtcdMemberInfo) bool { return m.Name == "" })
}

// progress says in words how far a learner is.
func progress(m templates.EtcdMemberInfo) string {
	if m.Problem != "" {
		return m.Problem
	}
	return fmt.Sprintf("%d entries behind", m.Lag)
}

// Remove takes a member out of etcd, if the others have a quorum without it. One that is not in is no error. If it leads,
// another becomes the leader first.
func (c Cluster) Remove(ctx context.Context, which string) error {
	return c.retry(ctx, func() error {
		m, r, err := c.find(ctx, which)
		if err != nil || m.ID == "" {
			return err
		}
		if !m.Learner {
			if err := removable(m, r); err != nil {
				return err
			}
		}
		if m.Leader {
			if err := c.lead(ctx, r, m, ""); err != nil {
				return err
			}
		}
		id, err := etcdapi.ParseID(m.ID)
		if err != nil {
			return err
		}
		err = c.without(m).Remove(ctx, id)
		if etcdapi.Is(err, etcdapi.NotFound) {
			return nil
		}
		return err
	})
}

// removable says why a voter must stay.
func removable(m templates.EtcdMemberInfo, r templates.EtcdReport) error {
	all, healthy := r.Voters()
	if all == 1 {
		return fmt.Errorf("%s is the only member of etcd that votes: without it the cluster has no data", label(m))
	}
	if r.SurvivesWithout(m.ID, true) {
		return nil
	}
	if m.Healthy {
		healthy--
	}
	return fmt.Errorf("without %s, %d of %d voting members of etcd would be healthy, which is no quorum: bring another back first", label(m), healthy, all-1)
}

// Update says at which address a member is from now on.
func (c Cluster) Update(ctx context.Context, which string, a netip.Addr) error {
	return c.retry(ctx, func() error {
		m, _, err := c.find(ctx, which)
		if err != nil || m.Address == a {
			return err
		}
		if m.ID == "" {
			return fmt.Errorf("%s is no member of etcd", which)
		}
		id, err := etcdapi.ParseID(m.ID)
		if err != nil {
			return err
		}
		return c.api().Update(ctx, id, etcd.Peer(a))
	})
}

// MoveLeader makes to the leader, or if it is "" any other healthy voter. If from is given and does not lead, nothing is to
// be done.
func (c Cluster) MoveLeader(ctx context.Context, from, to string) error {
	return c.retry(ctx, func() error {
		r, err := c.Report(ctx)
		if err != nil {
			return err
		}
		if !r.Quorum {
			return errNoQuorum
		}
		i := slices.IndexFunc(r.Members, func(m templates.EtcdMemberInfo) bool { return m.Leader })
		if i < 0 {
			return &etcdapi.Error{Code: etcdapi.Unavailable, Message: "etcd has no leader"}
		}
		leader := r.Members[i]
		if m, ok := r.Find(from); from != "" && (!ok || m.ID != leader.ID) {
			return nil
		}
		return c.lead(ctx, r, leader, to)
	})
}

// lead makes another member the leader: to, or the voter that is nearest to the leader of now.
func (c Cluster) lead(ctx context.Context, r templates.EtcdReport, leader templates.EtcdMemberInfo, to string) error {
	var best templates.EtcdMemberInfo
	if to != "" {
		var ok bool
		if best, ok = r.Find(to); !ok || best.Learner {
			return fmt.Errorf("%s is no voting member of etcd", to)
		}
	}
	for _, m := range r.Members {
		if to == "" && m.Healthy && !m.Learner && m.ID != leader.ID && (best.ID == "" || m.Lag < best.Lag) {
			best = m
		}
	}
	if best.ID == leader.ID {
		return nil
	}
	if best.ID == "" {
		return errors.New("no other member of etcd can lead")
	}
	id, err := etcdapi.ParseID(best.ID)
	if err != nil {
		return err
	}
	c.say("%s gives the lead to %s", label(leader), label(best))
	return c.Connect(etcd.Client(leader.Address)).MoveLeader(ctx, id)
}

// find returns a member by name, ID or address, the zero member if there is none, and how all are.
func (c Cluster) find(ctx context.Context, which string) (templates.EtcdMemberInfo, templates.EtcdReport, error) {
	r, err := c.Report(ctx)
	if err != nil {
		return templates.EtcdMemberInfo{}, r, err
	}
	if !r.Quorum {
		return templates.EtcdMemberInfo{}, r, fmt.Errorf("%w (%s)", errNoQuorum, r.Problem)
	}
	m, _ := r.Find(which)
	return m, r, nil
}

// agreed returns the members, or errNoQuorum.
func (c Cluster) agreed(ctx context.Context) (etcdapi.List, error) {
	list, err := c.api().Members(ctx, true)
	if err != nil {
		return list, fmt.Errorf("%w (%w)", errNoQuorum, err)
	}
	return list, nil
}

// without returns the API of all members but one.
func (c Cluster) without(m templates.EtcdMemberInfo) API {
	rest := slices.DeleteFunc(slices.Clone(c.Endpoints), func(e string) bool { return e == etcd.Client(m.Address) })
	if len(rest) > 1 {
		// The nearest may be the one to go, under its local name: it comes last.
		rest = append(rest[1:], rest[0])
	}
	return c.Connect(rest...)
}
