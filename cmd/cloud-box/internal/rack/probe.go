//go:build linux

package rack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A Check is how a vendor looks whether a target is well.
type Check struct {
	Scheme string // "http", "https", or anything else for a TCP connect
	Port   int
	Path   string
}

// probeLimit is how long a look may take.
const probeLimit = time.Second

// Probe looks at a machine once, as the check says; an error says what is wrong.
func (r *Rack) Probe(ctx context.Context, id string, c Check) error {
	if phase, _ := r.Phase(id); phase != Running {
		return errors.New("the machine does not run")
	}
	a, _ := r.Address(id)
	at := netip.AddrPortFrom(a, uint16(c.Port)).String()
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if c.Scheme != "http" && c.Scheme != "https" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Scheme+"://"+at+c.Path, nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // vendors do not look at certificates either
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("health checks failed with these codes: [%d]", resp.StatusCode)
	}
	return nil
}
