package nodeagent

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/announcer"
	"github.com/provisionhq/provision/templates"
)

// vipKey is where the lease of the virtual address is kept: in etcd itself, beside what the API servers keep there, so that
// it needs none of them.
const vipKey = "/provision/vip/"

// A vip is the cluster's virtual address on this node.
type vip struct {
	mu  sync.Mutex
	now announcement
}

// An announcement is one virtual address as it is announced for a node.
type announcement struct {
	node  templates.Node
	link  string
	lease *announcer.Lease
	stop  func() // and waits
	err   error
}

// follow makes the node announce the address that its file names. What works for the same address already goes on.
func (a *agent) follow(ctx context.Context, n templates.Node) {
	v := &a.vip
	v.mu.Lock()
	defer v.mu.Unlock()
	if n.Role != templates.ControlPlane {
		n.VIP = netip.Addr{}
	}
	was := v.now.node
	if v.now.err == nil && was.VIP == n.VIP && was.VIPInterface == n.VIPInterface && was.Address == n.Address && was.Name == n.Name {
		return
	}
	v.now.end()
	v.now = announcement{node: n}
	if n.VIP.IsValid() {
		v.now.err = a.announce(ctx, &v.now)
	}
}

// end gives the address back, if it is here.
func (w *announcement) end() {
	if w.stop != nil {
		w.stop()
	}
}

// announce starts to want the lease.
func (a *agent) announce(ctx context.Context, v *announcement) error {
	n := v.node
	if v.link = n.VIPInterface; v.link == "" {
		link, err := announcer.LinkOf(n.Address)
		if err != nil {
			return err
		}
		v.link = link
	}
	store, err := etcdClient()
	if err != nil {
		return err
	}
	on := announcer.New(v.link, a.log)
	v.lease = announcer.NewLease(announcer.LeaseOptions{
		// Its own member is the nearest: if that cannot answer, this node's API server cannot either.
		Store: store.At(etcd.ClientURL), Key: vipKey + n.VIP.String(), Self: n.Name, Log: a.log, Tell: a.notify,
		Well: controlplane.HTTPReady(fmt.Sprintf("https://127.0.0.1:%d/readyz", templates.APIPort), pki.ClusterCA.File()),
		Hold: func() error { return on.Hold(n.VIP) },
		Drop: func() error { return on.Drop(n.VIP) },
	})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { v.lease.Run(ctx); close(ended) }()
	v.stop = func() { cancel(); <-ended }
	return nil
}

// leave gives the address back, if it is here.
func (v *vip) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now.end()
	v.now = announcement{}
}

// status returns how the address is; nil if there is none.
func (v *vip) status() *templates.VIPStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.now.node.VIP.IsValid() {
		return nil
	}
	s := &templates.VIPStatus{Address: v.now.node.VIP, Interface: v.now.link}
	if v.now.err != nil {
		s.Problem = v.now.err.Error()
		return s
	}
	st := v.now.lease.State()
	s.Here, s.Holder = st.Here, st.Holder
	if !s.Here {
		s.Problem = st.Problem
	}
	return s
}
