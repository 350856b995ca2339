package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
	"github.com/provisionhq/provision/providers/providertest"
)

var cloud *gcptest.Cloud // of all tests

func TestMain(m *testing.M) {
	for _, v := range []string{"GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_REGION", "CLOUDSDK_COMPUTE_REGION", endpointVariable} {
		os.Unsetenv(v)
	}
	os.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent") // no test may find a person's own
	var err error
	if cloud, err = gcptest.New(gcptest.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	cloud.Close()
	os.Exit(code)
}

// open returns a provider at a cloud that is empty.
func open(t *testing.T, c gcptest.Options, o Options) *Provider {
	t.Helper()
	cloud.Reset(c)
	return again(t, o)
}

// again returns another provider at the cloud as it is.
func again(t *testing.T, o Options) *Provider {
	t.Helper()
	o.Endpoint, o.Project, o.Region = cloud.URL, gcptest.Project, gcptest.Region
	if o.Pace == 0 {
		o.Pace, o.Patience, o.Lag = time.Millisecond, 20*time.Second, time.Second
	}
	p, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// behind makes a request of its own, as somebody at the console would.
func behind(t *testing.T, verb, path string, body any) map[string]any {
	t.Helper()
	var data io.Reader
	if body != nil {
		text, _ := json.Marshal(body)
		data = bytes.NewReader(text)
	}
	q, _ := http.NewRequest(verb, cloud.URL+"/compute/v1/projects/"+gcptest.Project+"/"+path, data)
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", verb, path, resp.Status, text)
	}
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	if op, ok := o["selfLink"].(string); ok && o["kind"] == "compute#operation" && o["status"] != "DONE" {
		_, rest, _ := strings.Cut(op, "/projects/"+gcptest.Project+"/")
		return behind(t, "POST", rest+"/wait", nil)
	}
	return o
}

// pathOf is where a thing with an ID of ours is.
func pathOf(n providers.Noun, id providers.ID) string {
	r, _ := refOf(n, id)
	switch n {
	case providers.MachineNoun:
		return "zones/" + r.place + "/instances/" + r.name
	case providers.VolumeNoun:
		return "zones/" + r.place + "/disks/" + r.name
	case providers.SnapshotNoun:
		return "global/snapshots/" + r.name
	case providers.BalancerNoun:
		return "regions/" + r.place + "/addresses/" + r.name
	}
	return "global/networks/" + r.name
}

// strip takes tags away behind the provider's back.
func strip(t *testing.T, n providers.Noun, id providers.ID, tags []string) {
	thing := behind(t, "GET", pathOf(n, id), nil)
	if n == providers.NetworkNoun {
		made := described(thing["description"].(string))
		path := "global/firewalls/" + vendorName(n, keyOf(made), nodesPart)
		have := described(behind(t, "GET", path, nil)["description"].(string))
		for _, k := range tags {
			delete(have, k)
		}
		behind(t, "PATCH", path, map[string]any{"description": *describe(have)})
		return
	}
	have := map[string]string{}
	for k, v := range thing["labels"].(map[string]any) {
		have[k] = v.(string)
	}
	plain := unlabel(have)
	for _, k := range tags {
		delete(plain, k)
	}
	behind(t, "POST", pathOf(n, id)+"/setLabels", map[string]any{"labels": labels(plain), "labelFingerprint": thing["labelFingerprint"]})
}

// fixture is all that the suite can use of the provider.
func fixture(t *testing.T, p *Provider) providertest.Fixture {
	return providertest.Fixture{
		Provider: p,
		Type:     "e2-small",
		Machine:  func(m *providers.MachineSpec) { m.AuthorizedKeys = []string{gcptest.HostKey("user")} },
		Writes:   cloud.Writes,
		Stop: func(_ context.Context, id providers.ID) error {
			behind(t, "POST", pathOf(providers.MachineNoun, id)+"/stop", nil)
			return nil
		},
		Strip: func(_ context.Context, n providers.Noun, id providers.ID, tags ...string) error {
			strip(t, n, id, tags)
			return nil
		},
	}
}

// report logs what was asked of the cloud, and fails if the cloud does not have some of it.
func report(t *testing.T) {
	t.Helper()
	reads, writes := 0, 0
	for _, r := range cloud.Requests() {
		if r.Mutating {
			writes++
		} else {
			reads++
		}
		if r.Status == http.StatusNotImplemented || r.Method == "" || strings.HasPrefix(r.Reason, "badRequest") {
			t.Errorf("the cloud cannot do %s %s: %d %s %s", r.Method, r.Path, r.Status, r.Reason, r.Body)
		}
	}
	t.Logf("%d requests that read, %d that write", reads, writes)
}

// nothingLeft fails at the end of the test if there is anything at Google then.
func nothingLeft(t *testing.T) {
	t.Cleanup(func() {
		if left := cloud.Leftovers(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestProvider holds the provider to the contract, at a cloud that is like Google's.
func TestProvider(t *testing.T) {
	p := open(t, gcptest.Options{Page: 3, Late: 2, Slow: 2 * time.Millisecond}, Options{})
	nothingLeft(t)
	providertest.Run(t, func(t *testing.T) providertest.Fixture { return fixture(t, p) })
	report(t)
}
