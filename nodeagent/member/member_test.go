package member

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/templates"
)

// A fleet is a cluster's etcd as tests script it, by endpoint.
type fleet struct {
	mu      sync.Mutex
	status  map[string]*etcdapi.Status
	list    *etcdapi.List
	updates []string
}

func (f *fleet) connect(endpoints []string) (API, error) { return &call{f, endpoints}, nil }

type call struct {
	f         *fleet
	endpoints []string
}

func (c *call) Status(context.Context) (etcdapi.Status, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if s := c.f.status[c.endpoints[0]]; s != nil {
		return *s, nil
	}
	return etcdapi.Status{}, errors.New("connection refused")
}

func (c *call) Members(ctx context.Context, _ bool) (etcdapi.List, error) {
	c.f.mu.Lock()
	l := c.f.list
	c.f.mu.Unlock()
	if l == nil {
		<-ctx.Done() // a machine that is off does not even refuse
		return etcdapi.List{}, ctx.Err()
	}
	return *l, nil
}

func (c *call) Update(_ context.Context, id etcdapi.ID, peer string) error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.list == nil {
		return errors.New("no leader")
	}
	c.f.updates = append(c.f.updates, id.String()+" "+peer)
	l := *c.f.list
	l.Members = slices.Clone(l.Members)
	for i, m := range l.Members {
		if m.ID == id {
			l.Members[i].Peers = []string{peer}
		}
	}
	c.f.list = &l
	return nil
}

func (f *fleet) set(list *etcdapi.List, local *etcdapi.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.status = list, map[string]*etcdapi.Status{etcd.ClientURL: local}
}

func write(t *testing.T, root, path string, b []byte) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wal(t *testing.T, root string) { write(t, root, etcd.DataDir+"/member/wal/0-0.wal", nil) }

// TestLife follows a member from a bare node, over being taken in and getting a vote, to being removed.
func TestLife(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{}
		two := listOf(7, mem(1, "cp-0", "10.0.0.1"), mem(2, "cp-1", "10.0.0.2"))
		f.set(two, nil)
		k := New(Options{Root: root, Connect: f.connect})
		if k.Hold() == "" || k.Serve() == "" {
			t.Fatal("etcd may start before anybody has looked")
		}
		ctx := t.Context()
		k.Configure(ctx, testNode("cp-2", "10.0.0.3"))
		if s := k.Status(); s.State != templates.EtcdJoining || !strings.Contains(k.Hold(), "take this node in") {
			t.Fatalf("bare: %+v, %q", s, k.Hold())
		}
		f.set(listOf(7, append(slices.Clone(two.Members), mem(3, "", "10.0.0.3"))...), nil)
		k.Look(ctx)
		if k.Hold() != "" || !slices.Contains(k.Args(), "--initial-cluster-state=existing") || k.Serve() == "" {
			t.Fatalf("taken in: hold %q, args %q, serve %q", k.Hold(), k.Args(), k.Serve())
		}
		wal(t, root)
		three := listOf(7, append(slices.Clone(two.Members), mem(3, "cp-2", "10.0.0.3"))...)
		f.set(three, status(7, 3, 1, true))
		k.Look(ctx)
		if s := k.Status(); s.State != templates.EtcdLearner || s.Member != "3" || k.Serve() != "etcd to have a vote" {
			t.Fatalf("learner: %+v, serve %q", s, k.Serve())
		}
		f.set(three, status(7, 3, 1, false))
		k.Look(ctx)
		if s := k.Status(); s.State != templates.EtcdVoter || k.Serve() != "" {
			t.Fatalf("voter: %+v, serve %q", s, k.Serve())
		}
		f.set(two, nil) // etcd ends when it is removed
		k.Look(ctx)
		if s := k.Status(); s.State != templates.EtcdRemoved || s.Problem == "" || k.Hold() == "" {
			t.Fatalf("removed: %+v, hold %q", s, k.Hold())
		}
		again := New(Options{Root: root, Connect: f.connect}) // the node reboots
		again.Configure(ctx, testNode("cp-2", "10.0.0.3"))
		if again.Status().State != templates.EtcdRemoved {
			t.Errorf("after a reboot: %+v", again.Status())
		}
		f.set(nil, nil) // and nobody else is there
		again.Look(ctx)
		if again.Hold() != "" || again.Serve() != "" {
			t.Errorf("all alone after a reboot: hold %q, serve %q", again.Hold(), again.Serve())
		}
	})
}

// TestFounding sees that a node founds once: not again when its data is gone.
func TestFounding(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := testNode("cp-0", "10.0.0.1")
		order, err := templates.RenderFounding(n.Etcd)
		if err != nil {
			t.Fatal(err)
		}
		write(t, root, order.Path, order.Content)
		f := &fleet{}
		k := New(Options{Root: root, Connect: f.connect})
		k.Configure(t.Context(), n)
		if k.Hold() != "" || !slices.Contains(k.Args(), "--initial-cluster-state=new") || k.Serve() != "" {
			t.Fatalf("hold %q, args %q, serve %q", k.Hold(), k.Args(), k.Serve())
		}
		wal(t, root)
		f.set(nil, status(7, 1, 0, false))
		k.Look(t.Context())
		if _, err := os.Stat(filepath.Join(root, templates.FoundingPath)); err != nil {
			t.Fatalf("the order is gone before there was a quorum: %v", err)
		}
		f.set(listOf(7, mem(1, "cp-0", "10.0.0.1")), status(7, 1, 1, false))
		k.Look(t.Context())
		if _, err := os.Stat(filepath.Join(root, templates.FoundingPath)); err == nil {
			t.Fatal("the order is still there after it was carried out")
		}
		if err := os.RemoveAll(filepath.Join(root, etcd.DataDir)); err != nil {
			t.Fatal(err)
		}
		f.set(nil, nil)
		k.Look(t.Context())
		if s := k.Status(); s.State != templates.EtcdLost || k.Hold() == "" {
			t.Errorf("data gone: %+v, hold %q", s, k.Hold())
		}
	})
}

// TestMove sees that the cluster is told a node's new address before etcd is started with it, and later if nobody answered.
func TestMove(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{}
		wal(t, root)
		three := listOf(7, mem(1, "cp-0", "10.0.0.1"), mem(2, "cp-1", "10.0.0.2"), mem(3, "cp-2", "10.0.0.3"))
		f.set(three, status(7, 3, 1, false))
		k := New(Options{Root: root, Connect: f.connect})
		k.Configure(t.Context(), testNode("cp-2", "10.0.0.3"))
		if len(f.updates) > 0 {
			t.Fatalf("told %q for nothing", f.updates)
		}
		k.Configure(t.Context(), testNode("cp-2", "10.0.0.33"))
		if want := []string{"3 https://10.0.0.33:2380"}; !slices.Equal(f.updates, want) {
			t.Fatalf("told %q, want %q", f.updates, want)
		}
		f.set(nil, nil)
		k.Configure(t.Context(), testNode("cp-2", "10.0.0.34"))
		if len(f.updates) != 1 {
			t.Fatalf("told %q and nobody was there", f.updates)
		}
		f.set(three, nil)
		k.Look(t.Context())
		if len(f.updates) != 2 || f.updates[1] != "3 https://10.0.0.34:2380" {
			t.Errorf("told %q when somebody was there again", f.updates)
		}
	})
}

// TestForce sees that the order to be a cluster of one is carried out once.
func TestForce(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{}
		wal(t, root)
		f.set(nil, nil)
		k := New(Options{Root: root, Connect: f.connect})
		write(t, root, ForceFile, []byte("restore\n"))
		k.Configure(t.Context(), testNode("cp-2", "10.0.0.3"))
		if !slices.Equal(k.Args(), []string{"--force-new-cluster"}) || k.Hold() != "" {
			t.Fatalf("args %q, hold %q", k.Args(), k.Hold())
		}
		f.set(listOf(7, mem(3, "cp-2", "10.0.0.3")), status(7, 3, 3, false))
		k.Look(t.Context())
		k.Look(t.Context())
		if len(k.Args()) > 0 || k.Status().State != templates.EtcdVoter {
			t.Errorf("afterwards: args %q, %+v", k.Args(), k.Status())
		}
	})
}
