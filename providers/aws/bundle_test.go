package aws

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// TestWithoutBundle asks where AWS_CA_BUNDLE is not set, as for most people: the SDK brings no HTTP client along then.
func TestWithoutBundle(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	asked := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked = true
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	p, err := New(t.Context(), Options{Region: "eu-west-1", Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Account().Check(t.Context(), providers.Need{}); err == nil || !asked {
		t.Errorf("asked %v, %v", asked, err)
	}
}
