package aws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/providers"
)

type account struct{ p *Provider }

// A check is one run of Check: a report that grows.
type check struct {
	p    *Provider
	need providers.Need

	mu sync.Mutex
	r  providers.Report
}

// atOnce is how many questions of one Check are asked at a time: AWS lets an account ask for 50 changes at once and 5 more each
// second, and a dry run counts as one.
const atOnce = 8

// Check asks who one is, and then, side by side, what one may do, may have and can get.
func (a account) Check(ctx context.Context, n providers.Need) (_ providers.Report, err error) {
	defer about(providers.CheckVerb, providers.AccountNoun, a.p.o.Region, &err)
	c := &check{p: a.p, need: n}
	me, err := a.p.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return providers.Report{}, err
	}
	c.r.Identity, c.r.Place = aws.ToString(me.Arn), fmt.Sprintf("account %s, %s", aws.ToString(me.Account), a.p.o.Region)
	if len(n.Networks)+len(n.Machines)+len(n.LoadBalancers)+len(n.Volumes) == 0 {
		return c.r, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, q := range a.p.probes(n) {
		g.Go(func() error { return c.permission(ctx, q) })
	}
	for _, look := range []func(context.Context) error{c.offers, c.networks, c.profiles, c.counted} {
		g.Go(func() error { return look(ctx) })
	}
	if err := g.Wait(); err != nil {
		return providers.Report{}, err
	}
	c.sort()
	return c.r, nil
}

// sort makes the report the same each time.
func (c *check) sort() {
	slices.Sort(c.r.Missing)
	c.r.Missing = slices.Compact(c.r.Missing)
	slices.Sort(c.r.Unseen)
	c.r.Unseen = slices.Compact(c.r.Unseen)
	slices.SortFunc(c.r.Limits, func(a, b providers.Limit) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.r.Problems, func(a, b providers.Problem) int {
		return cmp.Or(strings.Compare(string(a.Noun), string(b.Noun)), strings.Compare(a.Name, b.Name), strings.Compare(a.Field, b.Field))
	})
}

// permission notes the action of a probe if the account may not do it.
func (c *check) permission(ctx context.Context, q probe) error {
	action, err := q.missing(ctx)
	if action != "" {
		c.note(func(r *providers.Report) { r.Missing = append(r.Missing, action) })
	}
	return err
}

// note adds to the report.
func (c *check) note(add func(*providers.Report)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.r)
}

// unseen notes that something could not be looked at because the account may not, and returns any other error.
func (c *check) unseen(what string, err error) error {
	err = kinded(err)
	if providers.KindOf(err) != providers.Denied {
		return err
	}
	c.note(func(r *providers.Report) { r.Unseen = append(r.Unseen, what+": "+wordsOf(err)) })
	return nil
}

// problem notes that an object would be refused, if err says so; else it returns the error, unless looking was denied: then
// the probes have named what is missing.
func (c *check) problem(noun providers.Noun, name, field string, err error) error {
	if err == nil || providers.KindOf(err) == "" && kindOf(err) == "" {
		return err
	}
	err = kinded(err)
	switch k := providers.KindOf(err); k {
	case providers.Denied:
		return nil
	case providers.Throttled, providers.Unavailable:
		return err
	default:
		c.note(func(r *providers.Report) {
			r.Problems = append(r.Problems, providers.Problem{Kind: k, Noun: noun, Name: name, Field: field, Text: wordsOf(err)})
		})
	}
	return nil
}

// wordsOf is what an error says beyond its kind.
func wordsOf(err error) string {
	return strings.TrimPrefix(err.Error(), string(providers.KindOf(err))+": ")
}
