package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// The functions of this file work on a cluster's etcd through the node agent of any of its control-plane nodes that is well.
// A failure is an *ssh.ExitError with the agent's words. All may be repeated.

// EtcdMembers returns the members of etcd as the node sees them. Without a quorum the report says so, and holds what the
// node's own member remembers.
func EtcdMembers(ctx context.Context, h ssh.Host) (templates.EtcdReport, error) {
	var r templates.EtcdReport
	err := etcd(ctx, h, &r, nil, "members", "--json")
	return r, err
}

// EtcdAdd takes a node into etcd as a learner, which has no vote yet, and returns the new member's ID. The node's etcd
// starts when its agent sees that; it may be installed before or after. A member that is there already, at that address, is
// left as it is. Another member of that name or address is an error: it is to be removed first.
func EtcdAdd(ctx context.Context, h ssh.Host, name string, address netip.Addr) (string, error) {
	var m templates.EtcdMemberInfo
	err := etcd(ctx, h, &m, nil, "add", name, address.String())
	return m.ID, err
}

// EtcdPromote gives a learner a vote as soon as it is in step with the leader, which it waits for. Lines tell how far it is.
// A member that votes already is left as it is. which is a name, an ID or an address.
func EtcdPromote(ctx context.Context, h ssh.Host, which string, limit time.Duration, lines func(string)) error {
	return etcd(ctx, h, nil, lines, "promote", which, "--timeout", limit.String())
}

// EtcdRemove takes a member out of etcd, by name, ID or address. It refuses what would cost the quorum. If it is the leader
// it gives that away first. A member that is not there is no error.
func EtcdRemove(ctx context.Context, h ssh.Host, which string) error {
	return etcd(ctx, h, nil, nil, "remove", which)
}

// EtcdUpdate changes the address of a member, named by name, ID or old address. The node agent does so itself when its
// node's address changes; this is for one whose agent cannot.
func EtcdUpdate(ctx context.Context, h ssh.Host, which string, address netip.Addr) error {
	return etcd(ctx, h, nil, nil, "update", which, address.String())
}

// EtcdMoveLeader makes another member the leader: to, or if that is "" any healthy voter but the present leader if that is
// from. A cluster whose leader is not from is left alone when from is given.
func EtcdMoveLeader(ctx context.Context, h ssh.Host, from, to string) error {
	return etcd(ctx, h, nil, nil, "move-leader", "--from", from, "--to", to)
}

// EtcdSnapshot writes a copy of etcd's data to the node's disk, checks it, and removes all but the newest few.
func EtcdSnapshot(ctx context.Context, h ssh.Host) (templates.EtcdSnapshot, error) {
	var s templates.EtcdSnapshot
	err := etcd(ctx, h, &s, nil, "snapshot")
	return s, err
}

// EtcdWipe removes the data of a member that was removed from its cluster, is of another cluster or has lost its data, so
// that its node can join again. It refuses a member that is in order. The data is put aside, not deleted.
func EtcdWipe(ctx context.Context, h ssh.Host) error {
	return etcd(ctx, h, nil, nil, "wipe")
}

// EtcdRestore makes the node's member a new cluster of one: with its own data if snapshot is "", or with that of a snapshot
// on the node. It is for a cluster that has lost its quorum for good: what only the others held is lost, and they must never
// come back. Lines tell how far it is.
func EtcdRestore(ctx context.Context, h ssh.Host, snapshot string, lines func(string)) error {
	args := []string{"restore", "--lose-what-only-others-hold"}
	if snapshot != "" {
		args = append(args, "--snapshot", snapshot)
	}
	return etcd(ctx, h, nil, lines, args...)
}

// etcd runs one of the agent's commands about etcd, and reads what it prints into out.
func etcd(ctx context.Context, h ssh.Host, out any, lines func(string), args ...string) error {
	res, err := h.Run(ctx, ssh.Command{Line: ssh.Quote(append([]string{templates.AgentPath, "etcd"}, args...)...), Lines: lines})
	if err != nil {
		return named(err, "node-agent etcd "+args[0])
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(res.Stdout, out); err != nil {
		return fmt.Errorf("node-agent etcd %s: unexpected answer: %w", args[0], err)
	}
	return nil
}
