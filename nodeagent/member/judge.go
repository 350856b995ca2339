package member

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

// A sight is all that was seen at one moment.
type sight struct {
	self     templates.Node
	data     bool                   // etcd has data here
	forced   bool                   // etcd is to make itself a cluster of one
	held     string                 // somebody works on the data; why
	founding []templates.EtcdMember // that found a cluster together
	record   record
	local    *etcdapi.Status // of the member here; nil if it does not answer
	others   *etcdapi.List   // what more than half of the members agree on; nil if nobody could say
}

// A verdict is what follows from it.
type verdict struct {
	state   templates.EtcdState
	hold    string   // why etcd must not start
	problem string   // what a person has to know
	args    []string // with which a member starts that has no data
	moved   bool     // the cluster has an old peer URL for this member
	joined  bool     // it is one of a quorum
}

// judge says what the node's member is and whether it may run.
//
// The rule behind it: a member without data founds nothing unless it was told to, and one with data runs unless more than
// half of a cluster say that it is none of theirs. What nobody can say is left to etcd.
func judge(s sight) verdict {
	v := settle(s)
	if s.held != "" {
		v.hold = s.held
	}
	if s.forced && s.data {
		v = verdict{state: templates.EtcdUnknown, hold: s.held, args: []string{"--force-new-cluster"}}
	}
	return v
}

func settle(s sight) verdict {
	switch {
	case s.local != nil:
		return running(s)
	case s.data:
		return resting(s)
	case s.others != nil:
		return invited(s)
	case s.founding != nil:
		return verdict{state: templates.EtcdFounding, args: etcd.Found(s.self, s.founding)}
	case s.record.Joined:
		return lost(s.record)
	}
	return joining()
}

// running judges a member that answers.
func running(s sight) verdict {
	v := verdict{state: templates.EtcdVoter, joined: s.local.Leader != 0}
	if s.local.Learner {
		v.state = templates.EtcdLearner
	}
	if s.others != nil && s.others.Header.Cluster == s.local.Header.Cluster {
		m, ok := s.others.Find(s.local.Header.Member)
		v.moved = ok && !at(m, s.self.Address)
	}
	return v
}

// resting judges a member that has data and does not answer.
func resting(s sight) verdict {
	v := verdict{state: templates.EtcdUnknown}
	if s.others == nil || s.record.Member == 0 {
		return v
	}
	if s.others.Header.Cluster != s.record.Cluster {
		v.state = templates.EtcdForeign
		v.problem = fmt.Sprintf("etcd's data on this node is of cluster %s, and the other members are cluster %s: etcd stays off until the data is wiped, which provision apply does",
			s.record.Cluster, s.others.Header.Cluster)
		v.hold = "its data to be wiped: it is of another cluster"
		return v
	}
	m, ok := s.others.Find(s.record.Member)
	if !ok {
		v.state = templates.EtcdRemoved
		v.problem = fmt.Sprintf("this node's member of etcd, %s, was removed from the cluster: etcd stays off until its data is wiped, which provision apply does",
			s.record.Member)
		v.hold = "its data to be wiped: it was removed from the cluster"
		return v
	}
	v.moved = !at(m, s.self.Address)
	return v
}

// invited judges a node without data when a cluster is there.
func invited(s sight) verdict {
	for _, m := range s.others.Members {
		if !at(m, s.self.Address) {
			continue
		}
		if s.founding != nil { // the others were faster
			return verdict{state: templates.EtcdFounding, args: etcd.Found(s.self, s.founding)}
		}
		if m.Name == "" { // it was added and has never started
			return verdict{state: templates.EtcdJoining, args: etcd.Join(s.self, peers(s))}
		}
		return lost(record{Member: m.ID})
	}
	if _, ok := s.others.Find(s.record.Member); ok && s.record.Joined {
		return lost(s.record)
	}
	v := joining()
	if s.founding != nil {
		v.problem = "this node was told to found a new etcd, and the members named to it run one without it: it waits to be taken in"
	}
	return v
}

func joining() verdict {
	return verdict{state: templates.EtcdJoining, hold: "the other members of etcd to take this node in"}
}

func lost(r record) verdict {
	return verdict{
		state: templates.EtcdLost,
		problem: fmt.Sprintf("this node was member %s of etcd and its data in %s is gone: it must be removed from etcd and join anew, which provision apply does",
			r.Member, etcd.DataDir),
		hold: "its member to be removed: its data is gone",
	}
}

// peers returns all members by a name: that which they gave themselves or, if they have not started, that of the node at
// their address.
func peers(s sight) []templates.EtcdMember {
	var list []templates.EtcdMember
	for _, m := range s.others.Members {
		p := templates.EtcdMember{Name: m.Name, Address: address(m)}
		for _, n := range s.self.Etcd {
			if p.Name == "" && n.Address == p.Address {
				p.Name = n.Name
			}
		}
		if at(m, s.self.Address) {
			p.Name = s.self.Name
		}
		if p.Name == "" {
			p.Name = "member-" + m.ID.String()
		}
		list = append(list, p)
	}
	return list
}

// at reports whether a member's peers reach it at the address.
func at(m etcdapi.Member, a netip.Addr) bool { return address(m) == a }

// address returns where a member's peers reach it; the zero address if that is not an address.
func address(m etcdapi.Member) netip.Addr {
	if len(m.Peers) == 0 {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(strings.TrimPrefix(m.Peers[0], "https://"))
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}
