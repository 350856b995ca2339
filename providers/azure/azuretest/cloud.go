// Package azuretest is an Azure Resource Manager for tests: Microsoft's own fake servers read the requests and write the answers,
// and a store behind them does what Azure does: operations that take time, with Azure-AsyncOperation and Retry-After, names that
// are taken, references that must exist, deletes that are refused while something stands on a thing, readers that lag behind,
// throttling, and connections that break.
package azuretest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// What there is one of, unless Options say another.
const (
	Subscription = "00000000-0000-0000-0000-000000000001"
	Location     = "westeurope"
	Object       = "00000000-0000-0000-0000-00000000000a" // ID of who asks
	Tenant       = "00000000-0000-0000-0000-00000000000b"
)

// Options say how the cloud behaves. Time is counted in requests.
type Options struct {
	Subscription, Location string // empty: those of the package

	// Anywhere lets the first request say which subscription there is, and each request which location.
	Anywhere bool
	Log      func(Request) // is told each request when it is answered; nil: nobody is
	Hardware Hardware      // what is behind machines, networks and balancers

	Slow int // how many requests an operation takes
	Late int // for how many requests GET does not show what was made, and general lists are behind; less than Slow
	Page int // entries on a page of a list; 0: all
	Rate int // requests of one kind (reads, writes) that are let through in a row before one is throttled; 0: all
}

// A Request is one that was made.
type Request struct {
	Method, Path string
	API          string // as the SDK names the call: "DisksClient.Get"
	Status       int
	Mutating     bool
}

// A Cloud is a policy.Transporter: the SDK's clients send their requests to it. It is an http.Handler too, so that other programs
// can. It is safe for concurrent use.
type Cloud struct {
	mu      sync.Mutex
	o       Options
	now     int // requests so far
	serial  int
	items   map[string]*item
	ghosts  map[string]int // what is gone, and until when general lists show it
	ops     map[string]*operation
	log     []Request
	faults  []fault
	cut     *cut
	full    int // so many virtual machines find no room
	servers map[string]policy.Transporter
	custom  map[string]string // custom data of virtual machines, which no GET returns

	roles    []Role          // nil: all is allowed
	demanded map[string]bool // actions that requests needed
	limits   map[string]int  // by name of what is limited

	ctx  context.Context // of what the hardware does
	stop context.CancelFunc
	work sync.WaitGroup
}

// New returns an empty cloud. Close ends it if it has hardware.
func New(o Options) *Cloud {
	if o.Subscription == "" {
		o.Subscription = Subscription
	}
	if o.Location == "" {
		o.Location = Location
	}
	c := &Cloud{o: o, items: map[string]*item{}, ghosts: map[string]int{}, ops: map[string]*operation{}, custom: map[string]string{},
		demanded: map[string]bool{}, limits: map[string]int{}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.servers = c.serve()
	return c
}

// Credential is one that the cloud does not look at: that of Object.
type Credential struct{}

// GetToken returns a token for an hour, with the claims that Microsoft's have and no signature.
func (Credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	claims, err := json.Marshal(map[string]string{"oid": Object, "tid": Tenant, "upn": "ops@example.com", "idtyp": "user"})
	return azcore.AccessToken{Token: "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".", ExpiresOn: time.Now().Add(time.Hour)}, err
}

// Do answers a request.
func (c *Cloud) Do(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	c.pass()
	if words := strings.Split(req.URL.Path, "/"); c.o.Anywhere && c.now == 1 && len(words) > 2 && strings.EqualFold(words[1], "subscriptions") {
		c.o.Subscription = words[2]
	}
	r := Request{Method: req.Method, Path: req.URL.Path, API: apiOf(req.Method, req.URL.Path), Mutating: req.Method != http.MethodGet && req.Method != http.MethodHead}
	if r.Mutating && c.cut.strikes() {
		return nil, errors.New("read tcp 192.0.2.1:443: connection reset by peer")
	}
	resp := c.answer(req, r)
	r.Status = resp.StatusCode
	c.log = append(c.log, r)
	if c.o.Log != nil {
		c.o.Log(r)
	}
	if r.Mutating && c.cut.strikes() {
		return nil, errors.New("read tcp 192.0.2.1:443: connection reset by peer")
	}
	return resp, nil
}

// answer makes the answer to a request.
func (c *Cloud) answer(req *http.Request, r Request) *http.Response {
	if f := c.fault(r); f != nil {
		return f.response(req)
	}
	if f := c.unauthorized(req, r); f != nil {
		return f.response(req)
	}
	switch r.API {
	case "operation":
		return c.poll(req)
	case "permissions":
		resp := c.permissions(req)
		c.page(req, resp)
		return resp
	}
	if f := c.groupless(r); f != nil {
		return f.response(req)
	}
	if r.API == "ResourceGroupsClient.NewListPager" {
		resp := answered(req, map[string]any{"value": c.listGroups(req.URL.Query().Get("$filter"))})
		c.page(req, resp)
		return resp
	}
	client, _, _ := strings.Cut(r.API, ".")
	server := c.servers[client]
	if server == nil {
		return refuse(404, "InvalidResourceType", "the cloud has no %s %s", req.Method, req.URL.Path).response(req)
	}
	if req.Header.Get("If-None-Match") == "*" {
		if i := c.items[low(req.URL.Path)]; i != nil && !i.doomed {
			return refuse(412, "PreconditionFailed", "The condition specified using HTTP conditional header(s) is not met.").response(req)
		}
	}
	ctx := context.WithValue(context.WithoutCancel(req.Context()), runtime.CtxAPINameKey{}, r.API)
	before := len(c.ops)
	resp, err := server.Do(req.Clone(ctx))
	var f *fault
	switch {
	case errors.As(err, &f):
		return f.response(req)
	case err != nil:
		return refuse(500, "InternalServerError", "%s: %v", r.API, err).response(req)
	}
	resp.Header.Del("Fake-Poller-Status")
	resp.Header.Set("x-ms-request-id", fmt.Sprintf("request-%d", c.now))
	if r.Mutating && len(c.ops) > before {
		c.begun(req, resp)
	}
	if req.Method == http.MethodGet {
		c.page(req, resp)
	}
	return resp
}

// groupless refuses a list of what is in a group that is not there. Microsoft's fake servers, told of it by a pager, would answer the
// same request with an empty pager from then on.
func (c *Cloud) groupless(r Request) *fault {
	words := strings.Split(r.Path, "/")
	if !strings.HasSuffix(r.API, "Pager") || len(words) < 6 || !strings.EqualFold(words[3], "resourceGroups") {
		return nil
	}
	g := c.items[low(c.groupID(words[4]))]
	if g == nil || g.visible > c.now && r.API != "Client.NewListByResourceGroupPager" {
		return refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", words[4])
	}
	return nil
}

// answered is a document as it goes over the wire.
func answered(req *http.Request, doc map[string]any) *http.Response {
	text, _ := json.Marshal(doc)
	resp := refuse(http.StatusOK, "", "").response(req)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return resp
}

// page cuts a list into pages.
func (c *Cloud) page(req *http.Request, resp *http.Response) {
	if c.o.Page == 0 || resp.StatusCode != http.StatusOK {
		return
	}
	text, _ := io.ReadAll(resp.Body)
	doc := map[string]any{}
	all, ok := []any(nil), false
	if json.Unmarshal(text, &doc) == nil {
		all, ok = doc["value"].([]any)
	}
	if ok {
		from, _ := strconv.Atoi(req.URL.Query().Get("$skiptoken"))
		to := min(from+c.o.Page, len(all))
		doc["value"] = all[min(from, to):to]
		if to < len(all) {
			next := *req.URL
			q := next.Query()
			q.Set("$skiptoken", strconv.Itoa(to))
			next.RawQuery = q.Encode()
			doc["nextLink"] = next.String()
		}
		text, _ = json.Marshal(doc)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
}

// Requests returns those that were made, the first first.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Request(nil), c.log...)
}

// Writes counts the requests so far that change something.
func (c *Cloud) Writes() (n int) {
	for _, r := range c.Requests() {
		if r.Mutating {
			n++
		}
	}
	return n
}

// Left returns the resource IDs of all that is there.
func (c *Cloud) Left() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.items {
		ids = append(ids, i.id)
	}
	return ids
}

// Look returns what is there under a resource ID, as JSON has it; nil if nothing is.
func (c *Cloud) Look(id string) map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.items[low(id)]; i != nil {
		return copied(i.doc)
	}
	return nil
}

// CustomData returns what a virtual machine was given at its first boot, in base64.
func (c *Cloud) CustomData(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.custom[low(id)]
}

// Strip takes tags away, by the names that Azure has for them.
func (c *Cloud) Strip(id string, tags ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.items[low(id)]
	if i == nil {
		return fmt.Errorf("%s is not there", id)
	}
	have, _ := i.doc["tags"].(map[string]any)
	have = maps.Clone(have)
	for _, t := range tags {
		delete(have, t)
	}
	i.doc["tags"] = have
	return nil
}

// Stop turns a virtual machine off, as its own shutdown does.
func (c *Cloud) Stop(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.items[low(id)]
	if i == nil {
		return fmt.Errorf("%s is not there", id)
	}
	power(i.doc, "stopped")
	c.begin(c.halts(i), func(*fault) {}, nil)
	return nil
}

func low(id string) string { return strings.ToLower(strings.TrimSuffix(id, "/")) }

// copied is a document that shares no memory.
func copied(doc map[string]any) (out map[string]any) {
	text, _ := json.Marshal(doc)
	_ = json.Unmarshal(text, &out)
	return out
}
