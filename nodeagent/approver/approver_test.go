package approver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/api"
)

// A cluster is the part of Kubernetes' API that the approver uses, over TLS with client certificates.
type cluster struct {
	mu       sync.Mutex
	requests map[string]Request
	nodes    nodeList
	tokens   map[string]bool
	approved map[string]string // by request: reason
	watchers []chan Request
	conflict int // answers to approvals that are conflicts
}

// serveCluster returns the cluster and a client of it.
func serveCluster(t *testing.T) (*cluster, *api.Client) {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	ca, err := pki.NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Issue(pki.Leaf{CommonName: "api", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Usage: pki.Server}, now)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := ca.Issue(pki.Leaf{CommonName: "provision:node-agent:x", Usage: pki.Client}, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"ca.crt": ca.CertPEM(), "a.crt": agent.Cert, "a.key": agent.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := tls.X509KeyPair(server.Cert, server.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	c := &cluster{requests: map[string]Request{}, tokens: map[string]bool{}, approved: map[string]string{}}
	s := httptest.NewUnstartedServer(c)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	t.Cleanup(s.CloseClientConnections)
	client, err := api.New(s.URL, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"))
	if err != nil {
		t.Fatal(err)
	}
	return c, client
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case r.Method == "GET" && path == base && r.URL.Query().Get("watch") != "":
		c.watch(w, r)
	case r.Method == "GET" && path == base:
		c.reply(w, func() any {
			items := []Request{}
			for _, q := range c.requests {
				items = append(items, q)
			}
			return map[string]any{"metadata": map[string]string{"resourceVersion": "7"}, "items": items}
		})
	case r.Method == "PUT" && strings.HasSuffix(path, "/approval"):
		c.approve(w, r)
	case r.Method == "GET" && path == "/api/v1/nodes":
		c.reply(w, func() any { return c.nodes })
	case r.Method == "GET" && strings.HasPrefix(path, "/api/v1/nodes/"):
		c.reply(w, func() any {
			for _, n := range c.nodes.Items {
				if strings.HasSuffix(path, "/"+n.Metadata.Name) {
					return n
				}
			}
			return nil
		})
	case r.Method == "DELETE":
		c.reply(w, func() any {
			name := path[strings.LastIndex(path, "-")+1:]
			if !c.tokens[name] {
				return nil
			}
			delete(c.tokens, name)
			return map[string]string{}
		})
	default:
		http.Error(w, "{}", http.StatusForbidden)
	}
}

// reply answers with what f returns under the lock; nil is 404.
func (c *cluster) reply(w http.ResponseWriter, f func() any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := f()
	if v == nil {
		w.WriteHeader(http.StatusNotFound)
		v = map[string]string{"message": "not found"}
	}
	_ = json.NewEncoder(w).Encode(v)
}

func (c *cluster) watch(w http.ResponseWriter, r *http.Request) {
	events := make(chan Request, 10)
	c.mu.Lock()
	c.watchers = append(c.watchers, events)
	c.mu.Unlock()
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case q, ok := <-events:
			if !ok {
				return // the connection is cut
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": q})
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func (c *cluster) approve(w http.ResponseWriter, r *http.Request) {
	var got struct {
		Request
		Kind string `json:"kind"`
	}
	b, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conflict > 0 {
		c.conflict--
		w.WriteHeader(http.StatusConflict)
		return
	}
	if json.Unmarshal(b, &got) != nil || got.Kind == "" || len(got.Status.Conditions) != 1 || len(got.Spec.Request) == 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.approved[got.Metadata.Name] = got.Status.Conditions[0].Type
}

// add puts a request into the cluster and tells the watchers.
func (c *cluster) add(r Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[r.Metadata.Name] = r
	for _, w := range c.watchers {
		w <- r
	}
}

func (c *cluster) cutWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watchers {
		close(w)
	}
	c.watchers = nil
}

func (c *cluster) locked(f func() bool) func() bool {
	return func() bool { c.mu.Lock(); defer c.mu.Unlock(); return f() }
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not %s in time", what)
}

func run(t *testing.T, client *api.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&Approver{API: client, Log: slog.New(slog.DiscardHandler), Forbidden: Ranges{netip.MustParsePrefix("10.244.0.0/16")}}).Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func TestApprovesOnlyWhatIsRight(t *testing.T) {
	c, client := serveCluster(t)
	c.nodes.Items = []node{machine("w-0", "10.0.0.2"), machine("w-1", "10.0.0.3")}
	named := func(name string, r Request) Request { r.Metadata.Name = name; return r }
	c.add(named("before", ask(t, "system:node:w-0", nil)))
	run(t, client)
	await(t, "approved what was there before", c.locked(func() bool { return c.approved["before"] == "Approved" }))
	c.add(named("bad", ask(t, "system:node:w-0", func(q *x509.CertificateRequest, _ *Request) { q.DNSNames = []string{"w-1"} })))
	c.add(named("good", ask(t, "system:node:w-0", nil)))
	await(t, "approved what came", c.locked(func() bool { return c.approved["good"] == "Approved" }))
	c.cutWatches()
	c.add(named("meanwhile", ask(t, "system:node:w-0", nil)))
	await(t, "approved what came while nobody watched", c.locked(func() bool { return c.approved["meanwhile"] == "Approved" }))
	c.add(named("early", ask(t, "system:node:w-2", func(q *x509.CertificateRequest, _ *Request) {
		q.DNSNames, q.IPAddresses = []string{"w-2"}, nil
	})))
	time.Sleep(50 * time.Millisecond)
	c.mu.Lock()
	c.nodes.Items = append(c.nodes.Items, machine("w-2"))
	c.mu.Unlock()
	await(t, "approved when the node was there", c.locked(func() bool { return c.approved["early"] == "Approved" }))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.approved["bad"] != "" {
		t.Error("a request for another node's name was approved")
	}
}

func TestTokenIsDeletedAfterTheJoin(t *testing.T) {
	c, client := serveCluster(t)
	c.tokens["abcdef"], c.tokens["other0"] = true, true
	run(t, client)
	r := ask(t, "system:node:w-0", nil)
	r.Spec.SignerName, r.Spec.Username = joining, "system:bootstrap:abcdef"
	r.Status.Certificate = []byte("issued")
	c.add(r)
	time.Sleep(300 * time.Millisecond)
	if !c.locked(func() bool { return c.tokens["abcdef"] })() {
		t.Fatal("the token was deleted before its node was there")
	}
	c.mu.Lock()
	c.nodes.Items = []node{machine("w-0", "10.0.0.2")}
	c.mu.Unlock()
	await(t, "deleted", c.locked(func() bool { return !c.tokens["abcdef"] }))
	if !c.locked(func() bool { return c.tokens["other0"] })() {
		t.Error("another token was deleted")
	}
}

func TestAnotherAgentWasFirst(t *testing.T) {
	c, client := serveCluster(t)
	c.nodes.Items = []node{machine("w-0", "10.0.0.2")}
	c.conflict = 1
	run(t, client)
	c.add(ask(t, "system:node:w-0", nil))
	await(t, "met the conflict", c.locked(func() bool { return c.conflict == 0 }))
	c.add(ask(t, "system:node:w-0", nil)) // the watch shows it again, changed
	await(t, "approved", c.locked(func() bool { return c.approved["csr-1"] == "Approved" }))
}

// TestStrangerIsNotTrusted sends the agent to a server whose certificate another authority issued.
func TestStrangerIsNotTrusted(t *testing.T) {
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the stranger got a request") }))
	stranger.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	stranger.StartTLS()
	defer stranger.Close()
	dir := t.TempDir()
	ca, err := pki.NewAuthority("mine", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/ca.crt", ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	mine, err := api.New(stranger.URL, dir+"/ca.crt", dir+"/ca.crt", dir+"/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	if err := mine.Do(t.Context(), http.MethodGet, "/", nil, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if _, err := api.New("https://x", dir+"/none", "", ""); err == nil {
		t.Error("a client without an authority was made")
	}
}
