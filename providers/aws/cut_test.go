package aws

import (
	"sync/atomic"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
	"github.com/provisionhq/provision/providers/providertest"
)

// TestCutAnywhere cuts every place where the connection can break: before the effect of each request that changes something,
// and after it. Kinds are cut beside each other, each at a cloud of its own.
func TestCutAnywhere(t *testing.T) {
	var cuts, requests atomic.Int64
	t.Run("kinds", func(t *testing.T) {
		for _, kind := range []providers.Noun{providers.NetworkNoun, providers.MachineNoun, providers.BalancerNoun, providers.VolumeNoun, providers.SnapshotNoun} {
			for _, verb := range []string{"create", "update", "delete"} {
				t.Run(string(kind)+" "+verb, func(t *testing.T) {
					t.Parallel()
					c := own(t, awstest.Options{})
					cutAt(t, c, string(kind)+"/cut-"+verb, &cuts)
					requests.Add(int64(len(c.Requests())))
				})
			}
		}
	})
	t.Logf("%d cuts in %d requests", cuts.Load(), requests.Load())
	if cuts.Load() < 100 {
		t.Errorf("%d cuts are fewer than there are places", cuts.Load())
	}
}

// cutAt runs one case of the suite.
func cutAt(t *testing.T, c *awstest.Cloud, name string, cuts *atomic.Int64) {
	p := at(t, c, oneZone)
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		f := fixture(t, c, p)
		f.Slow = true // there are thousands of requests
		f.Only = func(is string) bool { return is == name }
		f.Network = func(n *providers.NetworkSpec) { n.Zones = oneZone.Zones }
		f.Cut = func(n int) func() bool {
			heal := c.Cut(n, false)
			return func() bool {
				reached := heal()
				if reached {
					cuts.Add(1)
				}
				return reached
			}
		}
		return f
	})
	report(t, c)
}
