package providertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// accountCases are about what the vendor says before something is made. A vendor without accounts passes them by saying nothing.
func accountCases() []Case {
	return []Case{
		{Name: "account/nothing", run: tryCheckNothing,
			Rule: "Check of no need must find no limit that it counts against and no problem, because nothing is about to be made."},
		{Name: "account/check", run: tryCheck,
			Rule: "Check of what Create accepts must find nothing in the way, because a plan is refused for what it finds."},
		{Name: "account/report", run: tryReport,
			Rule: "A report must be sorted, with limits that have a name and are not negative, because people read it and it must be the same each time."},
		{Name: "account/unchanged", applies: func(f Fixture) bool { return f.Writes != nil }, run: tryCheckChanges,
			Rule: "Check must change nothing at the vendor, because a plan does not."},
		{Name: "account/copies", run: tryReportCopies,
			Rule: "A report must belong to the caller alone, because callers change what they got."},
		{Name: "account/concurrent", run: tryCheckAtOnce,
			Rule: "Check must be possible many times at once, because one plan may ask about several needs."},
		{Name: "account/cancelled", run: tryCheckCutOff,
			Rule: "Check must end soon after its context, with the context's error, because somebody waits for it with a finger on the interrupt key."},
	}
}

// need is one of each kind that the provider has, not made yet.
func (s *suite) need(ctx context.Context) (n providers.Need, err error) {
	n.Owner = s.owner
	network, err := s.networks.spec(ctx, s.owner, "q-need")
	if err != nil {
		return n, unmet("a network's spec", err)
	}
	machine, err := s.machines.spec(ctx, s.owner, "q-need")
	if err != nil {
		return n, unmet("a machine's spec", err)
	}
	machine.Network = "" // it is not there yet
	n.Networks, n.Machines = []providers.NetworkSpec{network}, []providers.MachineSpec{machine}
	if s.kinds()[providers.BalancerNoun] {
		b, err := s.balancers.spec(ctx, s.owner, "q-need")
		if err != nil {
			return n, unmet("a balancer's spec", err)
		}
		b.Network, b.Targets = "", nil
		n.LoadBalancers = []providers.LoadBalancerSpec{b}
	}
	if s.kinds()[providers.VolumeNoun] {
		v, err := s.volumes.spec(ctx, s.owner, "q-need")
		if err != nil {
			return n, unmet("a volume's spec", err)
		}
		n.Volumes = []providers.VolumeSpec{v}
	}
	return n, nil
}

// check checks one of each kind.
func (s *suite) check(ctx context.Context) (r providers.Report, err error) {
	n, err := s.need(ctx)
	if err != nil {
		return r, err
	}
	if r, err = s.Provider.Account().Check(ctx, n); err != nil {
		return r, fmt.Errorf("Check: %w", err)
	}
	return r, nil
}

func tryCheckNothing(ctx context.Context, s *suite) error {
	if s.Provider.Account() == nil {
		return errors.New("the account is nil, not NoAccount")
	}
	r, err := s.Provider.Account().Check(ctx, providers.Need{Owner: s.owner})
	if err != nil {
		return fmt.Errorf("Check of nothing: %w", err)
	}
	for _, l := range r.Limits {
		if l.Need != 0 {
			return fmt.Errorf("Check of nothing found that %q is needed: %s", l.Name, l)
		}
	}
	if len(r.Problems) > 0 {
		return fmt.Errorf("Check of nothing found problems: %+v", r.Problems)
	}
	return nil
}

func tryCheck(ctx context.Context, s *suite) error {
	r, err := s.check(ctx)
	if err != nil {
		return err
	}
	for _, l := range r.Limits {
		if l.Exceeded() {
			return fmt.Errorf("the quota %q is exceeded: %s", l.Name, l)
		}
	}
	if len(r.Missing)+len(r.Problems) > 0 {
		return fmt.Errorf("permissions %q are missing, and there are problems: %+v", r.Missing, r.Problems)
	}
	return nil
}

func tryReport(ctx context.Context, s *suite) error {
	r, err := s.check(ctx)
	if err != nil {
		return unmet("Check", err)
	}
	if !slices.IsSorted(r.Missing) || !slices.IsSortedFunc(r.Limits, func(a, b providers.Limit) int { return strings.Compare(a.Name, b.Name) }) {
		return fmt.Errorf("it is not sorted: %q, %v", r.Missing, r.Limits)
	}
	for _, l := range r.Limits {
		if l.Name == "" || l.Max < 0 || l.Used < 0 || l.Need < 0 {
			return fmt.Errorf("a limit has no name, or something negative: %+v", l)
		}
	}
	return nil
}

func tryCheckChanges(ctx context.Context, s *suite) error {
	n, err := s.need(ctx)
	if err != nil {
		return err
	}
	before := s.Writes()
	if _, err := s.Provider.Account().Check(ctx, n); err != nil {
		return unmet("Check", err)
	}
	if changes := s.Writes() - before; changes != 0 {
		return fmt.Errorf("Check made %d changes", changes)
	}
	return nil
}

func tryReportCopies(ctx context.Context, s *suite) error {
	first, err := s.check(ctx)
	if err != nil {
		return unmet("Check", err)
	}
	kept := clone(first)
	for i := range first.Limits {
		first.Limits[i].Name = "scribbled"
	}
	for _, texts := range [][]string{first.Missing, first.Unseen} {
		for i := range texts {
			texts[i] = "scribbled"
		}
	}
	second, err := s.check(ctx)
	if err != nil {
		return unmet("Check", err)
	}
	if d := diff(kept, second); d != "" && strings.Contains(fmt.Sprint(second), "scribbled") {
		return fmt.Errorf("what the caller did to a report shows in the next (-before +after):\n%s", d)
	}
	return nil
}

func tryCheckAtOnce(ctx context.Context, s *suite) error {
	n, err := s.need(ctx)
	if err != nil {
		return err
	}
	answers := make(chan error, 5)
	for range cap(answers) {
		go func() {
			_, err := s.Provider.Account().Check(ctx, clone(n))
			answers <- err
		}()
	}
	var failed error
	for range cap(answers) {
		if err := <-answers; err != nil {
			failed = fmt.Errorf("one of %d Checks at once: %w", cap(answers), err)
		}
	}
	return failed
}

func tryCheckCutOff(ctx context.Context, s *suite) error {
	n, err := s.need(ctx)
	if err != nil {
		return err
	}
	check := func(ctx context.Context) error { _, err := s.Provider.Account().Check(ctx, n); return err }
	if r, err := s.Provider.Account().Check(ctx, n); err == nil && diff(r, providers.Report{}) == "" {
		return nil // there is no account: nobody is asked
	}
	return cutOff(ctx, 0, check)
}
