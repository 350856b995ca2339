package engine

import (
	"context"
	"reflect"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// Preflight asks the vendor, if the plan makes objects there, whether the account may and can have them, and notes in the plan
// what it said. What would be refused is the error, all of it at once; nothing is touched then. What could not be looked at is
// among the warnings.
func (e *Engine) Preflight(ctx context.Context, p *plan.Plan) (warnings diag.Diagnostics, err error) {
	q := e.inquire(p)
	if e.NoCheck || empty(q.need) {
		return nil, nil
	}
	if e.asked != nil && reflect.DeepEqual(q.need, e.asked.need) && reflect.DeepEqual(q.besides, e.asked.besides) {
		q = e.asked
	} else {
		q.ask(ctx, e)
	}
	r, err := q.answer()
	if err != nil {
		return nil, err
	}
	need := q.need
	for _, p := range notOffered(need, e.world.Types) {
		if !slices.ContainsFunc(r.Problems, func(o providers.Problem) bool {
			return o.Noun == p.Noun && o.Name == p.Name && (o.Field == "type" || o.Field == "zone")
		}) {
			r.Problems = append(r.Problems, p) // the vendor has not said it itself
		}
	}
	f := newFindings(e, r, need)
	if ds := f.refused(); ds.HasErrors() {
		return f.unseen(), ds
	}
	if r.Identity != "" || r.Place != "" || len(r.Limits)+len(r.Unseen) > 0 {
		p.Preflight = &plan.Preflight{Identity: r.Identity, Place: r.Place, Limits: r.Limits, Unseen: r.Unseen}
	}
	return f.unseen(), nil
}

func empty(n providers.Need) bool {
	return len(n.Networks)+len(n.Machines)+len(n.LoadBalancers)+len(n.Volumes) == 0
}

// An inquiry is what the vendor is asked about a plan.
type inquiry struct {
	need    providers.Need // all that it has to make
	besides providers.Need // the same without what is replaced
	done    chan struct{}
	report  providers.Report
	err     error
}

func (e *Engine) inquire(p *plan.Plan) *inquiry {
	need := func(anew bool) providers.Need { return p.Need(e.Cluster, e.want.Identity, e.world, anew) }
	return &inquiry{need: need(true), besides: need(false), done: make(chan struct{})}
}

// askEarly asks the vendor about what the lists say is to be made, while hosts are asked what runs on them. Preflight takes the
// answer if the whole plan needs just that.
func (e *Engine) askEarly(ctx context.Context) {
	e.asked = nil
	if e.NoCheck || !e.want.Nodes || len(e.world.Machines) == 0 { // no host is asked: Preflight comes at once
		return
	}
	if q := e.inquire(plan.Diff(e.Cluster, e.want, e.world)); !empty(q.need) {
		e.asked = q
		q.ask(ctx, e)
	}
}

// ask begins to ask.
func (q *inquiry) ask(ctx context.Context, e *Engine) {
	go func() {
		defer close(q.done)
		q.report, q.err = e.check(ctx, q.need, q.besides)
	}()
}

// answer waits for the answer.
func (q *inquiry) answer() (providers.Report, error) {
	<-q.done
	return q.report, q.err
}

// check asks the vendor about all that is needed. Its limits are those for what is made besides: where a machine is replaced, the
// old one gives back first what the new one takes.
func (e *Engine) check(ctx context.Context, need, besides providers.Need) (r providers.Report, err error) {
	ctx, cancel := context.WithTimeout(e.observed(ctx, lookStep), listTimeout)
	defer cancel()
	var counted providers.Report
	replaces := len(need.Machines) > len(besides.Machines)
	g, ctx := errgroup.WithContext(ctx)
	ask := func(n providers.Need, to *providers.Report) {
		g.Go(func() (err error) { *to, err = e.Provider.Account().Check(ctx, n); return err })
	}
	if ask(need, &r); replaces && !empty(besides) {
		ask(besides, &counted)
	}
	if err := g.Wait(); err != nil {
		return r, e.vendorError("look at the account", err)
	}
	if replaces {
		r.Limits = counted.Limits
	}
	return r, nil
}
