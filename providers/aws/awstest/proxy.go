package awstest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Request is what was asked of the cloud.
type Request struct {
	Service  string // "ec2", "elasticloadbalancing", "iam", "sts"
	Region   string
	Action   string
	Form     url.Values
	Mutating bool
	By       string // whoever the cloud knows the access key of: a user of Enforce or As, a role of Assume
	Status   int    // 0: the connection was cut
	Code     string // AWS's error code; empty if there was none
	Took     time.Duration

	body []byte // as it came
}

// reads says whether the action changes nothing.
func reads(action string) bool {
	return slices.ContainsFunc([]string{"Describe", "Get", "List"}, func(s string) bool { return strings.HasPrefix(action, s) })
}

// Requests returns what was asked since the start, the last Reset or Forget.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// Forget empties the log.
func (c *Cloud) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = nil
}

// Writes returns how many mutating requests were answered with success.
func (c *Cloud) Writes() int {
	n := 0
	for _, r := range c.Requests() {
		if r.Mutating && r.Status == http.StatusOK {
			n++
		}
	}
	return n
}

// A cut is a place where the connection ends.
type cut struct {
	at, next int
	reads    bool // requests that change nothing are places too
	struck   bool
}

// Cut makes the cloud unreachable from the n-th place on, counted from 0: before the first mutating request, after its effect
// but before its answer, before the second, and so on; with every, requests that read are places too. heal makes it
// reachable again and says whether there were so many places.
func (c *Cloud) Cut(n int, every bool) (heal func() (reached bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &cut{at: n, reads: every}
	c.cut = k
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cut == k {
			c.cut = nil
		}
		return k.struck
	}
}

// place passes one place, which the request is about to take, and says whether the connection ends there.
func (c *Cloud) place(r *Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.cut
	if k == nil {
		return false
	}
	if !k.struck && (r.Mutating || k.reads) {
		k.struck = k.next == k.at
		k.next++
	}
	return k.struck
}

// serve answers one request.
func (c *Cloud) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body))
	r := &Request{Action: form.Get("Action"), Form: form, body: body}
	r.Region, r.Service = scope(req.Header.Get("Authorization"))
	if target := req.Header.Get("X-Amz-Target"); target != "" { // a service that speaks JSON: ServiceQuotasV20190624.GetServiceQuota
		_, r.Action, _ = strings.Cut(target, ".")
	}
	c.mu.Lock()
	r.By = c.users[strings.Split(credential(req.Header.Get("Authorization")), "/")[0]]
	c.mu.Unlock()
	nobody := strings.Contains(form.Get("LoadBalancerArn")+form.Get("TargetGroupArn"), ":000000000000:") || // no account's
		strings.Contains(form.Get("RoleName")+form.Get("InstanceProfileName"), nobodys)
	r.Mutating = !reads(r.Action) && !r.dry() && !nobody
	start := time.Now()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		r.Took = time.Since(start)
		c.log = append(c.log, *r)
		if c.options.Log != nil {
			c.options.Log(*r)
		}
	}()
	if c.place(r) {
		hang(w)
		return
	}
	a := c.answer(req, r)
	if c.place(r) {
		hang(w)
		return
	}
	r.Status, r.Code = a.status, a.code
	if a.kind == "" {
		a.kind = "text/xml;charset=UTF-8"
	}
	w.Header().Set("Content-Type", a.kind)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// scope takes region and service out of the scope of a signature: …Credential=AKIA…/20261123/eu-west-1/ec2/aws4_request, …
func scope(authorization string) (region, service string) {
	if parts := strings.Split(credential(authorization), "/"); len(parts) > 3 {
		return parts[2], parts[3]
	}
	return "", ""
}

// credential is the access key and the scope of a signature.
func credential(authorization string) string {
	_, scope, _ := strings.Cut(authorization, "Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	return scope
}

// hang ends the connection without an answer.
func hang(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			conn.Close()
		}
	}
}

// An answer is what the client gets.
type answer struct {
	status int
	code   string
	kind   string
	body   []byte
}

// refusal is an error as AWS words it.
func (c *Cloud) refusal(r *Request, status int, code, message string) answer {
	id := fmt.Sprintf("%08x-awstest", len(c.Requests()))
	var body string
	if r.Service == "ec2" {
		body = fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>", code, escape(message), id)
	} else {
		body = fmt.Sprintf("<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>", code, escape(message), id)
	}
	return answer{status: status, code: code, body: []byte(body)}
}

// answer is what AWS would say.
func (c *Cloud) answer(req *http.Request, r *Request) answer {
	if a, ok := c.throttled(r); ok {
		return a
	}
	if a, ok := c.faulty(r); ok {
		return a
	}
	if a, ok := c.forbidden(req, r); ok {
		return a
	}
	if a, ok := reserved(r); ok {
		return a
	}
	switch {
	case r.dry():
		return c.tried(req, r)
	case r.Service == "servicequotas":
		return c.quota(req, r)
	}
	if a, ok := c.premature(r); ok {
		return a
	}
	if a, ok := c.disorderly(req, r); ok {
		return a
	}
	if key := tokenOf(r); key != "" {
		return c.once(key, r, func() answer { return c.ask(req, r) })
	}
	return c.ask(req, r)
}

// ask asks moto and makes its answer AWS's.
func (c *Cloud) ask(req *http.Request, r *Request) answer {
	if r.Action == "GetConsoleOutput" {
		if a := c.worded(r, c.forward(req, r.body)); a.code == "UnauthorizedOperation" {
			return a
		}
		return c.consoleOutput(r)
	}
	page := c.paged(r)
	tree, a := c.hooked(r, func() (*tree, answer) { return c.told(req, r) })
	if tree == nil {
		return a
	}
	c.note(r, tree)
	c.follow(req, r)
	c.dress(r, tree)
	page(tree)
	a.body = tree.bytes()
	return a
}

// told is moto's answer, read; nil if it is an error or no document. What never changes and takes moto seconds, its catalogue
// of machine types, is asked for once.
func (c *Cloud) told(req *http.Request, r *Request) (*tree, answer) {
	constant := strings.HasPrefix(r.Action, "DescribeInstanceType")
	key := digest(r)
	c.mu.Lock()
	known := c.catalogue[key]
	c.mu.Unlock()
	if constant && known != nil {
		return known.copied(), answer{status: http.StatusOK}
	}
	a := c.worded(r, c.forward(req, []byte(r.Form.Encode())))
	if a.code != "" || a.status != http.StatusOK {
		return nil, a
	}
	t, err := parse(a.body)
	if err != nil {
		return nil, a
	}
	if constant {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.catalogue[key] = t.copied()
	}
	return t, a
}

// forward sends the request on with a body, signed anew, and says what moto answered.
func (c *Cloud) forward(req *http.Request, body []byte) answer {
	out, err := http.NewRequestWithContext(req.Context(), req.Method, c.moto+req.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return answer{status: http.StatusInternalServerError, code: "InternalError"}
	}
	for k, v := range req.Header {
		if k != "Content-Length" && k != "Accept-Encoding" {
			out.Header[k] = v
		}
	}
	if err := c.sign(out, body); err != nil {
		return answer{status: http.StatusInternalServerError, code: "InternalError", body: []byte(err.Error())}
	}
	resp, err := c.client.Do(out)
	if err != nil {
		return answer{status: http.StatusInternalServerError, code: "InternalError", body: []byte(err.Error())}
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{status: http.StatusInternalServerError, code: "InternalError", body: []byte(err.Error())}
	}
	a := answer{status: resp.StatusCode, kind: resp.Header.Get("Content-Type"), body: said}
	if resp.StatusCode != http.StatusOK {
		a.code = "moto " + resp.Status
		if _, after, ok := bytes.Cut(said, []byte("<Code>")); ok {
			code, _, _ := bytes.Cut(after, []byte("</Code>"))
			a.code = string(code)
		}
	}
	return a
}
