package engine

import (
	"context"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// Price says in a plan that Plan or PlanDestroy returned, whole or in part, what there is to pay once it is executed.
func (e *Engine) Price(p *plan.Plan) { p.Cost = p.Price(e.Cluster, e.world) }

// prices asks for what a destroy saves, if the vendor has prices, while other things are looked at. The function that it returns waits
// for the answer and puts it into the world. A destroy does not fail because nobody knows what is saved by it.
func (e *Engine) prices(ctx context.Context) (settle func()) {
	prices := e.Provider.Caps().Prices
	if prices == nil {
		return func() {}
	}
	answer := make(chan []providers.MachineType, 1)
	go func() {
		types, err := e.Provider.Machines().Types(ctx)
		if err != nil {
			types = nil
		}
		answer <- types
	}()
	return func() {
		if types := <-answer; types != nil {
			e.world.Types, e.world.Prices = types, prices
		}
	}
}
