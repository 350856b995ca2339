package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/provisionhq/provision/providers"
)

// account is the account of the plug-in's vendor.
type account struct{ p *Provider }

// Check asks the plug-in. One that was built with an older version of provision, before there were accounts, or knows less of what
// is needed, finds nothing.
func (a account) Check(ctx context.Context, n providers.Need) (providers.Report, error) {
	q := question{Noun: providers.AccountNoun, Verb: providers.CheckVerb}
	if err := q.with(n); err != nil {
		return providers.Report{}, err
	}
	var got answer[providers.Report]
	if err := a.p.ask(ctx, q, &got); err != nil {
		return providers.Report{}, err
	}
	if got.Error != nil {
		err := a.p.theirs(q, got.Error)
		if errors.Is(err, providers.Unsupported) {
			err = nil
		}
		return providers.Report{}, err
	}
	if got.Result == nil {
		return providers.Report{}, a.p.bug(q, "answered with nothing: there is no result")
	}
	if err := checkReport(*got.Result); err != nil {
		return providers.Report{}, a.p.bug(q, "answered with a report that cannot be: %v", err)
	}
	return *got.Result, nil
}

// checkReport refuses what nobody could act on.
func checkReport(r providers.Report) error {
	errs := []error{printable("identity", r.Identity), printable("place", r.Place)}
	for _, m := range r.Missing {
		errs = append(errs, printable("missing permission", m), filled("a missing permission", m))
	}
	for _, l := range r.Limits {
		errs = append(errs, printable("limit", l.Name), printable("unit", l.Unit), filled("the name of a limit", l.Name))
		if l.Max < 0 || l.Used < 0 || l.Need < 0 {
			errs = append(errs, fmt.Errorf("something of its limit %q is negative", l.Name))
		}
	}
	for _, p := range r.Problems {
		errs = append(errs, filled("the text of a problem", p.Text))
		if !slices.Contains(providers.Kinds(), p.Kind) || !slices.Contains(providers.Nouns(), p.Noun) {
			errs = append(errs, fmt.Errorf("it has a problem of kind %q with a %q", p.Kind, p.Noun))
		}
	}
	return errors.Join(errs...)
}

func filled(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	return nil
}
