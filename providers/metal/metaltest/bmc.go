package metaltest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
)

// Of the BMCs that BMC starts.
const (
	BMCUser     = "admin"
	BMCPassword = "calvin"
)

// BMC starts a Redfish server that switches a host's power, until the test ends, and returns the attributes of its bmc
// block. HCL makes text of it.
func (f *Fleet) BMC(host string) map[string]any {
	f.t.Helper()
	s := httptest.NewTLSServer(&bmc{f, host})
	f.t.Cleanup(s.Close)
	ca := filepath.Join(f.t.TempDir(), "bmc.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return map[string]any{"address": s.URL, "protocol": "redfish", "user": BMCUser, "password": BMCPassword, "ca": ca}
}

// BlockOf is the text of a bmc block with the attributes.
func BlockOf(bmc map[string]any) string {
	return fmt.Sprintf("bmc {\n  address  = %q\n  protocol = %q\n  user     = %q\n  password = %q\n  ca       = %q\n}",
		bmc["address"], bmc["protocol"], bmc["user"], bmc["password"], bmc["ca"])
}

// A bmc is a Redfish server for one host.
type bmc struct {
	f    *Fleet
	host string
}

// ServeHTTP answers for the one system that there is.
func (b *bmc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != BMCUser || password != BMCPassword {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /redfish/v1/Systems":
		json.NewEncoder(w).Encode(map[string]any{"Members": []any{map[string]any{"@odata.id": "/redfish/v1/Systems/1"}}})
	case "GET /redfish/v1/Systems/1":
		state := "Off"
		if on, err := b.f.Powered(b.host); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		} else if on {
			state = "On"
		}
		json.NewEncoder(w).Encode(map[string]any{"@odata.id": "/redfish/v1/Systems/1", "PowerState": state})
	case "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset":
		var q struct{ ResetType string }
		json.NewDecoder(r.Body).Decode(&q)
		if err := b.reset(q.ResetType); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (b *bmc) reset(how string) error {
	switch how {
	case "On":
		return b.f.On(b.host)
	case "ForceOff":
		return b.f.Off(b.host)
	}
	if err := b.f.Off(b.host); err != nil {
		return err
	}
	return b.f.On(b.host)
}
