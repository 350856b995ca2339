package controlplane

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/templates"
)

func TestHash(t *testing.T) {
	base := Process{Name: "x", Path: "/bin/x", Args: []string{"a"}, Once: []string{"o"}, Env: []string{"E=1"},
		Files: []templates.File{{Path: "/f", Mode: "0600", Content: []byte("c")}}, Grace: time.Second}
	for _, test := range []struct {
		why    string
		change func(*Process)
		same   bool
	}{
		{"nothing", func(*Process) {}, true},
		{"what matters for new nodes only", func(p *Process) { p.Once = []string{"other"} }, true},
		{"patience", func(p *Process) { p.Grace = time.Hour }, true},
		{"order", func(p *Process) { p.After = []string{"y"} }, true},
		{"program", func(p *Process) { p.Path = "/new/x" }, false},
		{"an argument", func(p *Process) { p.Args = []string{"b"} }, false},
		{"the environment", func(p *Process) { p.Env = nil }, false},
		{"a file's content", func(p *Process) {
			p.Files = []templates.File{{Path: "/f", Mode: "0600", Content: []byte("d")}}
		}, false},
	} {
		p := base
		test.change(&p)
		if same := p.Hash() == base.Hash(); same != test.same {
			t.Errorf("after a change of %s the hash is the same: %v, want %v", test.why, same, test.same)
		}
	}
}

func TestNth(t *testing.T) {
	for _, test := range []struct {
		prefix string
		n      int
		want   string
	}{{"10.96.0.0/16", 1, "10.96.0.1"}, {"10.96.0.0/16", 10, "10.96.0.10"}, {"10.96.3.7/16", 1, "10.96.0.1"}, {"10.0.0.255/32", 1, "10.0.1.0"}} {
		if got := Nth(netip.MustParsePrefix(test.prefix), test.n); got.String() != test.want {
			t.Errorf("Nth(%s, %d): got %s, want %s", test.prefix, test.n, got, test.want)
		}
	}
}

func TestHTTPReady(t *testing.T) {
	code := http.StatusInternalServerError
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	ready := HTTPReady(s.URL+"/readyz", ca)
	says := func(want string) {
		t.Helper()
		err := ready(t.Context())
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	says("no such file") // the authority comes later than the probe
	if err := os.WriteFile(ca, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	says("no certificate")
	if err := os.WriteFile(ca, pemOf(s), 0o600); err != nil {
		t.Fatal(err)
	}
	says("500")
	code = http.StatusOK
	says("")
	s.Close()
	says("connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ready(ctx); err == nil {
		t.Error("a probe whose context is done succeeds")
	}
}

func TestListening(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := Listening(l.Addr().String(), "etcd")
	if got := gate(); got != "" {
		t.Errorf("waits for %q although somebody listens", got)
	}
	l.Close()
	if got := gate(); got != "etcd" {
		t.Errorf("waits for %q", got)
	}
}

func TestSocketReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ready := SocketReady(path)
	if err := ready(t.Context()); err == nil {
		t.Error("ready without a socket")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := ready(t.Context()); err != nil {
		t.Error(err)
	}
}
