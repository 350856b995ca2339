package all

import (
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal"
	"github.com/provisionhq/provision/providers/retry"
)

// offlineMetal reads the inventory and asks none of its hosts.
func offlineMetal(attributes map[string]any) (Offer, error) {
	p, err := metal.Open(attributes)
	if err != nil {
		return Offer{}, err
	}
	return Offer{Caps: p.Caps(), Types: p.TypeNames()}, nil
}

// openMetal knows the attributes and blocks of an inventory: see metal.Open. An inventory that is wrong is a
// *metal.InventoryError.
func openMetal(attributes map[string]any) (providers.Provider, error) {
	p, err := metal.Open(attributes)
	if err != nil {
		return nil, err
	}
	// A host is tried for long enough by itself, and no host becomes free by waiting.
	return retry.Wrap(p, retry.Options{
		Busy:     retry.Pace{First: time.Second, Max: time.Second, Attempts: 2},
		Capacity: retry.Pace{First: time.Second, Max: time.Second, Attempts: 1},
	}), nil
}
