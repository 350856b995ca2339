package engine

import (
	"context"

	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// Price says in a plan that Plan or PlanDestroy returned, whole or in part, what there is to pay once it is executed.
func (e *Engine) Price(p *plan.Plan) { p.Cost = p.Price(e.Cluster, e.world) }

// prices asks for what a destroy saves, if the vendor has prices, and closes what it returns when it knows. A destroy does not
// fail because nobody knows what is saved by it.
func (e *Engine) prices(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	prices := e.Provider.Caps().Prices
	if prices == nil {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		if types, err := e.Provider.Machines().Types(ctx); err == nil {
			e.world.Types, e.world.Prices = types, prices
		}
	}()
	return done
}
