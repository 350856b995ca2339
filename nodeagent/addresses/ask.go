package addresses

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
)

// proxyPort is where kube-proxy says whether it is well: that it has written its rules, and that its node is to stay.
const proxyPort = 10256

// Proxy returns a function that asks the kube-proxy of a node whether it is well, for Options.Well.
func Proxy() func(context.Context, netip.Addr) error {
	// A connection to each node is kept; nobody in between is to be asked.
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	return func(ctx context.Context, node netip.Addr) error {
		url := fmt.Sprintf("http://%s/healthz", netip.AddrPortFrom(node, proxyPort))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", res.Status)
		}
		return nil
	}
}
