package azuretest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// A fault is a refusal as Azure words it.
type fault struct {
	api           string // of the requests that it is for
	left          int    // how many more
	status        int
	code, message string
	header        http.Header
}

// Error says it in one line.
func (f *fault) Error() string { return f.code + ": " + f.message }

func refuse(status int, code, format string, args ...any) *fault {
	return &fault{status: status, code: code, message: fmt.Sprintf(format, args...), header: http.Header{}}
}

// response is the refusal as it goes over the wire.
func (f *fault) response(req *http.Request) *http.Response {
	text, _ := json.Marshal(map[string]any{"error": map[string]any{"code": f.code, "message": f.message}})
	h := f.header.Clone()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("x-ms-request-id", "refused-1")
	return &http.Response{StatusCode: f.status, Status: fmt.Sprintf("%d %s", f.status, http.StatusText(f.status)), Header: h, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(strings.NewReader(string(text))), ContentLength: int64(len(text))}
}

// Fail makes the next n requests of a call of the SDK ("VirtualMachinesClient.BeginCreateOrUpdate") fail.
func (c *Cloud) Fail(api string, n, status int, code, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := refuse(status, code, "%s", message)
	f.api, f.left = api, n
	c.faults = append(c.faults, *f)
}

// NoCapacity lets the next n virtual machines find no room, as the end of their operation.
func (c *Cloud) NoCapacity(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = n
}

// fault returns why a request is refused; nil if it is not.
func (c *Cloud) fault(r Request) *fault {
	for i := range c.faults {
		if f := &c.faults[i]; f.api == r.API && f.left > 0 {
			f.left--
			return f
		}
	}
	if c.o.Rate > 0 && c.now%(c.o.Rate+1) == 0 {
		f := refuse(http.StatusTooManyRequests, "TooManyRequests", "The request is being throttled as the limit has been reached for operation type.")
		f.header.Set("Retry-After", "0")
		f.header.Set("x-ms-retry-after-ms", "2")
		f.header.Set("x-ms-ratelimit-remaining-resource", "Microsoft.Compute/VMOperations;"+strconv.Itoa(0))
		return f
	}
	return nil
}

// A cut breaks the connection at one place: before the effect of a request that changes something, or after it.
type cut struct {
	place, at int
	struck    bool
}

// strikes counts a place and says whether the connection breaks there.
func (k *cut) strikes() bool {
	if k == nil {
		return false
	}
	k.place++
	if k.place-1 != k.at || k.struck {
		return false
	}
	k.struck = true
	return true
}

// Cut breaks the connection at the n-th place, counted from 0. heal ends that and says whether there were so many places.
func (c *Cloud) Cut(n int) (heal func() (reached bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &cut{at: n}
	c.cut = k
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cut = nil
		return k.struck
	}
}
