package nodeagent

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"reflect"
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
	node templates.Node
	link string
	wish wish
	stop func() // and waits
	err  error

	secrets [sha256.Size]byte // of the routers' passwords
	routers func() []templates.BGPPeerStatus
}

// A wish is what wants the address: a lease, or a presence.
type wish interface {
	Run(context.Context)
	State() announcer.State
}

// follow makes the node announce the address that its file names. What works for the same address already goes on.
func (a *agent) follow(ctx context.Context, n templates.Node) {
	v := &a.vip
	v.mu.Lock()
	defer v.mu.Unlock()
	if n.Role != templates.ControlPlane {
		n.VIP = netip.Addr{}
	}
	if n.BGP == nil || n.Role != templates.ControlPlane {
		_ = os.Remove(templates.BGPPath) // of no use any more, and secret
	}
	if n.Cloud == nil || n.Role != templates.ControlPlane {
		_ = os.Remove(templates.CloudPath) // likewise
	}
	next := announcement{node: n}
	if b, err := os.ReadFile(templates.BGPPath); err == nil {
		next.secrets = sha256.Sum256(b)
	}
	if v.now.err == nil && v.now.like(next) {
		return
	}
	v.now.end()
	v.now = next
	if n.VIP.IsValid() {
		v.now.err = a.announce(ctx, &v.now)
	}
}

// like says whether what is announced, where, and to whom is the same.
func (w *announcement) like(o announcement) bool {
	a, b := w.node, o.node
	return a.VIP == b.VIP && a.VIPInterface == b.VIPInterface && a.Address == b.Address && a.Name == b.Name &&
		reflect.DeepEqual(a.BGP, b.BGP) && w.secrets == o.secrets
}

// end gives the address back, if it is here.
func (w *announcement) end() {
	if w.stop != nil {
		w.stop()
	}
}

// announce starts to want the address.
func (a *agent) announce(ctx context.Context, v *announcement) error {
	begin, after := a.elect, func() {}
	if v.node.BGP != nil {
		begin = a.present
	}
	stop, err := begin(ctx, v)
	if err != nil {
		return err
	}
	if stop != nil {
		after = stop
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { v.wish.Run(ctx); close(ended) }()
	v.stop = func() { cancel(); <-ended; after() }
	return nil
}

// ownAPI asks this node's API server whether it is well.
func ownAPI() func(context.Context) error {
	return controlplane.HTTPReady(fmt.Sprintf("https://127.0.0.1:%d/readyz", templates.APIPort), pki.ClusterCA.File())
}

// elect makes one of all nodes have the address, and the neighbours on the link know it.
func (a *agent) elect(_ context.Context, v *announcement) (stop func(), err error) {
	n := v.node
	if v.link = n.VIPInterface; v.link == "" {
		link, err := announcer.LinkOf(n.Address)
		if err != nil {
			return nil, err
		}
		v.link = link
	}
	store, err := etcdClient()
	if err != nil {
		return nil, err
	}
	on := announcer.New(v.link, a.log)
	v.wish = announcer.NewLease(announcer.LeaseOptions{
		// Its own member is the nearest: if that cannot answer, this node's API server cannot either.
		Store: store.At(etcd.ClientURL), Key: vipKey + n.VIP.String(), Self: n.Name, Log: a.log, Tell: a.notify, Well: ownAPI(),
		Hold: func() error { return on.Hold(n.VIP) },
		Drop: func() error { return on.Drop(n.VIP) },
	})
	return nil, nil
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
	st := v.now.wish.State()
	s.Here, s.Holder = st.Here, st.Holder
	if v.now.routers != nil {
		s.Routers = v.now.routers()
	}
	if !s.Here {
		s.Problem = st.Problem
	}
	return s
}
