package power

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mockup is a BMC as DMTF's schema ComputerSystem.v1 and its mockups describe it, with one system.
type mockup struct {
	mu      sync.Mutex
	power   string
	boot    map[string]any
	late    int // how many reads pass before a change shows
	pending string
	systems int
	types   []string
	refuse  string // what the next action is refused with
}

func (m *mockup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if user, password, _ := r.BasicAuth(); user != "ops" || password != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.Method + " " + r.URL.Path {
	case "GET /redfish/v1/Systems":
		members := []any{}
		for range max(m.systems, 1) {
			members = append(members, map[string]any{"@odata.id": "/redfish/v1/Systems/437XR1138R2"})
		}
		json.NewEncoder(w).Encode(map[string]any{"Members": members, "Members@odata.count": len(members)})
	case "GET /redfish/v1/Systems/437XR1138R2":
		if m.late--; m.late <= 0 && m.pending != "" {
			m.power, m.pending = m.pending, ""
		}
		json.NewEncoder(w).Encode(m.system())
	case "POST /redfish/v1/Systems/437XR1138R2/Actions/ComputerSystem.Reset":
		m.reset(w, r)
	case "PATCH /redfish/v1/Systems/437XR1138R2":
		var change struct{ Boot map[string]any }
		json.NewDecoder(r.Body).Decode(&change)
		m.boot = change.Boot
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (m *mockup) system() map[string]any {
	reset := map[string]any{"target": "/redfish/v1/Systems/437XR1138R2/Actions/ComputerSystem.Reset"}
	if m.types != nil {
		reset["ResetType@Redfish.AllowableValues"] = m.types
	}
	return map[string]any{
		"@odata.type": "#ComputerSystem.v1_22_0.ComputerSystem", "@odata.id": "/redfish/v1/Systems/437XR1138R2", "Id": "437XR1138R2",
		"PowerState": m.power, "Actions": map[string]any{"#ComputerSystem.Reset": reset},
		"Boot": map[string]any{"BootSourceOverrideTarget@Redfish.AllowableValues": []string{"None", "Pxe", "Hdd", "Cd"}},
	}
}

func (m *mockup) reset(w http.ResponseWriter, r *http.Request) {
	var q struct{ ResetType string }
	json.NewDecoder(r.Body).Decode(&q)
	if m.refuse != "" || m.types != nil && !slices.Contains(m.types, q.ResetType) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
			"code": "Base.1.18.GeneralError", "message": "A general error has occurred.",
			"@Message.ExtendedInfo": []any{map[string]any{"MessageId": "Base.1.18.ActionParameterNotSupported", "Message": m.refuse}},
		}})
		return
	}
	m.pending, m.late = "On", 2
	if q.ResetType == "ForceOff" {
		m.pending = "Off"
	}
	w.WriteHeader(http.StatusNoContent)
}

// newMockup starts a BMC whose certificate is signed by the authority in the file.
func newMockup(t *testing.T, m *mockup) BMC {
	t.Helper()
	m.power = "Off"
	s := httptest.NewTLSServer(m)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return BMC{Address: s.URL, Protocol: Redfish, User: "ops", Password: "secret", CA: ca}
}

func redfishBMC(t *testing.T) BMC { return newMockup(t, new(mockup)) }

func TestRedfishBoot(t *testing.T) {
	m := new(mockup)
	c, err := Open(t.Context(), newMockup(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.NextBoot(t.Context(), PXE); err != nil || m.boot["BootSourceOverrideTarget"] != "Pxe" || m.boot["BootSourceOverrideEnabled"] != "Once" {
		t.Errorf("the BMC was told %v, %v", m.boot, err)
	}
}

func TestRedfishErrors(t *testing.T) {
	edit := func(m *mockup, change func(*BMC)) func(*testing.T) BMC {
		return func(t *testing.T) BMC {
			b := newMockup(t, m)
			if change != nil {
				change(&b)
			}
			return b
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, tt := range map[string]struct {
		start func(*testing.T) BMC
		want  error
		words string
	}{
		"wrong password":       {edit(new(mockup), func(b *BMC) { b.Password = "guess" }), ErrDenied, "401"},
		"unknown certificate":  {edit(new(mockup), func(b *BMC) { b.CA = "" }), ErrDenied, "not trusted"},
		"insecure":             {edit(new(mockup), func(b *BMC) { b.CA, b.Insecure = "", true }), nil, ""},
		"no CA file":           {edit(new(mockup), func(b *BMC) { b.CA = "/none" }), ErrDenied, "/none"},
		"nobody there":         {edit(new(mockup), func(b *BMC) { b.Address = closed.URL; b.Insecure = true }), ErrUnreachable, ""},
		"two systems":          {edit(&mockup{systems: 2}, nil), ErrRefused, "it is for 2 systems"},
		"no such system":       {edit(new(mockup), func(b *BMC) { b.System = "/redfish/v1/Systems/x" }), ErrRefused, "404"},
		"elsewhere":            {edit(new(mockup), func(b *BMC) { b.System = "http://example.invalid/x" }), ErrRefused, "not its own"},
		"refused":              {edit(&mockup{refuse: "The chassis is locked."}, nil), ErrRefused, "The chassis is locked."},
		"no way to turn it on": {edit(&mockup{types: []string{"GracefulShutdown"}}, nil), ErrRefused, "GracefulShutdown"},
		"another way":          {edit(&mockup{types: []string{"ForceOn", "ForceOff"}}, nil), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			b := tt.start(t)
			_, err := Switch(ctx, b, TurnOn)
			if !errors.Is(err, tt.want) || tt.want != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.words)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}
