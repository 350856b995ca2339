// Package etcdapi speaks to etcd in plain HTTP, through the gateway that every member serves beside gRPC. That is all that a
// node agent needs: a gRPC client would make it half as large again.
package etcdapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	dialTimeout = time.Second
	// timeout is how long one member may take to answer: a little longer than etcd itself gives a request.
	timeout = 8 * time.Second
)

// A Client asks the members of one etcd. It is safe for concurrent use.
type Client struct {
	endpoints []string
	http      *http.Client
}

// New returns a client of the members at the endpoints, https URLs without a path. It trusts the authority in caFile, and
// shows the certificate in the two files as they are whenever it connects.
func New(endpoints []string, caFile, certFile, keyFile string) (*Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{endpoints, &http.Client{Transport: &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 3 * time.Second,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     30 * time.Second,
		TLSClientConfig: &tls.Config{
			RootCAs: roots,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				c, err := tls.LoadX509KeyPair(certFile, keyFile)
				return &c, err
			},
		},
	}}}, nil
}

// At returns the client with other endpoints. Both share their connections.
func (c *Client) At(endpoints ...string) *Client { return &Client{endpoints, c.http} }

// Close closes connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Codes of answers, which are gRPC's.
const (
	NotFound           = 5
	AlreadyExists      = 6
	FailedPrecondition = 9
	Unavailable        = 14
)

// An Error is a refusal by etcd.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error returns etcd's words.
func (e *Error) Error() string { return e.Message }

// Is reports whether err is a refusal with one of the codes.
func Is(err error, codes ...int) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// call asks the endpoints one after the other until one can answer. A member that has no leader, or is a learner, sends the
// caller to the next one.
func (c *Client) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var refused error // by a member: it says more than that others are not there
	last := errors.New("no member of etcd to ask")
	for _, e := range c.endpoints {
		err := c.ask(ctx, e+"/v3/"+path, body, out)
		if err == nil || final(err) || ctx.Err() != nil {
			return err
		}
		last = fmt.Errorf("%s: %w", e, err)
		if by := new(Error); refused == nil && errors.As(err, &by) {
			refused = last
		}
	}
	if refused != nil {
		return refused
	}
	return last
}

// final reports whether another member would say the same.
func final(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code != Unavailable && e.Message != "etcdserver: rpc not supported for learner"
}

func (c *Client) ask(ctx context.Context, url string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return cause(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		refusal := &Error{}
		if json.Unmarshal(answer, refusal) != nil || refusal.Message == "" {
			return &Error{Unavailable, "etcd answers " + res.Status}
		}
		return refusal
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// cause returns the last word of a failed request.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
