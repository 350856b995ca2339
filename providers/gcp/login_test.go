package gcp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/api/googleapi"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// keyed has Google's tools read a file with that text.
func keyed(t *testing.T, text string) (file string, open func() (*Provider, error)) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(keyVariable, file)
	return file, func() (*Provider, error) {
		return New(t.Context(), Options{Project: gcptest.Project, Region: gcptest.Region})
	}
}

// TestBrokenKey: a file that cannot be anybody's credentials is refused before anything is asked, by its name.
func TestBrokenKey(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "is not a file with credentials",
		"not JSON":                   "is not a file with credentials: ",
		"{}":                         "missing 'type' field",
		`{"type":"nothing"}`:         `unknown credential type: "nothing"`,
		`{"type":"service_account"}`: "it has no client_email",
		`{"type":"authorized_user"}`: "it has no client_id",
		`{"type":"service_account","client_email":"a@b"}`:                                                                                "it has no private_key",
		`{"type":"service_account","client_email":"a@b","private_key":"secret"}`:                                                         "its private_key is not in PEM",
		`{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}`: "its private_key cannot be read",
		`{"type":"authorized_user","client_id":"a","client_secret":"b"}`:                                                                 "it has no refresh_token",
	} {
		file, open := keyed(t, text)
		_, err := open()
		if providers.KindOf(err) != providers.Denied || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s:\ngot  %v\nwant %s, and the file's name", text, err, want)
		}
	}
}

// TestTokenRefused: credentials that Google gives no token for are told as such, and not tried again; that nobody answers is something else.
func TestTokenRefused(t *testing.T) {
	var asked atomic.Int64
	var status atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`))
	}))
	defer s.Close()
	secret, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(map[string]string{"type": "service_account", "client_email": "ops@demo-project.iam.gserviceaccount.com", "token_uri": s.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	file, open := keyed(t, string(text))
	for code, want := range map[int]providers.Kind{http.StatusBadRequest: providers.Denied, http.StatusServiceUnavailable: providers.Unavailable} {
		status.Store(int64(code))
		asked.Store(0)
		p, err := open()
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Networks().List(t.Context(), "demo")
		prefix := "list network demo: " + string(want) + ": no token for the credentials of " + file
		if providers.KindOf(err) != want || !strings.HasPrefix(err.Error(), prefix) || asked.Load() != 1 {
			t.Errorf("with %d, after %d requests:\ngot  %v\nwant %s", code, asked.Load(), err, prefix)
		}
	}
}

// TestRequestOfARefusal: where Google gives a refused request an ID, it is told.
func TestRequestOfARefusal(t *testing.T) {
	details := []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo"}, map[string]any{"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "7f3a"}}
	for want, e := range map[string]*googleapi.Error{
		"denied: No. (request 7f3a)": {Code: 403, Message: "No.", Details: details},
		"denied: No. (request ABg5)": {Code: 403, Message: "No.", Header: http.Header{"X-Guploader-Uploadid": {"ABg5"}}},
		"denied: No.":                {Code: 403, Message: "No."},
	} {
		if err := kinded(errors.Join(e)); err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
