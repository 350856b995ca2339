// Package welcome serves, on a control-plane node, what an invited machine becomes a node of: the node agent, the bundle and
// its configuration. It listens on the node's own address and says nothing to anybody who does not show a token that the API
// server takes for an invitation (templates.InvitedGroup); the machine for its part believes nobody whom the cluster's
// authority did not sign for.
package welcome

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// Certificate is what the server shows. It is for the node's own address and nothing else.
func Certificate(n templates.Node) pki.Certificate {
	return pki.Certificate{Name: "welcome", Issuer: pki.ClusterCA, Leaf: pki.Leaf{
		CommonName: "provision:welcome:" + n.Name, Addresses: []netip.Addr{n.Address}, Usage: pki.Server,
	}}
}

// A Host serves for one node of the control plane.
type Host struct {
	Node     templates.Node // as it is configured: what all nodes of the cluster share is taken from it
	Bundle   string         // folder that the node's bundle is unpacked to
	Agent    string         // path of the node agent
	Archives string         // folder to keep the bundle's archive in
	Groups   Groups         // says whose a token is
	Log      *slog.Logger

	packing sync.Mutex
	asking  chan struct{} // a place for each token that is being asked about
}

// Groups asks whom the API server takes the bearer of a token for, and returns the groups that he is in. The error is ErrStranger if
// it takes him for nobody.
type Groups func(ctx context.Context, token string) ([]string, error)

// ErrStranger says that a token is used, has ended or never was.
var ErrStranger = errors.New("the token is used, has ended or never was")

// asks is how many tokens are asked about at once: strangers must not keep the API server busy.
const asks = 8

// Run serves until ctx ends.
func (h *Host) Run(ctx context.Context) {
	h.asking = make(chan struct{}, asks)
	go func() { // so that the first machine need not wait
		if _, err := h.archive(ctx); err != nil && ctx.Err() == nil {
			h.Log.Error("cannot pack the bundle for invited machines", "err", err)
		}
	}()
	for ctx.Err() == nil {
		if err := h.serve(ctx); err != nil && ctx.Err() == nil {
			h.Log.Error("cannot serve invited machines", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}
}

func (h *Host) serve(ctx context.Context) error {
	l, err := net.Listen("tcp", netip.AddrPortFrom(h.Node.Address, templates.WelcomePort).String())
	if err != nil {
		return err
	}
	cert := Certificate(h.Node)
	s := &http.Server{
		Handler: h.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
		WriteTimeout: 10 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(h.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(cert.CertFile(), cert.KeyFile()) // as it is now: it is renewed
			return &c, err
		}},
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	return s.ServeTLS(l, "", "")
}

// Handler answers GET of /v1/agent, /v1/bundle/ID and /v1/node to bearers of bound tokens.
func (h *Host) Handler() http.Handler {
	if h.asking == nil {
		h.asking = make(chan struct{}, asks)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/agent", func(w http.ResponseWriter, r *http.Request) { h.file(w, r, h.Agent) })
	mux.HandleFunc("GET /v1/bundle/{id}", h.bundle)
	mux.HandleFunc("GET /v1/node", func(w http.ResponseWriter, r *http.Request) {
		name, _ := r.Context().Value(guestKey{}).(string)
		b, err := templates.RenderNode(worker(h.Node, name))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, err := h.guest(r)
		switch {
		case errors.Is(err, ErrStranger):
			http.Error(w, ErrStranger.Error(), http.StatusUnauthorized)
		case err != nil:
			http.Error(w, "the API server cannot be asked about the token", http.StatusServiceUnavailable)
		default:
			h.Log.Info("serves an invited machine", "node", name, "path", r.URL.Path)
			mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), guestKey{}, name)))
		}
	})
}

// guestKey is where a request's context has the name of the node that asks.
type guestKey struct{}

var tokenForm = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

// guest returns the node that the request's token is for.
func (h *Host) guest(r *http.Request) (string, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !tokenForm.MatchString(token) {
		return "", ErrStranger
	}
	select {
	case h.asking <- struct{}{}:
		defer func() { <-h.asking }()
	case <-r.Context().Done():
		return "", r.Context().Err()
	}
	groups, err := h.Groups(r.Context(), token)
	if err != nil {
		return "", err
	}
	if name := Guest(groups); name != "" {
		return name, nil
	}
	return "", ErrStranger
}

// Guest returns the node that a member of the groups is invited as; empty if he is not.
func Guest(groups []string) string {
	for _, g := range groups {
		if name, ok := strings.CutPrefix(g, templates.InvitedGroup+":"); ok {
			return name
		}
	}
	return ""
}

// worker is what a worker of that name shares with the node.
func worker(n templates.Node, name string) templates.Node {
	return templates.Node{
		Schema: n.Schema, Cluster: n.Cluster, UID: n.UID, Name: name, Role: templates.Worker, Kubernetes: n.Kubernetes, Bundle: n.Bundle,
		Pods: n.Pods, Services: n.Services, DNS: n.DNS, Domain: n.Domain, Backend: n.Backend, NodeCIDR: n.NodeCIDR,
		Endpoints: n.Endpoints, Etcd: n.Etcd, Cloud: n.Cloud,
	}
}

func (h *Host) bundle(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("id") != h.Node.Bundle {
		http.Error(w, "this node runs another bundle", http.StatusNotFound)
		return
	}
	path, err := h.archive(r.Context())
	if err != nil {
		h.Log.Error("cannot pack the bundle for invited machines", "err", err)
		http.Error(w, "the bundle cannot be packed", http.StatusServiceUnavailable)
		return
	}
	h.file(w, r, path)
}

func (h *Host) file(w http.ResponseWriter, r *http.Request, path string) {
	f, err := os.Open(path)
	if err != nil {
		http.Error(w, "it is not here", http.StatusServiceUnavailable)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// archive returns the path of the bundle's archive. It is packed once and kept; those of other bundles are removed.
func (h *Host) archive(ctx context.Context) (string, error) {
	h.packing.Lock()
	defer h.packing.Unlock()
	path := filepath.Join(h.Archives, h.Node.Bundle+".tar.zst")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.RemoveAll(h.Archives); err != nil {
		return "", err
	}
	if err := os.MkdirAll(h.Archives, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(h.Archives, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	err = bundle.Write(ctx, f, h.Bundle)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("pack %s: %w", h.Bundle, err)
	}
	return path, os.Rename(f.Name(), path)
}
