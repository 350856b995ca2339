package aws

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// plain keeps net/http from having a request's body write itself. The SDK closes the body as soon as an answer begins; its writer
// then says io.EOF to net/http, if that still looks for the body's end, and net/http drops the connection in the middle of the answer.
//
// It also tells a region that does not exist from a network that fails.
type plain struct {
	aws.HTTPClient
	region   string
	answered atomic.Bool // AWS has, so the region is one
}

// Do sends the request.
func (c *plain) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
	resp, err := c.HTTPClient.Do(req)
	var dns *net.DNSError
	switch {
	case err == nil:
		c.answered.Store(true)
	case errors.As(err, &dns) && dns.IsNotFound && !c.answered.Load():
		err = &nowhere{region: c.region, host: dns.Name, err: err}
	}
	return resp, err
}

// A nowhere is that AWS has no server of the name that a region's would have. It says the same each time, so nobody need try again.
type nowhere struct {
	region, host string
	err          error
}

// Error says what can be wrong.
func (n *nowhere) Error() string {
	return fmt.Sprintf("there is no server %s: AWS has no region %s, or this host cannot look up names of the internet", n.host, n.region)
}

// Unwrap returns what the look-up said.
func (n *nowhere) Unwrap() error { return n.err }
