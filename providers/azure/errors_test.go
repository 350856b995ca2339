package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// refused is an error as the SDK returns it.
func refused(t *testing.T, status int, code, message string) error {
	t.Helper()
	c := azuretest.New(azuretest.Options{})
	c.Fail("DisksClient.Get", 20, status, code, message)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://x/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d", nil)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NewResponseError(resp)
}

func TestEveryCodeHasAKindAndASource(t *testing.T) {
	used, seen := map[providers.Kind]bool{}, map[string]bool{}
	for _, c := range Codes() {
		if !strings.HasPrefix(c.Source, "https://learn.microsoft.com/") {
			t.Errorf("%s has no source: %q", c.Code, c.Source)
		}
		if seen[c.Code+c.Says] {
			t.Errorf("%s is there twice", c.Code)
		}
		used[c.Kind], seen[c.Code+c.Says] = true, true
		if strings.Contains(c.Code, "*") {
			continue
		}
		if got := providers.KindOf(kinded(refused(t, http.StatusBadRequest, c.Code, "It "+c.Says+" so."))); got != c.Kind {
			t.Errorf("%s: kind %q, want %q", c.Code, got, c.Kind)
		}
	}
	for _, k := range providers.Kinds() {
		if !used[k] {
			t.Errorf("no code is %q", k)
		}
	}
}

func TestKindsOfOtherErrors(t *testing.T) {
	for _, c := range []struct {
		what string
		err  error
		want providers.Kind
	}{
		{"a code that nobody documents, refused", refused(t, 400, "BrandNew", "x"), providers.Invalid},
		{"a code that nobody documents, forbidden", refused(t, 403, "BrandNew", "x"), providers.Denied},
		{"a code that nobody documents, failed", refused(t, 500, "BrandNew", "x"), providers.Unavailable},
		{"a code that nobody documents, not there", refused(t, 404, "BrandNew", "x"), providers.NotFound},
		{"a code that nobody documents, in conflict", refused(t, 409, "BrandNew", "x"), providers.Conflict},
		{"a quota", refused(t, 409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved standardBSFamily Cores quota."), providers.Quota},
		{"a disk in use", refused(t, 409, "OperationNotAllowed", "Disk a is attached to VM b."), providers.Conflict},
		{"a count", refused(t, 400, "ThingCountLimitReached", "x"), providers.Quota},
		{"a connection that broke", errors.New("read: connection reset by peer"), providers.Unavailable},
		{"no credentials", errors.New("DefaultAzureCredential: failed to acquire a token."), providers.Denied},
	} {
		if got := providers.KindOf(kinded(c.err)); got != c.want {
			t.Errorf("%s: kind %q, want %q", c.what, got, c.want)
		}
	}
	if err := kinded(context.Canceled); !errors.Is(err, context.Canceled) || providers.KindOf(err) != "" {
		t.Errorf("a context's error became %v", err)
	}
	err := kinded(refused(t, 409, "SkuNotAvailable", "Not here."))
	about(providers.CreateVerb, providers.MachineNoun, "demo/a", &err)
	if want := "create machine demo/a: capacity: SkuNotAvailable: Not here. (request refused-1)"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestTagNames(t *testing.T) {
	for name, want := range map[string]string{
		"team": "team", providers.OwnerTag: "provision.sh:owner", "a:b": "a~3Ab", "100%": "100~25", `a\b?c&d<e>f`: "a~5Cb~3Fc~26d~3Ce~3Ef", "a~2Fb": "a~7E2Fb", "é/ü": "é:ü",
	} {
		if got := encode(name); got != want || decode(got) != name {
			t.Errorf("%q is %q and back %q, want %q", name, got, decode(got), want)
		}
	}
	for _, bad := range []map[string]string{{"azureX": "1"}, {"Team": "1", "team": "2"}, {providers.OwnerTag: "x"}, {"": "x"}, {"a": strings.Repeat("x", 257)}} {
		if err := checkTags(bad); providers.KindOf(err) != providers.Invalid {
			t.Errorf("tags %v: %v", bad, err)
		}
	}
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		attributes map[string]any
		want       string // in the error; empty: none
	}{
		{map[string]any{"subscription": "s", "location": "West Europe"}, ""},
		{map[string]any{"subscription": "s", "location": "northeurope", "zones": []any{"northeurope-2"}, "nat": "one", "addresses": "private"}, ""},
		{map[string]any{"subscription": "s"}, "location"},
		{map[string]any{"location": "westeurope"}, "no subscription"},
		{map[string]any{"subscription": "s", "location": "westeurope", "lokation": "x"}, "no attribute"},
		{map[string]any{"subscription": "s", "location": 1}, "must be a string"},
		{map[string]any{"subscription": "s", "location": "westeurope", "nat": "zone"}, "none or one"},
		{map[string]any{"subscription": "s", "location": "westeurope", "zones": []any{"1"}}, "westeurope-1"},
		{map[string]any{"subscription": "s", "location": "westeurope", "network": "main"}, "resource ID of a subnet"},
		{map[string]any{"subscription": "s", "location": "westeurope", "cloud": "mars"}, "public, china or government"},
		{map[string]any{"subscription": "s", "location": "westeurope", "endpoint": "http://x"}, "https://"},
	} {
		t.Setenv("AZURE_SUBSCRIPTION_ID", "")
		_, err := Open(c.attributes)
		if c.want == "" && err != nil || c.want != "" && (providers.KindOf(err) != providers.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.attributes, err, c.want)
		}
	}
}
