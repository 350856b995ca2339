package membership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

// retry tries again while etcd refuses for a reason that passes.
func (c Cluster) retry(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		err := f()
		if err == nil || !passing(err) {
			return err
		}
		c.say("etcd says %v: trying again", err)
		if !sleep(ctx, 5*pause) {
			return err
		}
	}
}

// passing reports whether etcd may say otherwise soon.
func passing(err error) bool {
	return errors.Is(err, errNoQuorum) || etcdapi.Is(err, etcdapi.Unavailable) ||
		etcdapi.Is(err, etcdapi.FailedPrecondition) && strings.Contains(err.Error(), "in sync with leader")
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// label names a member for people.
func label(m templates.EtcdMemberInfo) string {
	if m.Name != "" {
		return m.Name
	}
	return fmt.Sprintf("the member at %s", m.Address)
}

// address returns where a member's peers reach it.
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

// client returns where a member's clients reach it. What it says of itself may be old, its peers' address is agreed on.
func client(m etcdapi.Member) string { return etcd.Client(address(m)) }
