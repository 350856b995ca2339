package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// HTTPReady returns a probe that GETs the URL and wants 200. The certificate of an https server is checked against the
// authority in caFile, which is read when it is there.
func HTTPReady(url, caFile string) func(context.Context) error {
	load := sync.OnceValues(func() (*http.Client, error) { return client(caFile) })
	var mu sync.Mutex
	return func(ctx context.Context) error {
		mu.Lock()
		c, err := load()
		if err != nil {
			load = sync.OnceValues(func() (*http.Client, error) { return client(caFile) })
		}
		mu.Unlock()
		if err != nil {
			return err
		}
		return get(ctx, c, url)
	}
}

func client(caFile string) (*http.Client, error) {
	t := &http.Transport{MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", caFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{Transport: t}, nil
}

func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return cause(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, res.Status)
	}
	return nil
}

// cause returns the last word of a failed request: "connection refused" instead of three lines about it.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// Listening returns a gate that opens when somebody listens at a local TCP address, and says what it waits for until then.
func Listening(address, name string) func() string {
	return func() string {
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return name
		}
		c.Close()
		return ""
	}
}

// SocketReady returns a probe that connects to a unix socket.
func SocketReady(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return cause(err)
		}
		return c.Close()
	}
}
