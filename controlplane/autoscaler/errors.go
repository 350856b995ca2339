package autoscaler

import (
	"errors"
	"fmt"

	karpenter "sigs.k8s.io/karpenter/pkg/cloudprovider"

	"github.com/provisionhq/provision/providers"
)

// A verdict is what follows from a vendor's refusal to make a machine.
type verdict int

const (
	again   verdict = iota // the same is tried once more
	another                // another type or zone is tried, and this one not for a while
	broken                 // nothing of the pool can be made before somebody does something
)

// verdicts are the kinds that say more than that it did not work.
func verdicts() map[providers.Kind]verdict {
	return map[providers.Kind]verdict{
		providers.Capacity:    another,
		providers.Quota:       another,
		providers.Invalid:     broken,
		providers.Denied:      broken,
		providers.Unsupported: broken,
		providers.NotFound:    broken, // the network, or an image
		providers.Exists:      again,
		providers.Conflict:    again,
		providers.Throttled:   again,
		providers.Unavailable: again,
	}
}

// judge says what follows from an error.
func judge(err error) verdict {
	for kind, v := range verdicts() {
		if errors.Is(err, kind) {
			return v
		}
	}
	return again
}

// errNotThere is Karpenter's word for a machine that is gone.
func errNotThere(what string) error {
	return karpenter.NewNodeClaimNotFoundError(fmt.Errorf("machine %s is gone", what))
}
