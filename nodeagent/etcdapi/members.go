package etcdapi

import (
	"context"
	"fmt"
	"strconv"
)

// An ID is the number of a member or a cluster.
type ID uint64

// String returns the ID as etcd's own tools show it: hexadecimal.
func (id ID) String() string { return strconv.FormatUint(uint64(id), 16) }

// ParseID reads what String returns.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no ID of etcd", s)
	}
	return ID(n), nil
}

// MarshalJSON writes the ID as the gateway wants it: decimal, in quotes.
func (id ID) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatUint(uint64(id), 10) + `"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (id *ID) UnmarshalJSON(b []byte) error {
	s, err := strconv.Unquote(string(b))
	if err != nil {
		s = string(b)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	*id = ID(n)
	return err
}

// A Header comes with every answer.
type Header struct {
	Cluster  ID    `json:"cluster_id"`
	Member   ID    `json:"member_id"` // that answered
	Revision int64 `json:"revision,string"`
}

// A Member is one member of etcd.
type Member struct {
	ID      ID       `json:"ID"`
	Name    string   `json:"name"` // "" until it has started for the first time
	Peers   []string `json:"peerURLs"`
	Clients []string `json:"clientURLs"`
	Learner bool     `json:"isLearner"`
}

// A List is the members of etcd.
type List struct {
	Header  Header   `json:"header"`
	Members []Member `json:"members"`
}

// Find returns the member of an ID.
func (l List) Find(id ID) (Member, bool) {
	for _, m := range l.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Members returns the members that more than half of them agree on. If that cannot be had and agreed is false, it is what
// the member that answers remembers.
func (c *Client) Members(ctx context.Context, agreed bool) (List, error) {
	var l List
	err := c.call(ctx, "cluster/member/list", map[string]bool{"linearizable": agreed}, &l)
	return l, err
}

// A Status is how one member is.
type Status struct {
	Header  Header   `json:"header"`
	Version string   `json:"version"`
	Size    int64    `json:"dbSize,string"`
	Used    int64    `json:"dbSizeInUse,string"`
	Leader  ID       `json:"leader"` // 0 if it knows none
	Index   uint64   `json:"raftIndex,string"`
	Applied uint64   `json:"raftAppliedIndex,string"`
	Learner bool     `json:"isLearner"`
	Errors  []string `json:"errors"`
}

// Status asks one member how it is. It answers without a quorum.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, "maintenance/status", struct{}{}, &s)
	return s, err
}

// AddLearner adds a member without a vote, which is to start and listen at the peer URL.
func (c *Client) AddLearner(ctx context.Context, peer string) (Member, error) {
	var out struct{ Member Member }
	err := c.call(ctx, "cluster/member/add", map[string]any{"peerURLs": []string{peer}, "isLearner": true}, &out)
	return out.Member, err
}

// Promote gives a learner a vote. FailedPrecondition: it is not in step yet, or votes already.
func (c *Client) Promote(ctx context.Context, id ID) error {
	return c.call(ctx, "cluster/member/promote", map[string]ID{"ID": id}, nil)
}

// Remove removes a member for good.
func (c *Client) Remove(ctx context.Context, id ID) error {
	return c.call(ctx, "cluster/member/remove", map[string]ID{"ID": id}, nil)
}

// Update says at which peer URL a member is from now on.
func (c *Client) Update(ctx context.Context, id ID, peer string) error {
	return c.call(ctx, "cluster/member/update", map[string]any{"ID": id, "peerURLs": []string{peer}}, nil)
}

// MoveLeader makes another member the leader. Only the leader of now can be asked to.
func (c *Client) MoveLeader(ctx context.Context, to ID) error {
	return c.call(ctx, "maintenance/transfer-leadership", map[string]ID{"targetID": to}, nil)
}

// Defragment gives the space that one member's file does not use back to the disk. The member answers nothing meanwhile.
func (c *Client) Defragment(ctx context.Context) error {
	return c.call(ctx, "maintenance/defragment", struct{}{}, nil)
}
