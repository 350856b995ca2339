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

// TestEndpointVariable names an endpoint by the environment: of this host only, and a block's own counts more.
func TestEndpointVariable(t *testing.T) {
	for value, want := range map[string]string{"http://127.0.0.1:8080": "http://127.0.0.1:8080", "": "", "https://management.example": "refused"} {
		t.Setenv(endpointVariable, value)
		p, err := New(Options{Subscription: "s", Location: "westeurope", Credential: azuretest.Credential{}})
		if got := "refused"; err == nil {
			if got = p.o.Endpoint; got != want {
				t.Errorf("%s=%s: %s", endpointVariable, value, got)
			}
		} else if want != got {
			t.Errorf("%s=%s: %v", endpointVariable, value, err)
		}
	}
	t.Setenv(endpointVariable, "http://127.0.0.1:1")
	p, err := New(Options{Subscription: "s", Location: "westeurope", Credential: azuretest.Credential{}, Endpoint: "https://management.example"})
	if err != nil || p.o.Endpoint != "https://management.example" {
		t.Errorf("the block's endpoint does not count: %v", err)
	}
}

// TestAnywhere asks a cloud that has any subscription and location.
func TestAnywhere(t *testing.T) {
	var log []azuretest.Request
	c := azuretest.New(azuretest.Options{Anywhere: true, Log: func(r azuretest.Request) { log = append(log, r) }})
	p, err := New(Options{Subscription: "11111111-2222-3333-4444-555555555555", Location: "northeurope", Transport: c, Credential: azuretest.Credential{}, Pace: 1, Lag: 1})
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	must(t, 0, err)
	m, err := p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "demo-a-0", Network: n.ID, Type: "Standard_B2s", Zone: "northeurope-2"})
	must(t, 0, err)
	must(t, 0, p.Machines().Delete(t.Context(), m.ID))
	must(t, 0, p.Networks().Delete(t.Context(), n.ID))
	if left := c.Left(); len(left) > 0 || len(log) != len(c.Requests()) {
		t.Errorf("left: %v; %d of %d requests were told", left, len(log), len(c.Requests()))
	}
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
