package azure

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// TestEndpoint asks a cloud that is another program, as far as the provider can tell.
func TestEndpoint(t *testing.T) {
	c := azuretest.New(azuretest.Options{Page: 1})
	server := httptest.NewServer(c)
	defer server.Close()
	p, err := Open(map[string]any{"subscription": azuretest.Subscription, "location": azuretest.Location, "endpoint": server.URL})
	if err != nil {
		t.Fatal(err)
	}
	p.o.Pace, p.o.Lag = 1, 1
	for _, name := range []string{"a", "b", "c"} {
		if _, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := p.Networks().List(t.Context(), "demo")
	if err != nil || len(all) != 3 || all[0].Partial {
		t.Errorf("got %+v, %v", all, err)
	}
	report(t, c)
}

// TestEndpointWithoutTLS lets nobody be asked in the clear who is not on this host.
func TestEndpointWithoutTLS(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://management.example": true, "http://127.0.0.1:80": true, "http://[::1]:4000": true, "http://127.9.9.9": true,
		"http://localhost:80": false, "http://management.example": false, "http://192.0.2.1": false, "http://127.0.0.1.example": false, "http://127.0.0.1@192.0.2.1": false, "ftp://127.0.0.1": false, "127.0.0.1": false,
	} {
		_, err := Open(map[string]any{"subscription": "s", "location": "westeurope", "endpoint": endpoint})
		if (err == nil) != ok {
			t.Errorf("endpoint %s: %v", endpoint, err)
		}
	}
	o := Options{Endpoint: "http://127.0.0.1:1"}
	home, err := o.credential()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := home.(nobody); !ok {
		t.Errorf("at home %T is asked for a token", home)
	}
	o.Endpoint = "https://127.0.0.1:1"
	if abroad, err := o.credential(); err != nil {
		t.Fatal(err)
	} else if _, ok := abroad.(nobody); ok {
		t.Error("with TLS nobody's token is sent")
	}
	token, _ := home.GetToken(t.Context(), policy.TokenRequestOptions{})
	if !strings.HasSuffix(token.Token, ".") {
		t.Errorf("the token %s is signed", token.Token)
	}
}
