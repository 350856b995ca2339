package member

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func testNode(name, address string) templates.Node {
	return templates.Node{Name: name, Address: addr(address), Role: templates.ControlPlane, UID: "u", Etcd: []templates.EtcdMember{
		{Name: "cp-0", Address: addr("10.0.0.1")}, {Name: "cp-1", Address: addr("10.0.0.2")}, {Name: "cp-2", Address: addr("10.0.0.3")},
	}}
}

func listOf(cluster etcdapi.ID, members ...etcdapi.Member) *etcdapi.List {
	return &etcdapi.List{Header: etcdapi.Header{Cluster: cluster}, Members: members}
}

func mem(id etcdapi.ID, name, address string) etcdapi.Member {
	return etcdapi.Member{ID: id, Name: name, Peers: []string{"https://" + address + ":2380"}}
}

func status(cluster, id, leader etcdapi.ID, learner bool) *etcdapi.Status {
	return &etcdapi.Status{Header: etcdapi.Header{Cluster: cluster, Member: id}, Leader: leader, Learner: learner}
}

func TestJudge(t *testing.T) {
	me := testNode("cp-2", "10.0.0.3")
	two := listOf(7, mem(1, "cp-0", "10.0.0.1"), mem(2, "cp-1", "10.0.0.2"))
	added := listOf(7, mem(1, "cp-0", "10.0.0.1"), mem(2, "cp-1", "10.0.0.2"), mem(3, "", "10.0.0.3"))
	three := listOf(7, mem(1, "cp-0", "10.0.0.1"), mem(2, "cp-1", "10.0.0.2"), mem(3, "cp-2", "10.0.0.3"))
	was := record{Cluster: 7, Member: 3, Joined: true, Voter: true}
	for name, c := range map[string]struct {
		s       sight
		state   templates.EtcdState
		runs    bool
		args    string // one of them
		problem string // part of it; "" none
		moved   bool
	}{
		"bare, told nothing":                 {sight{}, templates.EtcdJoining, false, "", "", false},
		"bare, told to found":                {sight{founding: me.Etcd}, templates.EtcdFounding, true, "--initial-cluster-state=new", "", false},
		"bare, told to found, others faster": {sight{founding: me.Etcd, others: three}, templates.EtcdFounding, true, "--initial-cluster-state=new", "", false},
		"bare, told to found where one is":   {sight{founding: me.Etcd, others: two}, templates.EtcdJoining, false, "", "was told to found", false},
		"bare, not taken in":                 {sight{others: two}, templates.EtcdJoining, false, "", "", false},
		"bare, taken in": {sight{others: added}, templates.EtcdJoining, true,
			"--initial-cluster=cp-0=https://10.0.0.1:2380,cp-1=https://10.0.0.2:2380,cp-2=https://10.0.0.3:2380", "", false},
		"bare, taken in again":             {sight{others: added, record: record{Cluster: 7, Member: 9, Joined: true}}, templates.EtcdJoining, true, "--initial-cluster-state=existing", "", false},
		"data lost":                        {sight{others: three, record: was}, templates.EtcdLost, false, "", "was member 3", false},
		"data and record lost":             {sight{others: three}, templates.EtcdLost, false, "", "was member 3", false},
		"data lost, others silent":         {sight{record: was}, templates.EtcdLost, false, "", "was member 3", false},
		"data lost, address was another":   {sight{others: listOf(7, mem(3, "cp-2", "10.0.0.8")), record: was}, templates.EtcdLost, false, "", "was member 3", false},
		"boots, others silent":             {sight{data: true, record: was}, templates.EtcdUnknown, true, "", "", false},
		"boots, no record":                 {sight{data: true, others: two}, templates.EtcdUnknown, true, "", "", false},
		"boots, is one of them":            {sight{data: true, record: was, others: three}, templates.EtcdUnknown, true, "", "", false},
		"boots, at another address":        {sight{data: true, record: was, others: listOf(7, mem(3, "cp-2", "10.0.0.8"))}, templates.EtcdUnknown, true, "", "", true},
		"boots, removed":                   {sight{data: true, record: was, others: two}, templates.EtcdRemoved, false, "", "3, was removed", false},
		"boots, replaced":                  {sight{data: true, record: was, others: listOf(7, mem(4, "cp-2", "10.0.0.9"))}, templates.EtcdRemoved, false, "", "was removed", false},
		"boots, of another cluster":        {sight{data: true, record: record{Cluster: 8, Member: 3}, others: three}, templates.EtcdForeign, false, "", "of cluster 8", false},
		"runs":                             {sight{data: true, record: was, local: status(7, 3, 1, false), others: three}, templates.EtcdVoter, true, "", "", false},
		"runs as a learner":                {sight{data: true, local: status(7, 3, 1, true), others: three}, templates.EtcdLearner, true, "", "", false},
		"runs, cluster has old address":    {sight{data: true, local: status(7, 3, 1, false), others: listOf(7, mem(3, "cp-2", "10.0.0.8"))}, templates.EtcdVoter, true, "", "", true},
		"held":                             {sight{data: true, held: "its data to be wiped", record: was}, templates.EtcdUnknown, false, "", "", false},
		"forced, while others say removed": {sight{data: true, forced: true, record: was, others: two}, templates.EtcdUnknown, true, "--force-new-cluster", "", false},
		"forced, without data":             {sight{forced: true}, templates.EtcdJoining, false, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c.s.self = me
			v := judge(c.s)
			if v.state != c.state || (v.hold == "") != c.runs || v.moved != c.moved {
				t.Errorf("got state %s, hold %q, moved %v; want %s, runs %v, moved %v", v.state, v.hold, v.moved, c.state, c.runs, c.moved)
			}
			if c.args != "" && !strings.Contains(" "+strings.Join(v.args, " ")+" ", " "+c.args+" ") {
				t.Errorf("args %q, want %q in them", v.args, c.args)
			}
			if c.args == "" && len(v.args) > 0 {
				t.Errorf("args %q, want none", v.args)
			}
			if (v.problem == "") != (c.problem == "") || !strings.Contains(v.problem, c.problem) {
				t.Errorf("problem %q, want %q in it", v.problem, c.problem)
			}
		})
	}
}

// TestNamesOfMembers sees that a member that has never started goes by its node's name, or by its ID.
func TestNamesOfMembers(t *testing.T) {
	me := testNode("cp-2", "10.0.0.3")
	v := judge(sight{self: me, others: listOf(7, mem(1, "cp-0", "10.0.0.1"), mem(2, "", "10.0.0.2"), mem(3, "", "10.0.0.3"), mem(0xab, "", "10.0.0.9"))})
	want := "--initial-cluster=cp-0=https://10.0.0.1:2380,cp-1=https://10.0.0.2:2380,cp-2=https://10.0.0.3:2380,member-ab=https://10.0.0.9:2380"
	if len(v.args) == 0 || v.args[0] != want {
		t.Errorf("got %q, want %q", v.args, want)
	}
}
