package azuretest

import (
	"fmt"
	"net/http"
	"strings"
)

// An operation takes time.
type operation struct {
	id     string
	due    int
	err    *fault
	finish func(*fault)
	busy   bool // the hardware is at it
	over   bool
}

// later begins an operation whose end does something.
func (c *Cloud) later(finish func(), err *fault) {
	c.begin(nil, func(*fault) { finish() }, err)
}

// begin begins an operation that the hardware may have an errand for. finish hears why it failed; nil if it did not.
func (c *Cloud) begin(do errand, finish func(*fault), err *fault) {
	c.serial++
	id := fmt.Sprintf("op-%d", c.serial)
	o := &operation{id: id, due: c.now + c.o.Slow, finish: finish, err: err, busy: do != nil}
	c.ops[id] = o
	if do != nil {
		c.work.Go(func() { c.run(o, do) })
	}
	if c.o.Slow == 0 {
		c.pass()
	}
}

// run lets the hardware do an errand. Its error is the operation's.
func (c *Cloud) run(o *operation, do errand) {
	then, err := do(c.ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	o.busy = false
	if err != nil && o.err == nil {
		o.err = refuse(500, "InternalExecutionError", "The hardware: %v", err)
	}
	if err == nil {
		then()
	}
	c.pass()
}

// pass ends the operations whose time has come.
func (c *Cloud) pass() {
	for _, o := range c.ops {
		if !o.over && !o.busy && o.due <= c.now {
			o.over = true
			o.finish(o.err)
		}
	}
}

// haste is how soon, in milliseconds, clients may ask again: at once where time is counted in requests.
func (c *Cloud) haste() string {
	for _, o := range c.ops {
		if o.busy {
			return "200"
		}
	}
	return "1"
}

// begun says in the headers of an answer that an operation has begun.
func (c *Cloud) begun(req *http.Request, resp *http.Response) {
	header, under := operationsOf(low(req.URL.Path), c.o.Location)
	resp.Header.Set(header, fmt.Sprintf("%s://%s/subscriptions/%s/%s/op-%d?api-version=2024-01-01", req.URL.Scheme, req.URL.Host, c.o.Subscription, under, c.serial))
	resp.Header.Set("Retry-After", "1")
	resp.Header.Set("x-ms-retry-after-ms", c.haste())
	resp.StatusCode = http.StatusAccepted
	if p := low(req.URL.Path); req.Method == http.MethodPut && !strings.Contains(p, "/disks/") && !strings.Contains(p, "/snapshots/") {
		resp.StatusCode = http.StatusCreated
	}
	if req.Method == http.MethodDelete || req.Method == http.MethodPost {
		resp.Body, resp.ContentLength = http.NoBody, 0
	}
	resp.Status = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
}

// operationsOf is how a thing's operations are found: the header that says it, and where.
func operationsOf(path, location string) (header, under string) {
	switch {
	case !strings.Contains(path, "/providers/"):
		return "Location", "operationresults"
	case strings.Contains(path, "/microsoft.network/"):
		return "Azure-AsyncOperation", "providers/Microsoft.Network/locations/" + location + "/operations"
	case strings.Contains(path, "/disks/") || strings.Contains(path, "/snapshots/"):
		return "Azure-AsyncOperation", "providers/Microsoft.Compute/locations/" + location + "/DiskOperations"
	}
	return "Azure-AsyncOperation", "providers/Microsoft.Compute/locations/" + location + "/operations"
}

// poll answers how far an operation is.
func (c *Cloud) poll(req *http.Request) *http.Response {
	o := c.ops[req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]]
	if o == nil {
		return refuse(404, "NotFound", "The entity was not found.").response(req)
	}
	code := http.StatusOK
	location := ""
	doc := map[string]any{"status": "InProgress"}
	if strings.Contains(req.URL.Path, "/operationresults/") {
		if !o.over {
			code, location = http.StatusAccepted, req.URL.String()
		}
	} else if o.over {
		doc["status"] = "Succeeded"
		if o.err != nil {
			doc["status"], doc["error"] = "Failed", map[string]any{"code": o.err.code, "message": o.err.message}
		}
	}
	resp := answered(req, doc)
	resp.StatusCode = code
	resp.Header.Set("x-ms-retry-after-ms", c.haste())
	if location != "" {
		resp.Header.Set("Location", location)
	}
	return resp
}
