package gcptest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask makes a request and returns the status, the reason of a refusal, and the answer.
func ask(t *testing.T, c *Cloud, verb, path, body string) (int, string, object) {
	t.Helper()
	q, err := http.NewRequest(verb, c.URL+"/compute/v1/projects/"+Project+"/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if e, ok := o["error"].(object); ok && resp.StatusCode != http.StatusOK {
		return resp.StatusCode, e["errors"].([]any)[0].(object)["reason"].(string), o
	}
	return resp.StatusCode, "", o
}

func TestCloudIsLikeGoogle(t *testing.T) {
	c, err := New(Options{Slow: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const net, id = "global/networks", "?requestId=11111111-2222-3333-4444-555555555555"
	for _, s := range []struct {
		what, verb, path, body string
		status                 int
		reason                 string
	}{
		{"an unknown field", "POST", net, `{"name":"a","colour":"red"}`, 400, "badRequest"},
		{"a wrong type", "POST", net, `{"name":"a","autoCreateSubnetworks":"no"}`, 400, "invalid"},
		{"a wrong name", "POST", net, `{"name":"A_b"}`, 400, "invalid"},
		{"an unknown parameter", "GET", net + "?size=3", "", 400, "invalidParameter"},
		{"a request ID that is none", "POST", net + "?requestId=x", `{"name":"a"}`, 400, "invalid"},
		{"a network", "POST", net + id, `{"name":"a","autoCreateSubnetworks":false}`, 200, ""},
		{"the same request again", "POST", net + id, `{"name":"a","autoCreateSubnetworks":false}`, 200, ""},
		{"another of the name", "POST", net, `{"name":"a"}`, 409, "alreadyExists"},
		{"what stands on something unfinished", "POST", "global/firewalls", `{"name":"f","network":"global/networks/a"}`, 400, "resourceNotReady"},
		{"what stands on nothing", "POST", "global/firewalls", `{"name":"f","network":"global/networks/b"}`, 404, "notFound"},
		{"a filter that is none", "GET", net + "?filter=((", "", 400, "invalid"},
	} {
		if status, reason, o := ask(t, c, s.verb, s.path, s.body); status != s.status || reason != s.reason {
			t.Errorf("%s: %d %s, want %d %s (%v)", s.what, status, reason, s.status, s.reason, o)
		}
	}
	time.Sleep(30 * time.Millisecond)
	_, _, op := ask(t, c, "POST", "global/firewalls", `{"name":"f","network":"global/networks/a"}`)
	if _, _, o := ask(t, c, "POST", "global/operations/"+op["name"].(string)+"/wait", ""); o["status"] != "DONE" {
		t.Errorf("after a wait the operation is %v", o["status"])
	}
	if status, reason, _ := ask(t, c, "DELETE", net+"/a", ""); status != 400 || reason != "resourceInUseByAnotherResource" {
		t.Errorf("a network in use: %d %s", status, reason)
	}
	c.Reset(Options{Rate: 1})
	ask(t, c, "GET", net, "")
	if status, reason, _ := ask(t, c, "GET", net, ""); status != 403 || reason != "rateLimitExceeded" {
		t.Errorf("the second request at once: %d %s", status, reason)
	}
}
