//go:build e2e

package bootstrap_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
	"github.com/provisionhq/provision/templates"
	gossh "golang.org/x/crypto/ssh"
)

// TestMain lets the test's program be a part of the machines that it makes.
func TestMain(m *testing.M) {
	if ran, code := keeper.Part(os.Args, local.Clear); ran {
		syscall.Exit(code)
	}
	if ran, code := local.Machine(os.Args); ran {
		syscall.Exit(code)
	}
	os.Exit(m.Run())
}

// A rig is a cluster's control plane on machines of provider local, made with bootstrap's functions alone, and one worker
// through whose node agent its API is probed. No kubelet joins: this is about etcd and the API servers.
type rig struct {
	t        *testing.T
	ctx      context.Context
	p        *local.Provider
	owner    providers.Owner
	network  providers.ID
	keys     *ssh.Keys
	public   string
	auth     *pki.Authorities
	programs *bootstrap.Programs
	uid      string
	vip      netip.Addr

	mu    sync.Mutex
	nodes map[string]*rigNode
}

type rigNode struct {
	machine providers.Machine
	host    ssh.Host
	node    templates.Node
	moved   netip.Addr // where the node is now, if not where its machine was made
}

func (n *rigNode) address() netip.Addr {
	if n.moved.IsValid() {
		return n.moved
	}
	return n.machine.Private
}

func newEtcdRig(t *testing.T) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("machines of provider local need root")
	}
	bin := os.Getenv("PROVISION_BIN")
	if bin == "" {
		bin = "../bin"
	}
	programs, err := bootstrap.LoadPrograms(filepath.Join(bin, "node-agent"), filepath.Join(bin, "bundle-linux-amd64.tar.zst"))
	if err != nil {
		t.Fatalf("%v: run make build", err)
	}
	folder := fmt.Sprintf("/var/lib/provision/etcd-e2e-%d", os.Getpid())
	keeper.Keep(t, keeper.Kept{Folder: folder}, local.Clear)
	r := &rig{t: t, ctx: context.Background(), p: local.New(local.Options{Folder: folder}), owner: providers.Owner(fmt.Sprintf("etcd-%d", os.Getpid())),
		programs: programs, uid: fmt.Sprint(time.Now().UnixNano()), nodes: map[string]*rigNode{}}
	private, public := newKeyPEM(t)
	r.public = public
	if r.keys, err = ssh.NewKeys(ssh.KeyOptions{PEM: [][]byte{private}}); err != nil {
		t.Fatal(err)
	}
	if r.auth, err = pki.NewAuthorities(string(r.owner), time.Now()); err != nil {
		t.Fatal(err)
	}
	n, err := r.p.Networks().Create(r.ctx, providers.NetworkSpec{Owner: r.owner, Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	r.network = n.ID
	t.Cleanup(func() {
		if t.Failed() {
			r.diagnose()
		}
		for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
			r.lose(name)
		}
		if err := r.p.Networks().Delete(r.ctx, n.ID); err != nil {
			t.Errorf("remove the network: %v", err)
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Errorf("remove the folder: %v", err)
		}
	})
	return r
}

// newKeyPEM makes a key to log in with: the private half in PEM, the public one as authorized_keys has it.
func newKeyPEM(t *testing.T) (private []byte, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	line, err := gossh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), string(gossh.MarshalAuthorizedKey(line))
}

// make makes machines, all at once.
func (r *rig) make(names ...string) {
	r.t.Helper()
	r.each(names, func(name string) error {
		m, err := r.p.Machines().Create(r.ctx, providers.MachineSpec{Owner: r.owner, Name: name, Network: r.network, Type: "small", AuthorizedKeys: []string{r.public}})
		if err != nil {
			return err
		}
		h, err := ssh.Dial(r.ctx, ssh.Options{Name: name, Addr: m.SSH.String(), Keys: r.keys, HostKeys: m.HostKeys, Timeout: time.Minute, Redial: 10 * time.Second})
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.nodes[name] = &rigNode{machine: m, host: h}
		return nil
	})
}

// each does something for each name, all at once.
func (r *rig) each(names []string, f func(name string) error) {
	r.t.Helper()
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { errs[i] = f(name) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			r.t.Fatalf("%s: %v", names[i], err)
		}
	}
}

// lose takes a machine away, without asking anybody on it.
func (r *rig) lose(name string) {
	r.t.Helper()
	r.mu.Lock()
	n := r.nodes[name]
	delete(r.nodes, name)
	r.mu.Unlock()
	if err := r.p.Machines().Delete(r.ctx, n.machine.ID); err != nil {
		r.t.Errorf("remove %s: %v", name, err)
	}
	n.host.Close()
}

// config is what a node shall be, in a control plane of those names.
func (r *rig) config(name string, controlPlane []string) templates.Node {
	n := templates.Node{
		Schema: templates.NodeSchema, Cluster: string(r.owner), UID: r.uid, Name: name, Role: templates.Worker,
		Address: r.nodes[name].address(), Kubernetes: "1.37.2", Bundle: r.programs.Manifest.ID,
		Pods: netip.MustParsePrefix("10.244.0.0/16"), Services: netip.MustParsePrefix("10.96.0.0/16"), DNS: netip.MustParseAddr("10.96.0.10"),
		Domain: "cluster.local", Backend: "vxlan", NodeCIDR: 24,
	}
	for _, cp := range controlPlane {
		a := r.nodes[cp].address()
		n.Etcd = append(n.Etcd, templates.EtcdMember{Name: cp, Address: a})
		n.Endpoints = append(n.Endpoints, net.JoinHostPort(a.String(), "6443"))
		if cp == name {
			n.Role, n.VIP = templates.ControlPlane, r.vip
		}
	}
	slices.Sort(n.Endpoints)
	return n
}

// install makes nodes of machines, or gives nodes another file.
func (r *rig) install(names, controlPlane []string, joinEtcd bool) {
	r.t.Helper()
	r.each(names, func(name string) error {
		n := r.nodes[name]
		n.node = r.config(name, controlPlane)
		content := r.auth.NodeFiles()
		if n.node.Role == templates.ControlPlane {
			var err error
			if content, err = r.auth.Files(); err != nil {
				return err
			}
		}
		t := &bootstrap.Target{Host: n.host, Node: n.node, Programs: r.programs, JoinEtcd: joinEtcd}
		for _, path := range slices.Sorted(maps.Keys(content)) {
			t.Files = append(t.Files, templates.File{Path: path, Mode: "0600", Content: content[path]})
		}
		return bootstrap.Run(r.ctx, t, bootstrap.Install(), nil)
	})
}

// serve waits until the nodes' API servers answer.
func (r *rig) serve(names ...string) {
	r.t.Helper()
	r.each(names, func(name string) error {
		n := r.nodes[name]
		return bootstrap.Run(r.ctx, &bootstrap.Target{Host: n.host, Node: n.node, Wait: 2 * time.Minute}, bootstrap.Serve(), nil)
	})
}

func (r *rig) host(name string) ssh.Host { return r.nodes[name].host }

// status asks a node how it is.
func (r *rig) status(name string) templates.Status {
	r.t.Helper()
	s, err := bootstrap.Status(r.ctx, r.host(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// members returns etcd's members as a node sees them, and fails unless they are those, voting and healthy.
func (r *rig) members(from string, want ...string) templates.EtcdReport {
	r.t.Helper()
	var last string
	for range 40 {
		rep, err := bootstrap.EtcdMembers(r.ctx, r.host(from))
		if err != nil {
			r.t.Fatal(err)
		}
		var have []string
		for _, m := range rep.Members {
			if m.Healthy && !m.Learner {
				have = append(have, m.Name)
			}
		}
		if rep.Quorum && slices.Equal(have, want) && len(rep.Members) == len(want) {
			return rep
		}
		last = fmt.Sprintf("%+v", rep)
		time.Sleep(250 * time.Millisecond)
	}
	r.t.Fatalf("members seen from %s are not %v: %s", from, want, last)
	return templates.EtcdReport{}
}

// on runs a command on a node.
func (r *rig) on(name, line string) string {
	r.t.Helper()
	res, err := r.host(name).Run(r.ctx, ssh.Command{Line: line})
	if err != nil {
		r.t.Fatalf("%s on %s: %v", line, name, err)
	}
	return string(res.Stdout)
}

// eventually waits until ok says "".
func (r *rig) eventually(what string, limit time.Duration, ok func() string) time.Duration {
	r.t.Helper()
	begun := time.Now()
	for {
		why := ok()
		if why == "" {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			r.t.Fatalf("%s: not within %v: %s", what, limit, why)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// pids returns the processes of a node by name.
func (r *rig) pids(name string) map[string]int {
	r.t.Helper()
	pids := map[string]int{}
	for _, p := range r.status(name).Processes {
		pids[p.Name] = p.PID
	}
	return pids
}

// client returns a client of the API that connects from a node, to an address as seen there.
func (r *rig) client(from, address string) *http.Client {
	r.t.Helper()
	// Nobody has applied the roles that make admins of people here.
	pair, err := r.auth.Cluster.Issue(pki.Leaf{CommonName: "test", Organizations: []string{"system:masters"}, Usage: pki.Client, Life: time.Hour}, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.auth.Cluster.CertPEM())
	h := r.host(from)
	return &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return h.Dial(ctx, "tcp", address) },
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots},
		DisableKeepAlives: true,
	}}
}

// serial returns which certificate a program on a node shows that listens on a port of it; "" if it shows none.
func (r *rig) serial(name, port string) string {
	r.t.Helper()
	address := r.nodes[name].address().String()
	if port != "2380" {
		address = "127.0.0.1"
	}
	pair, err := r.auth.Etcd.Issue(pki.Leaf{CommonName: "test", Usage: pki.Client, Life: time.Hour}, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := r.host(name).Dial(r.ctx, "tcp", net.JoinHostPort(address, port))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	// Whose certificate it is does not matter here, only which.
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})
	if c.HandshakeContext(r.ctx) != nil {
		return ""
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// A probe asks the API again and again, ten times a second, and notes what failed.
type probe struct {
	stop chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	asked    int
	failures []time.Time
	last     time.Time // success
	longest  time.Duration
	why      string
}

// watch probes an address as seen from a node until the probe is ended.
func (r *rig) watch(from, address string) *probe {
	c := r.client(from, address)
	host, _, _ := net.SplitHostPort(address)
	p := &probe{stop: make(chan struct{}), last: time.Now()}
	p.done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.done.Go(func() { p.note(get(c, "https://"+host+"/readyz")) })
			}
		}
	})
	return p
}

func get(c *http.Client, url string) error {
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, b)
	}
	return nil
}

func (p *probe) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if err != nil {
		p.failures = append(p.failures, time.Now())
		p.why = err.Error()
		return
	}
	p.longest = max(p.longest, time.Since(p.last))
	p.last = time.Now()
}

// end returns what the probe has seen: how many failed and the longest time without an answer.
func (p *probe) end() (failed int, gap time.Duration, summary string) {
	close(p.stop)
	p.done.Wait()
	gap = max(p.longest, time.Since(p.last))
	return len(p.failures), gap, fmt.Sprintf("%d probes, %d failed, longest gap %.1fs %s", p.asked, len(p.failures), gap.Seconds(), p.why)
}

// write makes objects at the API until ended, and returns the names of those that were acknowledged.
func (r *rig) write(from, address string) func() []string {
	c := r.client(from, address)
	host, _, _ := net.SplitHostPort(address)
	stop, done := make(chan struct{}), make(chan []string)
	go func() {
		var acked []string
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- acked
				return
			default:
			}
			name := fmt.Sprintf("write-%06d", i)
			body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"i":"%d"}}`, name, i)
			res, err := c.Post("https://"+host+"/api/v1/namespaces/default/configmaps", "application/json", strings.NewReader(body))
			if err == nil {
				if res.StatusCode == http.StatusCreated {
					acked = append(acked, name)
				}
				res.Body.Close()
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return func() []string { close(stop); return <-done }
}

// lost returns which of the acknowledged objects the API does not have.
func (r *rig) lost(from, address string, acked []string) []string {
	r.t.Helper()
	c := r.client(from, address)
	c.Timeout = 20 * time.Second
	host, _, _ := net.SplitHostPort(address)
	res, err := c.Get("https://" + host + "/api/v1/namespaces/default/configmaps")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		r.t.Fatal(err)
	}
	have := map[string]bool{}
	for _, i := range list.Items {
		have[i.Metadata.Name] = true
	}
	return slices.DeleteFunc(slices.Clone(acked), func(n string) bool { return have[n] })
}

// diagnose shows what the nodes say, for a test that failed.
func (r *rig) diagnose() {
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
		res, err := r.host(name).Run(ctx, ssh.Command{Line: templates.AgentPath + " status; " + templates.AgentPath + " etcd members; tail -n 15 /var/log/provision/etcd.log; tail -n 25 /var/log/provision/node-agent.log; ls /var/log/provision; ip -4 addr show"})
		r.t.Logf("%s: %v\n%.6000s%.2000s", name, err, res.Stdout, res.Stderr)
		cancel()
	}
}
