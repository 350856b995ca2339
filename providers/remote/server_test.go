package remote_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/remote"
)

// serveAt serves a fake at a socket.
func serveAt(t *testing.T, socket string, f *fake.Fake) *remote.Server {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := remote.NewServer(f)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v after Stop", err)
		}
	})
	return s
}

// TestServer opens what serves already, by two at a time, loses it, and finds it again.
func TestServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	var fault *remote.Fault
	if _, err := remote.Open(t.Context(), remote.Options{Name: "fake", Socket: socket}); !errors.As(err, &fault) || fault.Reason != remote.Died || !errors.Is(err, providers.Unavailable) {
		t.Fatalf("nobody serves: %v", err)
	}
	if want := "provider fake behind " + socket + " does not answer"; !strings.Contains(fault.Error(), want) {
		t.Errorf("it says %q, want %q", fault, want)
	}
	f := fake.New(fake.Options{})
	s := serveAt(t, socket, f)
	if _, err := remote.Open(t.Context(), remote.Options{Name: "other", Socket: socket}); !errors.As(err, &fault) || fault.Reason != remote.Unfit {
		t.Errorf("another provider than the one that is wanted: %v", err)
	}
	_, err := remote.Open(t.Context(), remote.Options{Name: "fake", Socket: socket, Attributes: map[string]any{"path": "x"}})
	if providers.KindOf(err) != providers.Invalid {
		t.Errorf("an attribute, which there is none of: %v", err)
	}
	var both [2]*remote.Provider
	for i := range both {
		p, err := remote.Open(t.Context(), remote.Options{Name: "fake", Socket: socket})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		both[i] = p
	}
	n, err := both[0].Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main", Zones: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if same, err := both[1].Networks().Get(t.Context(), n.ID); err != nil || same.Name != "main" {
		t.Errorf("the other one sees %+v, %v", same, err)
	}
	s.Stop()
	if _, err := both[0].Networks().Get(t.Context(), n.ID); !errors.Is(err, providers.Unavailable) {
		t.Errorf("after its end: %v", err)
	}
	serveAt(t, socket, f)
	if same, err := both[0].Networks().Get(t.Context(), n.ID); err != nil || same.Name != "main" {
		t.Errorf("when somebody serves again: %+v, %v", same, err)
	}
}
