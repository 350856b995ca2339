// Package providertest is the conformance suite of package providers: what every vendor, every wrapper and every plug-in
// passes, and what the rest of provision relies on.
//
//	func TestProvider(t *testing.T) {
//		providertest.Run(t, func(t *testing.T) providertest.Fixture {
//			return providertest.Fixture{Provider: fake.New(fake.Options{})}
//		})
//	}
//
// Each case holds the provider to one rule of the contract and says, when it fails, which rule that is and why it is one.
// Objects are shared between cases as far as the rules allow: a whole run makes about nine machines.
package providertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
)

// A Fixture is a provider to be tested and what the suite must know about it. Only Provider is needed.
type Fixture struct {
	Provider providers.Provider

	// Owner begins the names of the two owners that the suite uses; empty: one that is unlike any other run's.
	Owner providers.Owner
	// Type is the machine type to use; empty: the first that Types returns.
	Type string
	// Slow says that making an object takes many seconds: there is more time, and fewer things are tried twice.
	Slow bool

	// Network, Machine, Balancer and Volume add to a spec what the vendor needs beyond owner, name, network and type.
	Network  func(*providers.NetworkSpec)
	Machine  func(*providers.MachineSpec)
	Balancer func(*providers.LoadBalancerSpec)
	Volume   func(*providers.VolumeSpec)

	// Usable tries whether a machine that Create returned can be used, over SSH for example.
	Usable func(context.Context, providers.Machine) error
	// Stop stops a machine behind the provider's back.
	Stop func(context.Context, providers.ID) error
	// Strip takes tags of an object away behind the provider's back: the contract's (providers.OwnerTag and the like) or
	// others. A vendor that keeps owner and name elsewhere than in tags takes them away from there, or has no Strip.
	Strip func(ctx context.Context, n providers.Noun, id providers.ID, tags ...string) error
	// Writes returns how many calls that change something were made at the vendor so far.
	Writes func() int
	// Only says of a case, by its name, whether to try it; nil: all. So a vendor can try some at one place and some at another.
	Only func(name string) bool
	// Cut arms a fault that cuts what is done next off at the n-th place, counted from 0, where it can be cut: before
	// the first call at the vendor, after it, and so on. heal disarms it and says whether there were so many places.
	Cut func(n int) (heal func() (reached bool))
}

// A Case is one rule of the contract and the way to try it.
type Case struct {
	Name string // "machine/exists"
	Rule string // a sentence: what must be, and why

	noun    providers.Noun
	applies func(Fixture) bool // beyond having the kind; nil: always
	run     func(context.Context, *suite) error
}

// Cases returns all cases in the order in which they run.
func Cases() []Case {
	all := providerCases()
	all = append(all, networkCases()...)
	all = append(all, machineCases()...)
	all = append(all, balancerCases()...)
	all = append(all, volumeCases()...)
	all = append(all, snapshotCases()...)
	all = append(all, accountCases()...)
	return append(all, lastCases()...)
}

// errUnmet is wrapped when a case could not be tried, because of something that is another case's rule.
var errUnmet = errors.New("not tried")

func unmet(doing string, err error) error { return fmt.Errorf("%w: %s: %w", errUnmet, doing, err) }

// Run tries every case that applies to the provider as a subtest, and removes in the end what was made.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	f := open(t)
	s := newSuite(f)
	t.Cleanup(func() {
		if err := s.clean(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("the suite could not remove what it made: %v", err)
		}
	})
	tried, failed, untried := 0, 0, 0
	for _, c := range Cases() {
		if !s.has(c) {
			continue
		}
		tried++
		t.Run(c.Name, func(t *testing.T) {
			switch err := s.try(t.Context(), c); {
			case errors.Is(err, errUnmet):
				untried++
				t.Log(err)
			case err != nil:
				failed++
				t.Errorf("%v\nThe rule: %s", err, c.Rule)
			}
		})
	}
	t.Logf("%d cases of the contract", tried)
	if untried > 0 && failed == 0 {
		t.Errorf("%d cases could not be tried", untried)
	}
}

// has says whether the case is about something that the provider has.
func (s *suite) has(c Case) bool {
	return (s.Only == nil || s.Only(c.Name)) && (c.noun == "" || s.kinds()[c.noun]) && (c.applies == nil || c.applies(s.Fixture))
}

// kinds returns which kinds the provider says it has.
func (s *suite) kinds() map[providers.Noun]bool {
	caps := s.Provider.Caps()
	return map[providers.Noun]bool{
		providers.NetworkNoun:  true,
		providers.MachineNoun:  true,
		providers.BalancerNoun: caps.LoadBalancers,
		providers.VolumeNoun:   caps.Volumes,
		providers.SnapshotNoun: caps.Volumes && caps.Snapshots,
	}
}

// try runs one case within a time that no call should need.
func (s *suite) try(ctx context.Context, c Case) error {
	limit := 2 * time.Minute
	if s.Slow {
		limit = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.run(ctx, s)
}

// newOwner returns the beginning of an owner that nobody else uses.
func newOwner() providers.Owner {
	return providers.Owner(fmt.Sprintf("pt%06x", rand.Uint32N(1<<24)))
}
