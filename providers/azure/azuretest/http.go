package azuretest

import (
	"context"
	"io"
	"net/http"
)

// ServeHTTP answers requests of other programs, as Azure Resource Manager at any address: http.Serve(listener, cloud). Where a
// test cuts the connection, it is cut.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := r.Clone(context.WithoutCancel(r.Context())) // who hangs up does not undo what was asked for
	req.URL.Scheme, req.URL.Host = "http", r.Host
	resp, err := c.Do(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length") // pages are shorter than what they are cut of
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // who does not listen any more gets no more
}

// Close cuts off what the hardware does, and waits until it has ended.
func (c *Cloud) Close() {
	c.stop()
	c.work.Wait()
}
