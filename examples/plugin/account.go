package main

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/providers"
)

// Account returns what the rack says before something is made.
func (r *Rack) Account() providers.Account { return account{r} }

type account struct{ rack *Rack }

// Check counts slots. A vendor's would ask who it is, what it may do, and for quotas; what it may not see goes into Unseen.
func (a account) Check(ctx context.Context, n providers.Need) (providers.Report, error) {
	if err := ctx.Err(); err != nil {
		return providers.Report{}, fmt.Errorf("check: %w", err)
	}
	if a.rack.slots == 0 || len(n.Machines) == 0 {
		return providers.Report{}, nil
	}
	all, err := read[providers.Machine](a.rack, "machine")
	if err != nil {
		return providers.Report{}, fmt.Errorf("check: %w", err)
	}
	slots := providers.Limit{Name: "slots", Max: float64(a.rack.slots), Used: float64(len(all)), Need: float64(len(n.Machines)), Noun: providers.MachineNoun}
	return providers.Report{Place: "folder " + a.rack.folder, Limits: []providers.Limit{slots}}, nil
}
