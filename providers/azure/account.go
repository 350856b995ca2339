package azure

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/provisionhq/provision/providers"
)

type account struct{ p *Provider }

// An inquiry is a Check that is under way: looks at Azure that go on beside each other.
type inquiry struct {
	p    *Provider
	need providers.Need

	work sync.WaitGroup
	mu   sync.Mutex
	providers.Report
	err error
}

// Check asks Azure who asks, which of the actions that are needed he may not do, how much of what is counted is left, and looks for
// what would be refused.
func (a account) Check(ctx context.Context, n providers.Need) (_ providers.Report, err error) {
	defer about(providers.CheckVerb, providers.AccountNoun, a.p.o.Subscription, &err)
	q := &inquiry{p: a.p, need: n, Report: providers.Report{Place: "subscription " + a.p.o.Subscription + ", " + a.p.o.Location}}
	if q.Identity, err = a.p.identity(ctx); err != nil {
		return providers.Report{}, err
	}
	q.look("which permissions there are", func() error { return q.permissions(ctx) })
	q.look("which machine types and images are offered", func() error { return q.machines(ctx) })
	q.look("whether networks can be made", func() error { return q.networks(ctx) })
	q.look("whether the group of volumes is free", func() error { return q.storage(ctx) })
	q.balancers()
	q.work.Wait()
	sorted(q.Limits)
	slices.Sort(q.Unseen)
	slices.SortStableFunc(q.Problems, func(x, y providers.Problem) int {
		return cmp.Or(strings.Compare(string(x.Noun), string(y.Noun)), strings.Compare(x.Name, y.Name), strings.Compare(x.Field, y.Field))
	})
	return q.Report, q.err
}

// look looks at something, beside all else. Where Azure does not let it, that is said in the report; any other failure is Check's.
func (q *inquiry) look(what string, at func() error) {
	q.work.Go(func() {
		err := kinded(at())
		q.mu.Lock()
		defer q.mu.Unlock()
		if providers.KindOf(err) == providers.Denied && !nowhere(err) {
			q.Unseen = append(q.Unseen, fmt.Sprintf("%s: %v", what, err))
		} else if err != nil {
			q.err = errors.Join(q.err, err)
		}
	})
}

// nowhere says whether Azure knows neither who asks nor the subscription, so that nothing can be looked at.
func nowhere(err error) bool {
	return refusal(err) == nil || is(err, "SubscriptionNotFound", "InvalidSubscriptionId", "ReadOnlyDisabledSubscription", "DisabledSubscription",
		"InvalidAuthenticationToken", "ExpiredAuthenticationToken", "InvalidAuthenticationTokenTenant", "AuthenticationFailed") || is(err, unregistered...)
}

// problem is one that q found.
func (q *inquiry) problem(noun providers.Noun, name, field string, err error) {
	kind := cmp.Or(providers.KindOf(err), providers.Invalid)
	text := strings.TrimPrefix(err.Error(), string(kind)+": ")
	q.mu.Lock()
	defer q.mu.Unlock()
	q.Problems = append(q.Problems, providers.Problem{Kind: kind, Noun: noun, Name: name, Field: field, Text: text})
}

// identity is who the credentials are of, read off their token: Azure has no call that says it.
func (p *Provider) identity(ctx context.Context) (string, error) {
	scope := p.o.cloud().Services[cloud.ResourceManager].Audience + "/.default"
	token, err := p.who.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: p.o.Tenant})
	if err != nil {
		if kind := kindOf(err); kind == providers.Unavailable { // whatever it is, it is about who asks
			err = fail(providers.Denied, "%w", err)
		}
		return "", kinded(err)
	}
	words := strings.Split(token.Token, ".")
	if len(words) != 3 {
		return "", nil
	}
	var c struct{ OID, TID, UPN, AppID, AZP, UniqueName string }
	claims, err := base64.RawURLEncoding.DecodeString(words[1])
	if err != nil || json.Unmarshal([]byte(strings.ReplaceAll(string(claims), `"unique_name"`, `"UniqueName"`)), &c) != nil {
		return "", nil
	}
	name := cmp.Or(c.UPN, c.UniqueName)
	if app := cmp.Or(c.AppID, c.AZP); name == "" && app != "" {
		name = "application " + app
	}
	var of []string
	if c.OID != "" {
		of = append(of, "object "+c.OID)
	}
	if c.TID != "" {
		of = append(of, "tenant "+c.TID)
	}
	if name != "" && len(of) > 0 {
		return name + " (" + strings.Join(of, ", ") + ")", nil
	}
	return name + strings.Join(of, ", "), nil
}

// permissions finds the actions that are missing.
func (q *inquiry) permissions(ctx context.Context) error {
	missing, err := q.p.lacking(ctx, q.need)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.Missing = missing
	return err
}
