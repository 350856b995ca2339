package providertest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// checkFunc is an account whose Check it is.
type checkFunc func(context.Context, providers.Need) (providers.Report, error)

// Check calls the function.
func (f checkFunc) Check(ctx context.Context, n providers.Need) (providers.Report, error) {
	return f(ctx, n)
}

// brokenAccount breaks Check.
func brokenAccount(rule string, spoil func(next providers.Account, p *patched) checkFunc) broken {
	cpus := 64.
	options := fake.Options{
		Account: &fake.Account{Identity: "ops", CPUs: &cpus, Unseen: []string{"the weather"}},
		Quota:   map[providers.Noun]int{providers.NetworkNoun: 1000},
	}
	return broken{rule: rule, options: options, spoil: func(_ *Fixture, p *patched) { p.account = spoil(p.account, p) }}
}

func brokenAccounts() []broken {
	// after spoils the report of what is needed.
	after := func(rule string, spoil func(*providers.Report, providers.Need)) broken {
		return brokenAccount(rule, func(next providers.Account, _ *patched) checkFunc {
			return func(ctx context.Context, n providers.Need) (providers.Report, error) {
				r, err := next.Check(ctx, n)
				if err == nil {
					spoil(&r, n)
				}
				return r, err
			}
		})
	}
	return []broken{
		after("account/nothing", func(r *providers.Report, n providers.Need) {
			if len(n.Machines) == 0 {
				r.Limits = []providers.Limit{{Name: "CPUs", Max: 8, Need: 2}}
			}
		}),
		after("account/check", func(r *providers.Report, n providers.Need) {
			if len(n.Machines) > 0 {
				r.Missing = []string{"machines.create"}
			}
		}),
		after("account/report", func(r *providers.Report, _ providers.Need) {
			r.Limits = append(r.Limits, providers.Limit{Name: "A", Max: 8})
		}),
		brokenAccount("account/unchanged", func(next providers.Account, p *patched) checkFunc {
			return func(ctx context.Context, n providers.Need) (providers.Report, error) {
				if len(n.Networks) > 0 && ctx.Err() == nil {
					tried := n.Networks[0]
					tried.Owner = "somebody"
					if o, err := p.networks.Create(ctx, tried); err == nil {
						_ = p.networks.Delete(ctx, o.ID)
					}
				}
				return next.Check(ctx, n)
			}
		}),
		brokenAccount("account/copies", func(next providers.Account, _ *patched) checkFunc {
			var kept atomic.Pointer[providers.Report]
			return func(ctx context.Context, n providers.Need) (providers.Report, error) {
				r, err := next.Check(ctx, n)
				if err != nil || len(n.Machines) == 0 {
					return r, err
				}
				kept.CompareAndSwap(nil, &r)
				return *kept.Load(), nil
			}
		}),
		brokenAccount("account/concurrent", func(next providers.Account, _ *patched) checkFunc {
			var busy atomic.Bool
			return func(ctx context.Context, n providers.Need) (providers.Report, error) {
				if !busy.CompareAndSwap(false, true) {
					return providers.Report{}, providers.Conflict
				}
				defer busy.Store(false)
				time.Sleep(time.Millisecond)
				return next.Check(ctx, n)
			}
		}),
		brokenAccount("account/cancelled", func(next providers.Account, _ *patched) checkFunc {
			return func(ctx context.Context, n providers.Need) (providers.Report, error) {
				return next.Check(context.WithoutCancel(ctx), n)
			}
		}),
	}
}
