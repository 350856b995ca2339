package gcptest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// A refusal is an error as Google answers it.
type refusal struct {
	status          int
	reason, message string
	after           int // seconds in Retry-After
}

func refuse(status int, reason, format string, args ...any) *refusal {
	return &refusal{status: status, reason: reason, message: fmt.Sprintf(format, args...)}
}

// body is the refusal in Google's form: https://cloud.google.com/apis/design/errors#http_mapping, the older one, which Compute has.
func (r *refusal) body() object {
	domain := "global"
	switch r.reason {
	case "quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "limitExceeded":
		domain = "usageLimits"
	}
	return object{"error": object{"code": r.status, "message": r.message, "errors": []any{object{"message": r.message, "domain": domain, "reason": r.reason}}}}
}

// A call is a request that is being answered.
type call struct {
	*method
	vars  map[string]string
	query url.Values
	body  object
	log   *Request
}

// place is where the call is: "zones/z", "regions/r" or "global".
func (r *call) place() string {
	switch {
	case r.vars["zone"] != "":
		return "zones/" + r.vars["zone"]
	case r.vars["region"] != "":
		return "regions/" + r.vars["region"]
	}
	return "global"
}

// name is that of the thing that the call is about.
func (r *call) name() string { return r.vars[r.names[len(r.names)-1]] }

// kind is the collection in URLs.
func (r *call) kind() string {
	switch r.collection {
	case "regionBackendServices":
		return "backendServices"
	case "regionHealthChecks":
		return "healthChecks"
	case "zoneOperations", "regionOperations", "globalOperations":
		return "operations"
	}
	return r.collection
}

// mutates says whether the method changes something.
func (m *method) mutates() bool {
	return m.Verb != "GET" && m.verb != "wait" && m.verb != "listNetworkEndpoints"
}

// serve answers a request.
func (c *Cloud) serve(w http.ResponseWriter, q *http.Request) {
	data, _ := io.ReadAll(q.Body)
	entry := Request{Path: q.URL.RequestURI(), Body: string(data)}
	guest := c.guest(q.URL.Path)
	q.URL.Path, data = rename(q.URL.Path, guest, Project), []byte(rename(string(data), guest, Project))
	m, vars := c.api.find(q.Method, q.URL.Path)
	if m != nil {
		entry.Method, entry.Mutating = m.id, m.mutates()
	}
	if m != nil && m.mutates() && c.struck() {
		abort(w)
		return
	}
	var answer object
	var no *refusal
	if m == nil {
		answer, no = c.beside(q, data, &entry)
	}
	if m == nil && answer == nil && no == nil {
		no = refuse(404, "notFound", "The requested URL %s was not found on this server.", q.URL.Path)
	} else if m != nil {
		answer, no = c.answer(&call{method: m, vars: vars, query: q.URL.Query(), log: &entry}, data)
	}
	status := http.StatusOK
	if no != nil {
		status, answer, entry.Reason = no.status, no.body(), no.reason
		if no.after > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(no.after))
		}
	}
	entry.Status = status
	c.mu.Lock()
	c.log = append(c.log, entry)
	text, _ := json.Marshal(answer) // under the lock: it may be a thing's own
	c.mu.Unlock()
	if m != nil && m.mutates() && c.struck() {
		abort(w)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(rename(string(text), Project, guest)))
}

// abort ends the connection without an answer.
func abort(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// answer checks a request and does what it asks for.
func (c *Cloud) answer(r *call, data []byte) (object, *refusal) {
	if no := r.parameters(r.query); no != nil {
		return nil, no
	}
	if no := c.read(r, data); no != nil {
		return nil, no
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	if c.rushed() {
		return nil, &refusal{status: 403, reason: "rateLimitExceeded", message: "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'compute.googleapis.com'"}
	}
	if f := c.faulty(r.id, false); f != nil {
		return nil, &refusal{f.status, f.code, f.message, f.after}
	}
	if no := c.denied(r); no != nil {
		return nil, no
	}
	if r.verb == "wait" {
		return c.waited(r)
	}
	if !r.mutates() {
		return c.reads(r)
	}
	id := r.query.Get("requestId")
	if id == "" {
		return c.changes(r)
	}
	if !uuidForm.MatchString(id) || strings.Trim(id, "0-") == "" {
		return nil, refuse(400, "invalid", "Invalid value for field 'requestId': '%s'. Must be a valid UUID.", id)
	}
	if op := c.done[id]; op != nil {
		return op.body, nil
	}
	o, no := c.changes(r)
	if no == nil && len(c.running) > 0 {
		c.done[id] = c.running[len(c.running)-1]
	}
	return o, no
}

// read parses and checks the body.
func (c *Cloud) read(r *call, data []byte) *refusal {
	if len(data) > 0 {
		if err := json.Unmarshal(data, &r.body); err != nil {
			return refuse(400, "parseError", "Parse Error")
		}
	}
	if r.Request == "" {
		return nil
	}
	if r.body == nil {
		return refuse(400, "required", "Required field 'resource' not specified")
	}
	return c.api.check("resource", &schema{Ref: r.Request}, r.body, true)
}

// rushed counts the request, and says whether it is one too many.
func (c *Cloud) rushed() bool {
	if c.options.Rate == 0 {
		return false
	}
	if now := time.Now(); now.Sub(c.window) > 100*time.Millisecond {
		c.window, c.count = now, 0
	}
	c.count++
	return c.count > c.options.Rate
}
