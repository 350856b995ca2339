package gcp

import (
	"testing"

	"github.com/provisionhq/provision/providers/gcp/gcptest"
	"github.com/provisionhq/provision/providers/providertest"
)

// TestCutAnywhere runs the suite with every place cut where the connection can break: before the effect of each request that
// changes something, and after it.
func TestCutAnywhere(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{NAT: NATOne})
	nothingLeft(t)
	cuts := 0
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		f := fixture(t, p)
		f.Slow = true // there are thousands of requests
		f.Cut = func(n int) func() bool {
			heal := cloud.Cut(n)
			return func() bool {
				reached := heal()
				if reached {
					cuts++
				}
				return reached
			}
		}
		return f
	})
	t.Logf("%d cuts, each before or after the effect of a request", cuts)
	if cuts < 100 {
		t.Errorf("%d cuts are fewer than there are places", cuts)
	}
	report(t)
}
