package welcome

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/templates"
)

const good = "abcdef.0123456789abcdef"

// open returns a host that serves a bundle of one file, and what its node is like. Only the token good is one.
func open(t *testing.T, groups Groups) *Host {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "unpacked")
	m := &bundle.Manifest{Kubernetes: "v1.37.2", Arch: "amd64", Files: []bundle.File{{
		Path: "bin/kube", Size: 5, Mode: 0o755, SHA256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	}}}
	manifest, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"unpacked/bin/kube": []byte("hello"), "unpacked/" + bundle.ManifestName: manifest, "agent": []byte("#!agent")} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &Host{
		Node: templates.Node{
			Schema: 1, Cluster: "demo", UID: "u", Name: "demo-cp-0", Role: templates.ControlPlane, Address: netip.MustParseAddr("10.0.0.1"), Bundle: m.ID,
			APINames: []string{"api"}, Labels: map[string]string{"a": "b"}, VIP: netip.MustParseAddr("10.0.0.9"), Welcome: true,
			Endpoints: []string{"10.0.0.1:6443"}, ProviderID: "local:///demo-cp-0",
		},
		Bundle: at, Agent: filepath.Join(dir, "agent"), Archives: filepath.Join(dir, "archives"), Groups: groups, Log: slog.New(slog.DiscardHandler),
	}
}

func onlyGood(_ context.Context, token string) ([]string, error) {
	if token != good {
		return nil, ErrStranger
	}
	return []string{"system:bootstrappers", templates.InvitedGroup, templates.InvitedGroup + ":demo-burst-x"}, nil
}

func get(t *testing.T, h http.Handler, path, auth string) (int, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

func TestGuestsAreServed(t *testing.T) {
	host := open(t, onlyGood)
	h := host.Handler()
	if code, b := get(t, h, "/v1/agent", "Bearer "+good); code != 200 || string(b) != "#!agent" {
		t.Errorf("agent: %d %q", code, b)
	}
	code, b := get(t, h, "/v1/node", "Bearer "+good)
	n, err := templates.ParseNode(b)
	if code != 200 || err != nil || n.Name != "demo-burst-x" || n.Role != templates.Worker || n.Cluster != "demo" || !slices.Equal(n.Endpoints, host.Node.Endpoints) {
		t.Errorf("node: %d %+v %v", code, n, err)
	}
	if n.Address.IsValid() || n.VIP.IsValid() || n.Welcome || n.ProviderID != "" || len(n.APINames)+len(n.Labels) > 0 {
		t.Errorf("the worker has what is its host's own: %+v", n)
	}
	for range 2 { // packed, and kept
		code, b = get(t, h, "/v1/bundle/"+host.Node.Bundle, "Bearer "+good)
		m, err := bundle.Unpack(context.Background(), bytes.NewReader(b), filepath.Join(t.TempDir(), "b"))
		if code != 200 || err != nil || m.ID != host.Node.Bundle {
			t.Fatalf("bundle: %d %v", code, err)
		}
	}
	if code, _ = get(t, h, "/v1/bundle/"+strings.Repeat("0", 64), "Bearer "+good); code != 404 {
		t.Errorf("another bundle: %d", code)
	}
}

// Strangers learn nothing, and do not even reach the API server if what they show cannot be a token.
func TestStrangersAreNot(t *testing.T) {
	asked := 0
	host := open(t, func(ctx context.Context, token string) ([]string, error) {
		asked++
		return onlyGood(ctx, token)
	})
	h := host.Handler()
	for _, auth := range []string{"", "Bearer", "Bearer x", "Basic " + good, "Bearer " + good + "x", "Bearer ABCDEF.0123456789abcdef"} {
		for _, path := range []string{"/v1/agent", "/v1/node", "/v1/bundle/" + host.Node.Bundle, "/", "/v2"} {
			if code, b := get(t, h, path, auth); code != http.StatusUnauthorized || strings.TrimSpace(string(b)) != ErrStranger.Error() {
				t.Errorf("%s as %q: %d %s", path, auth, code, b)
			}
		}
	}
	if asked > 0 {
		t.Errorf("the API server was asked %d times about what is no token", asked)
	}
	if code, _ := get(t, h, "/v1/node", "Bearer aaaaaa.0123456789abcdef"); code != http.StatusUnauthorized {
		t.Errorf("a token that never was: %d", code)
	}
	host.Groups = func(context.Context, string) ([]string, error) { return []string{templates.BootstrapGroup}, nil }
	if code, _ := get(t, h, "/v1/node", "Bearer "+good); code != http.StatusUnauthorized {
		t.Errorf("a token that is bound to no name: %d", code)
	}
	host.Groups = func(context.Context, string) ([]string, error) { return nil, errors.New("down") }
	if code, _ := get(t, h, "/v1/node", "Bearer "+good); code != http.StatusServiceUnavailable {
		t.Errorf("an API that does not answer: %d, want one that is tried again", code)
	}
}

// The API server is asked in the bearer's own name.
func TestAsk(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b, _ := io.ReadAll(r.Body)
		var o map[string]any
		if json.Unmarshal(b, &o) != nil || o["kind"] != "SelfSubjectReview" || r.URL.Path != "/apis/authentication.k8s.io/v1/selfsubjectreviews" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"status":{"userInfo":{"username":"system:bootstrap:abcdef","groups":["a","b"]}}}`)
	}))
	defer s.Close()
	c := &http.Client{Transport: s.Client().Transport}
	if g, err := ask(context.Background(), c, s.URL, good); err != nil || !slices.Equal(g, []string{"a", "b"}) {
		t.Errorf("got %v, %v", g, err)
	}
	if _, err := ask(context.Background(), c, s.URL, "aaaaaa.0123456789abcdef"); !errors.Is(err, ErrStranger) {
		t.Errorf("got %v, want a stranger", err)
	}
}
