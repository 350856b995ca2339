// Package api speaks to Kubernetes' API in plain HTTP, which is all that a node agent needs: a client library would be ten
// times the size of everything else in it.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// timeout is how long one request may take, but for Stream.
const timeout = 15 * time.Second

// A Client sends requests as whom its certificate says. It is safe for concurrent use.
type Client struct {
	server string
	http   *http.Client
}

// New returns a client of the server, an https URL. It trusts the authority in caFile, and shows the certificate in the
// two files as they are whenever it connects.
func New(server, caFile, certFile, keyFile string) (*Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &Client{server, &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     time.Minute,
		TLSClientConfig: &tls.Config{
			RootCAs: roots,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				c, err := tls.LoadX509KeyPair(certFile, keyFile)
				return &c, err
			},
		},
	}}}, nil
}

// A StatusError is an answer other than success.
type StatusError struct {
	Code int
	Text string
}

// Error returns what the server said.
func (e StatusError) Error() string { return fmt.Sprintf("API answers %d: %s", e.Code, e.Text) }

// IsStatus reports whether err is a StatusError with one of the codes.
func IsStatus(err error, codes ...int) bool {
	var s StatusError
	if !errors.As(err, &s) {
		return false
	}
	for _, c := range codes {
		if s.Code == c {
			return true
		}
	}
	return false
}

// Do sends a request, with body as JSON unless it is nil, and reads the answer into out unless that is nil.
func (c *Client) Do(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, res)
		return err
	}
	return json.NewDecoder(res).Decode(out)
}

// Stream sends a GET and returns the answer for the caller to read and close. It ends with ctx.
func (c *Client) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	return c.send(ctx, http.MethodGet, path, nil)
}

func (c *Client) send(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	var s struct{ Message string }
	_ = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&s)
	return nil, StatusError{res.StatusCode, s.Message}
}
